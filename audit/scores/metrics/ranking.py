"""How well scores rank: the area under the ROC curve, and average precision."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive outranks a negative, ties counted half (Hanley & McNeil 1982); NaN without both kinds."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = scipy.stats.rankdata(scores)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def pixel_average_precision(inside: NDArray[np.integer], outside: NDArray[np.integer]) -> float:
    """PxAP (Choe et al., CVPR 2020, section 3.4): the area under precision against recall of pixels, over thresholds.

    Sum over levels, from the highest down, of the precision at a level times the recall that it adds.

    Args:
        inside, outside: [256] pixels by level of all maps together.

    Returns:
        NaN without a pixel inside.
    """
    hits, claimed = (np.cumsum(counts[::-1]).astype(float) for counts in (inside, inside + outside))
    if not hits[-1]:
        return float("nan")
    precision = np.divide(hits, claimed, out=np.zeros_like(hits), where=claimed > 0)
    return float((precision * np.diff(hits, prepend=0)).sum() / hits[-1])


def relevance_rank_accuracy(inside: NDArray[np.integer], outside: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of the K hottest pixels that lie in an object of K pixels (Arras et al. 2022, section 3.3).

    Pixels of one level are alike: of the level that is taken in part, each has the same chance.

    Args:
        inside, outside: [..., 256] pixels by level.

    Returns:
        [...]; NaN without an object.
    """
    hot_inside, hot = np.flip(inside, -1).astype(float), np.flip(inside + outside, -1).astype(float)
    before = np.cumsum(hot, axis=-1) - hot
    wanted = inside.sum(axis=-1, keepdims=True)
    taken = np.clip(np.divide(wanted - before, hot, out=np.zeros_like(hot), where=hot > 0), 0, 1)
    hits = (taken * hot_inside).sum(axis=-1)
    accuracy = np.full(hits.shape, np.nan)
    np.divide(hits, wanted[..., 0], out=accuracy, where=wanted[..., 0] > 0)
    return accuracy


def average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Sum over thresholds of precision times the gain in recall, nothing interpolated; NaN without a positive.

    `sum_k (R_k - R_(k-1)) P_k` over the distinct scores, from the highest (as scikit-learn defines it). PASCAL VOC
    takes for P_k the highest precision at any recall from R_k on, which is never lower.
    """
    positives = int(positive.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    precision = hits[ends] / (ends + 1)
    return float((np.diff(hits[ends], prepend=0) / positives * precision).sum())


def mean_average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Mean of the classes' average precision, of scores and truth [N, C]; classes without a positive are left out."""
    of_class = [average_precision(scores[:, c], positive[:, c]) for c in np.flatnonzero(positive.any(axis=0))]
    return float(np.mean(of_class)) if of_class else float("nan")
