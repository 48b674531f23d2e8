"""Learnt: a small head on the network's frozen features tells objects from what is around them.

It is trained from a collection's confident heat alone, as AffinityNet is (Ahn and Kwak, CVPR 2018), and no mask is
seen. What is confident in one image so helps where another is in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from audit.errors import ModelError
from audit.segmentation.refine.resolution import enlarge_heat, on_grid, reduce_heat, working_size
from audit.segmentation.refine.step import Features, Heat, Pixels, Step
from audit.store.storage.files import write_atomically
from audit.store.storage.objects import Location

_FORMAT = "camaudit-figure-head-1"
_POSITIONS = 1024
_HIDDEN = 128
_DROPPED = 0.3
_LEAST = 1e-6


class FigureHead(nn.Module):
    """Activations at positions [n, channels] -> logits [n] that an object lies there.

    Args:
        channels: of each layer, from fine to coarse.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(sum(channels)))
        self.register_buffer("scale", torch.ones(sum(channels)))
        self.hidden = nn.Linear(sum(channels), _HIDDEN)
        self.output = nn.Linear(_HIDDEN, 1)

    def forward(self, activations: Tensor) -> Tensor:
        values = F.dropout((activations - self.mean) / self.scale, _DROPPED, self.training)
        logits: Tensor = self.output(F.elu(self.hidden(values)))[:, 0]
        return logits


@dataclass(frozen=True)
class Training:
    """How a head is trained.

    Attributes:
        high: a position is an object's where some map has at least this heat, 0..1.
        low: it is ground where no map has more.
        positions: most that are drawn from an image, half of each kind.
        most: most that are drawn from all images; 65,536 of 1,280 channels take 340 MB.
        epochs, learning_rate, batch_size: of AdamW with a one-cycle schedule.
        seed: of what is drawn and of the first weights.
    """

    high: float = 0.55
    low: float = 0.2
    positions: int = 256
    most: int = 65536
    epochs: int = 8
    learning_rate: float = 3e-3
    batch_size: int = 1024
    seed: int = 0


