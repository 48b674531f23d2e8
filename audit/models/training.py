"""Training a classifier on images that are already framed to the size it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.errors import ModelError
from audit.progress import Progress, silent, tracked

Normalise = Callable[[NDArray[np.uint8]], Tensor]
"""uint8 [B, S, S, 3] -> the network's input [B, 3, S, S]: `Preprocessing.normalise`."""


def fit(
    module: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    normalise: Normalise,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int = 64,
    seed: int = 0,
    multi_label: bool = False,
    augment: bool = True,
    progress: Progress = silent,
) -> list[float]:
    """Train in place, leave the module in eval mode and return the mean loss of each epoch.

    AdamW (Loshchilov & Hutter, ICLR 2019) with a one-cycle schedule (Smith & Topin 2019). The loss is cross-entropy
    after a softmax, or with `multi_label` after a sigmoid a class. The same seed, machine and number of threads give
    the same weights; the global generators are left as they were.

    Args:
        images: uint8 [N, S, S, 3], in memory or mapped from a file: one batch at a time is read.
        labels: class ids [N], or with `multi_label` 0 and 1 [N, C].
        learning_rate: the peak of the cycle.
        augment: mirror images left to right, each with probability 1/2.
        progress: told of every step (batches of all epochs).

    Raises:
        ModelError: the loss is no longer finite.
    """
    _check(images, labels, multi_label, epochs, batch_size)
    rng = np.random.default_rng(seed)
    batch_count = math.ceil(len(images) / batch_size)
    step_count = epochs * batch_count
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate)
    # One more than there are: a training of one step would otherwise run at the schedule's end, near zero.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=step_count + 1)
    losses: list[float] = []
    batches: list[NDArray[np.intp]] = []
    with _training(module, seed):
        for step in tracked(progress, "training", range(step_count)):
            batches = batches or np.array_split(rng.permutation(len(images)), batch_count)
            rows = np.sort(batches.pop())
            pixels = _mirrored(images[rows], rng) if augment else images[rows]
            loss = _loss(module, normalise, pixels, labels[rows], multi_label)
            if not math.isfinite(loss.item()):
                raise ModelError(
                    f"Expected a finite loss, got {loss.item()} at step {step + 1} of {step_count}; "
                    f"lower the learning rate (it is {learning_rate}) and check the preprocessing"
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return [float(mean) for mean in np.reshape(losses, (epochs, batch_count)).mean(axis=1)]


@torch.inference_mode()
def predict(module: nn.Module, images: NDArray[np.uint8], normalise: Normalise, batch_size: int = 256) -> Tensor:
    """Logits [N, C] of framed images, uint8 [N, S, S, 3], on the CPU. The module is taken in the mode it is in."""
    starts = range(0, len(images), batch_size)
    return torch.cat([module(_input(module, normalise, images[i : i + batch_size])).float().cpu() for i in starts])


def accuracy(
    module: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    normalise: Normalise,
    batch_size: int = 256,
) -> float:
    """Share of images whose class, labels [N], has the highest logit. NaN without images."""
    if not len(images):
        return math.nan
    named = predict(module, images, normalise, batch_size).argmax(dim=1).numpy()
    return float(np.mean(named == labels))


def _check(images: NDArray[np.uint8], labels: NDArray[Any], multi_label: bool, epochs: int, batch_size: int) -> None:
    if images.dtype != np.uint8:
        raise TypeError(f"Expected `images` of type uint8, got {images.dtype}")
    if images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise ValueError(f"Expected `images` of shape [N, S, S, 3] with at least one image, got {list(images.shape)}")
    if len(labels) != len(images) or labels.ndim != 1 + multi_label:
        shape = "[N, C]" if multi_label else "[N]"
        raise ValueError(f"Expected `labels` of shape {shape}, N = {len(images)}, got {list(labels.shape)}")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"Expected `epochs` and `batch_size` to be at least 1, got {epochs} and {batch_size}")


@contextmanager
def _training(module: nn.Module, seed: int) -> Iterator[None]:
    """Train mode and a seeded torch generator (dropout draws from it); eval mode and the old generator afterwards."""
    device = _device(module)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        module.to(memory_format=torch.channels_last).train()
        try:
            yield
        finally:
            module.eval()


def _mirrored(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    chosen = rng.random(len(pixels)) < 0.5
    return np.where(chosen[:, None, None, None], pixels[:, :, ::-1], pixels)


def _loss(
    module: nn.Module, normalise: Normalise, pixels: NDArray[np.uint8], labels: NDArray[Any], multi_label: bool
) -> Tensor:
    logits = module(_input(module, normalise, pixels))
    target = torch.from_numpy(np.array(labels)).to(logits.device)
    if multi_label:
        return nn.functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))
    return nn.functional.cross_entropy(logits, target.long())


def _input(module: nn.Module, normalise: Normalise, pixels: NDArray[np.uint8]) -> Tensor:
    # A copy, since torch wants memory it may write to.
    return normalise(np.array(pixels)).to(_device(module), memory_format=torch.channels_last)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
