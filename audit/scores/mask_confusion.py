"""Masks held against true masks: one confusion matrix of pixels, pooled over all images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from audit.images.masks import VOID


class MaskConfusion:
    """Pixels by true and predicted class, of which PASCAL VOC's mean IoU is formed once.

    Everingham et al., IJCV 2015, section 4.2.2. Pixels whose truth is void do not count.

    Attributes:
        counts: int64 [C + 1, C + 1]; rows are the truth, columns the prediction, 0 background, i + 1 class i.
    """

    def __init__(self, class_count: int) -> None:
        self.counts = np.zeros((class_count + 1, class_count + 1), np.int64)

    def add(self, predicted: NDArray[np.integer], truth: NDArray[np.int16]) -> None:
        """Count the pixels of one image, both [H, W]; `truth` may hold `audit.images.masks.VOID`."""
        known = truth != VOID
        outputs = len(self.counts)
        pairs = truth[known].astype(np.int64) * outputs + predicted[known]
        self.counts += np.bincount(pairs, minlength=outputs**2).reshape(outputs, outputs)

    def cells(self) -> list[list[int]]:
        """What was counted, as [true, predicted, pixels]; cells without pixels are left out."""
        return [[int(t), int(p), int(self.counts[t, p])] for t, p in np.argwhere(self.counts)]

    def merge(self, cells: Iterable[Iterable[int]]) -> None:
        """Add what `cells` of another gave."""
        for true, predicted, pixels in cells:
            self.counts[true, predicted] += pixels

    def ious(self) -> NDArray[np.float64]:
        """IoU [C + 1] of background and each class; NaN for what occurs neither in truth nor predictions."""
        matched = self.counts.diagonal()
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - matched
        return np.where(union > 0, matched / np.maximum(union, 1), np.nan)

    def mean_iou(self) -> float:
        """Mean of what occurs; NaN before anything was added."""
        ious = self.ious()
        occurs = ~np.isnan(ious)
        return float(ious[occurs].mean()) if occurs.any() else float("nan")
