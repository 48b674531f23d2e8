"""Overlap at every threshold, formed once from pooled counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.scores.histograms import Confusion
from audit.store.layout import LEVELS


def iou_curve(inside: NDArray[np.integer], outside: NDArray[np.integer]) -> NDArray[np.float64]:
    """Intersection over union of the thresholded map with the object, at each of the 256 levels.

    Args:
        inside, outside: [..., 256] pixels by level.

    Returns:
        [..., 256]; entry l thresholds at level l. NaN where neither object nor map has a pixel.
    """
    kept = _from_level_up(inside)
    union = inside.sum(axis=-1, keepdims=True) + _from_level_up(outside)
    return ratio(kept, union)


def mean_iou_curve(pooled: Confusion, class_count: int) -> NDArray[np.float64]:
    """PASCAL VOC mean IoU over background and classes, at each of the 256 levels.

    One confusion matrix pooled over the data set (Everingham et al., IJCV 2015, section 4.2.2): a pixel has the class
    of its highest map where that is at the level or above, else background. Classes that occur neither in the masks
    nor among the predictions are left out.
    """
    ious = class_iou_curves(pooled, class_count)
    occurs = ~np.isnan(ious)
    mean: NDArray[np.float64] = np.where(occurs, ious, 0).sum(axis=0) / np.maximum(occurs.sum(axis=0), 1)
    return mean


def class_iou_curves(pooled: Confusion, class_count: int) -> NDArray[np.float64]:
    """IoU [class_count + 1, 256] of background (row 0) and each class at each level; NaN for what never occurs."""
    rows = class_count + 1
    matched = np.zeros((rows, LEVELS), np.int64)
    claimed = np.zeros((rows, LEVELS), np.int64)
    true = np.bincount(pooled.true, weights=pooled.count, minlength=rows)[:rows, None]
    right = pooled.predicted + 1 == pooled.true
    np.add.at(matched, (pooled.true[right], pooled.map_level[right]), pooled.count[right])
    np.add.at(claimed, (pooled.predicted + 1, pooled.map_level), pooled.count)
    empty = np.bincount(pooled.map_level[pooled.true == 0], weights=pooled.count[pooled.true == 0], minlength=LEVELS)
    matched, claimed = _from_level_up(matched), _from_level_up(claimed)
    matched[0] = true[0] - _from_level_up(empty)
    claimed[0] = pooled.count.sum() - claimed[1:].sum(axis=0)
    return ratio(matched, true + claimed - matched)


def _from_level_up(counts: NDArray[Any]) -> NDArray[Any]:
    """Counts at each level -> counts at that level or above."""
    return np.flip(np.cumsum(np.flip(counts, -1), -1), -1)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """The part of the whole; NaN where the whole is nothing."""
    share = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share
