"""Training a classifier on images that are already framed to the size it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.models.training.augmentation import augment_images, check_augmentation
from audit.models.training.optimisation import Optimisation, batch_count, device_of
from audit.progress import Advanced, Progress, silent, stretch

Normalise = Callable[[NDArray[np.uint8]], Tensor]
"""uint8 [B, S, S, 3] -> the network's input [B, 3, S, S]: `Preprocessing.normalise`."""


@dataclass(frozen=True)
class FramedImages:
    """What a classifier learns from or is asked about.

    Attributes:
        images: uint8 [N, S, S, 3], in memory or mapped from a file: one batch at a time is read.
        labels: class ids [N], or 0 and 1 [N, C] where an image may have several classes.
        normalise: makes the network's input.
    """

    images: NDArray[np.uint8]
    labels: NDArray[Any]
    normalise: Normalise

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8:
            raise TypeError(f"Expected `images` of type uint8, got {self.images.dtype}")
        if self.images.ndim != 4 or self.images.shape[3] != 3 or not len(self.images):
            shape = list(self.images.shape)
            raise ValueError(f"Expected `images` of shape [N, S, S, 3] with at least one image, got {shape}")
        if len(self.labels) != len(self.images) or self.labels.ndim not in (1, 2):
            shape = list(self.labels.shape)
            raise ValueError(f"Expected `labels` of shape [N] or [N, C], N = {len(self.images)}, got {shape}")

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several classes."""
        return self.labels.ndim == 2


class ClassifierTraining:
    """A classifier on its way, one epoch at a time.

    AdamW (Loshchilov & Hutter, ICLR 2019) with a one-cycle schedule (Smith & Topin 2019). The loss is cross-entropy
    after a softmax, or where images may have several classes after a sigmoid a class. The same seed, machine and number
    of threads give the same weights; the global generators are left as they were.

    Attributes:
        optimisation: its state is all that a later sitting needs.
        batches: of an epoch.
    """

    def __init__(
        self,
        module: nn.Module,
        data: FramedImages,
        *,
        epochs: int,
        learning_rate: float,
        batch_size: int = 64,
        seed: int = 0,
        augment: str = "mirror",
        balanced: bool = False,
    ) -> None:
        """Before the first epoch.

        Args:
            learning_rate: the peak of the cycle.
            augment: one of `audit.models.training.augmentation.AUGMENTATIONS`.
            balanced: draw images with replacement, so that rare classes come about as often as frequent ones.
        """
        if epochs < 1 or batch_size < 1:
            raise ValueError(f"Expected `epochs` and `batch_size` to be at least 1, got {epochs} and {batch_size}")
        check_augmentation(augment)
        self.batches = batch_count(len(data.images), batch_size)
        self._data, self._batch_size, self._augment = data, batch_size, augment
        self._chance = balanced_chances(data.labels) if balanced else None
        steps = epochs * self.batches
        optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate)
        # One more than there are: a training of one step would otherwise run at the schedule's end, near zero.
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
        self.optimisation = Optimisation.begin(module, optimizer, schedule, steps, seed)

    def run_epoch(self, progress: Progress = silent) -> float:
        """Train in place and return the mean loss of the steps; `progress` hears of each as it advances.

        Raises:
            ModelError: the loss is no longer finite.
        """
        data, optimisation = self._data, self.optimisation
        losses: list[float] = []
        with optimisation.training():
            for rows in optimisation.batches(len(data.images), self._batch_size, self._chance):
                pixels = augment_images(data.images[rows], self._augment, optimisation.rng)
                logits = optimisation.module(_input(optimisation.module, data.normalise, pixels))
                losses.append(optimisation.descend(classification_loss(logits, data.labels[rows])))
                progress(Advanced())
        return float(np.mean(losses))


def fit(
    module: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    normalise: Normalise,
    *,
    epochs: int,
    progress: Progress = silent,
    **options: Any,
) -> list[float]:
    """Train in place in one sitting, leave the module in eval mode and return the mean loss of each epoch.

    Args:
        images, labels, normalise: see `FramedImages`.
        options: see `ClassifierTraining`.
        progress: told of every step (batches of all epochs).

    Raises:
        ModelError: the loss is no longer finite.
    """
    training = ClassifierTraining(module, FramedImages(images, labels, normalise), epochs=epochs, **options)
    with stretch(progress, "training", training.optimisation.steps):
        return [training.run_epoch(progress) for _ in range(epochs)]


def classification_loss(logits: Tensor, labels: NDArray[Any]) -> Tensor:
    """Mean loss of logits [B, C]: cross-entropy after a softmax of class ids [B], after a sigmoid of 0 and 1 [B, C]."""
    target = torch.from_numpy(np.array(labels)).to(logits.device)
    if labels.ndim == 2:
        return nn.functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))
    return nn.functional.cross_entropy(logits, target.long())


def balanced_chances(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Chance [N] of each image to be drawn, adding up to 1: one over the number of images that its rarest class has.

    With one class an image every class is as likely. Where there are several the rarest decides, as in LVIS's
    repeat-factor sampling (Gupta et al., CVPR 2019, section 5). Images of no class count as a class of their own.

    >>> balanced_chances(np.array([0, 0, 0, 1])).round(3).tolist()
    [0.167, 0.167, 0.167, 0.5]
    """
    if labels.ndim == 1:
        _, place, count = np.unique(labels, return_inverse=True, return_counts=True)
        chances = 1 / count[place]
    else:
        of_any = np.column_stack([labels > 0, (labels <= 0).all(axis=1)])
        chances = np.where(of_any, 1 / np.maximum(of_any.sum(axis=0), 1), 0).max(axis=1)
    return np.asarray(chances / chances.sum(), np.float64)


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


def _input(module: nn.Module, normalise: Normalise, pixels: NDArray[np.uint8]) -> Tensor:
    # A copy, since torch wants memory it may write to.
    return normalise(np.array(pixels)).to(device_of(module), memory_format=torch.channels_last)