class Seeds:
    """Positions drawn from image after image, some an object's, some ground.

    Args:
        images: how many are to come, so that each gets its share.
    """

    def __init__(self, training: Training, images: int) -> None:
        if not 0 <= training.low < training.high <= 1:
            raise ValueError(f"Expected 0 <= `low` < `high` <= 1, got {training.low} and {training.high}")
        self.training = training
        self.share = max(min(training.positions, training.most // max(images, 1)), 2) // 2
        self.channels: tuple[int, ...] = ()
        self._rng = np.random.default_rng(training.seed)
        self._activations: list[NDArray[np.float32]] = []
        self._figure: list[NDArray[np.bool_]] = []

    def add(self, heat: Heat, features: Features) -> None:
        """Draw from an image with maps [K, h, w] in 0..1 and activations of layers.

        Raises:
            ValueError: its layers have other channels than those before.
        """
        channels = tuple(len(layer) for layer in features)
        if self.channels not in ((), channels):
            raise ValueError(f"Expected activations of {self.channels} channels, got {channels}")
        self.channels = channels
        size = working_size(heat.shape[1:], _POSITIONS)
        highest = reduce_heat(heat, size).max(axis=0).ravel() if len(heat) else np.zeros(size[0] * size[1])
        kinds = [np.flatnonzero(highest >= self.training.high), np.flatnonzero(highest <= self.training.low)]
        drawn = np.concatenate([self._rng.permutation(kind)[: self.share] for kind in kinds])
        self._activations.append(at_positions(features, size)[drawn])
        self._figure.append(highest[drawn] >= self.training.high)

    def result(self) -> tuple[Tensor, Tensor]:
        """Activations [n, channels] and whether each is an object's [n].

        Raises:
            ModelError: none is, or none is ground.
        """
        figure = np.concatenate(self._figure) if self._figure else np.zeros(0, bool)
        if figure.all() or not figure.any():
            low, high = self.training.low, self.training.high
            raise ModelError(
                f"Expected heat of {high} and more and of {low} and less to learn from, got {figure.sum()} positions "
                f"of the one and {(~figure).sum()} of the other; choose other limits"
            )
        return torch.from_numpy(np.concatenate(self._activations)), torch.from_numpy(figure)


def train_head(seeds: Seeds) -> FigureHead:
    """A head that tells the two kinds of seeds apart; both count alike, however many there are of each.

    The same seeds and number of threads give the same head. The global generators are left as they were.

    Raises:
        ModelError: seeds of one kind alone.
    """
    activations, figure = seeds.result()
    training, target = seeds.training, figure.float()
    weight = torch.where(figure, 0.5 / target.mean(), 0.5 / (1 - target).mean())
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(training.seed)
        head = FigureHead(seeds.channels)
        head.mean.copy_(activations.mean(dim=0))
        head.scale.copy_(_layer_scales(activations - head.mean, seeds.channels))
        optimizer = torch.optim.AdamW(head.parameters(), lr=training.learning_rate)
        batches = -(-len(figure) // training.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, training.learning_rate, total_steps=training.epochs * batches + 1
        )
        for _ in range(training.epochs):
            for batch in torch.split(torch.randperm(len(figure)), training.batch_size):
                losses = F.binary_cross_entropy_with_logits(head(activations[batch]), target[batch], weight[batch])
                optimizer.zero_grad()
                losses.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    return head.eval()


def save_head(head: FigureHead, path: Location) -> None:
    """Write a head whole or not at all: tensors and plain values only."""
    record = {"format": _FORMAT, "channels": list(head.channels), "state": head.state_dict()}
    write_atomically(path, lambda partial: torch.save(record, partial))


def load_head(path: Path) -> FigureHead:
    """Read a head.

    Raises:
        ModelError: there is none, or it is no such file.
    """
    if not path.is_file():
        raise ModelError(f"Expected a trained head at {path}, found none")
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
        if record["format"] != _FORMAT:
            raise ModelError(f"Expected a head of the format {_FORMAT} in {path}, got {record['format']!r}")
        head = FigureHead(record["channels"])
        head.load_state_dict(record["state"])
    except ModelError:
        raise
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise ModelError(
            f"Expected a trained head in {path}, got a file that is none: {type(error).__name__}"
        ) from None
    return head.eval()


@dataclass(frozen=True, kw_only=True)
class Learnt(Step):
    """Heat times the chance, by a trained head, that an object lies there; that chance to the power `strength`.

    Attributes:
        checkpoint: file of `save_head`.
        strength: 0 leaves the heat as it is.
    """

    name: ClassVar[str] = "learnt"
    description: ClassVar[str] = "heat where a head trained on confident heat sees an object"
    paper: ClassVar[str] = "after Ahn and Kwak, CVPR 2018"
    needs_features: ClassVar[bool] = True

    checkpoint: str = ""
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise ValueError("Expected --learn-from for learnt, or a trained head as learnt:checkpoint=FILE; got none")
        if not 0 <= self.strength < float("inf"):
            raise ValueError(f"Expected `strength` of at least 0, got {self.strength}")

    @cached_property
    def head(self) -> FigureHead:
        """Read when it is first needed."""
        return load_head(Path(self.checkpoint))

    def refine(self, heat: Heat, image: Pixels, features: Features) -> Heat:
        channels = tuple(len(layer) for layer in features)
        if channels != self.head.channels:
            raise ModelError(
                f"Expected activations of {self.head.channels} channels for {self.checkpoint}, got {channels}; "
                "a head fits the layers that it was trained on"
            )
        size = working_size(image.shape, _POSITIONS)
        with torch.inference_mode():
            chance = self.head(torch.from_numpy(at_positions(features, size))).sigmoid().numpy()
        result: Heat = heat * enlarge_heat(chance.reshape(1, *size), image.shape[:2]) ** np.float32(self.strength)
        return result


def at_positions(features: Features, size: tuple[int, int]) -> NDArray[np.float32]:
    """Activations [n, channels] of all layers at the positions of a grid."""
    return np.concatenate([on_grid(layer, size).reshape(len(layer), -1) for layer in features]).T.copy()


def _layer_scales(centred: Tensor, channels: Sequence[int]) -> Tensor:
    """[channels] the standard deviation over all of a layer's channels: faint ones are not made loud."""
    parts = [
        part.square().mean().sqrt().clamp(min=_LEAST).expand(part.shape[1])
        for part in torch.split(centred, list(channels), 1)
    ]
    return torch.cat(parts)
