"""Training a segmentation network on masks, true or weak, of images of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.errors import ModelError
from audit.images import map_ahead
from audit.models.classifier import Preprocessing
from audit.models.segmenters import segment, segmentation_loss
from audit.models.training.augmentation import augment_pair, check_augmentation
from audit.models.training.optimisation import Optimisation, batch_count, device_of
from audit.models.weights import first_line
from audit.progress import Advanced, Progress, silent

ReadPair = Callable[[int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
"""Number of a sample -> its upright image uint8 [H, W, 3] and index mask uint8 [H, W], 255 where nothing is known."""


class SegmenterTraining:
    """A segmentation network on its way, one epoch at a time.

    AdamW with a polynomial schedule of power 0.9 (Chen et al., DeepLab, section 4.1). Images are read ahead by a thread
    and one batch is in memory. The same seed, machine and number of threads give the same weights.

    Attributes:
        optimisation: its state is all that a later sitting needs.
    """

    def __init__(
        self,
        module: nn.Module,
        read: ReadPair,
        weights: NDArray[np.floating],
        preprocessing: Preprocessing,
        *,
        epochs: int,
        learning_rate: float,
        batch_size: int = 16,
        seed: int = 0,
        augment: str = "full",
    ) -> None:
        """Before the first epoch.

        Args:
            weights: [N] of each sample's pixels in the loss.
            preprocessing: its fit's size is the side of the squares that are learnt from.
            learning_rate: the first, the highest.
            augment: one of `audit.models.training.augmentation.AUGMENTATIONS`.
        """
        check_augmentation(augment)
        self._read, self._weights, self._preprocessing = read, weights.astype(np.float32), preprocessing
        self._batch_size, self._augment = batch_size, augment
        steps = epochs * batch_count(len(weights), batch_size)
        optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=0.9)
        self.optimisation = Optimisation.begin(module, optimizer, schedule, steps, seed)

    def run_epoch(self, progress: Progress = silent) -> float:
        """Train in place and return the mean loss of the steps; `progress` hears of each as it advances.

        Raises:
            ModelError: the loss is no longer finite, or the network does not take such batches.
        """
        batches = list(self.optimisation.batches(len(self._weights), self._batch_size))
        # Only reading is done ahead: what draws from torch's generator has to keep to one order.
        pairs = map_ahead(self._read, (int(row) for batch in batches for row in batch), 2 * self._batch_size)
        losses: list[float] = []
        with self.optimisation.training():
            for batch in batches:
                changed = [augment_pair(*next(pairs), self._size, self._augment) for _ in batch]
                images, masks = (torch.stack(parts) for parts in zip(*changed, strict=True))
                losses.append(self._step(images, masks, batch))
                progress(Advanced())
        return float(np.mean(losses))

    @property
    def _size(self) -> int:
        return self._preprocessing.fit.size

    def _step(self, images: Tensor, masks: Tensor, batch: NDArray[np.intp]) -> float:
        module = self.optimisation.module
        device = device_of(module)
        inputs = self._preprocessing.normalise(images.permute(0, 2, 3, 1)).to(device)
        try:
            logits = segment(module, inputs)
        except ValueError as error:  # batch normalisation, of a single value
            raise ModelError(f"Cannot train on batches of {len(batch)}: {first_line(error)}") from None
        weights = torch.from_numpy(self._weights[batch]).to(device)
        return self.optimisation.descend(segmentation_loss(logits, masks.long().to(device), weights))
