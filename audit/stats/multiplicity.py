"""Control of the false discovery rate over all that is tested together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def benjamini_hochberg(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """q values: the smallest false discovery rate at which each p is a discovery (Benjamini & Hochberg 1995)."""
    values, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    return q_of_counts(values, counts)[place]


def weighted_q(p: NDArray[np.floating], weight: NDArray[np.floating]) -> NDArray[np.float64]:
    """q values by Benjamini-Hochberg with weights: each p is divided by its own (Genovese, Roeder & Wasserman 2006).

    Args:
        p: [n].
        weight: [n] at least 0 and 1 on average, not chosen by the p that they are put on.
    """
    weighted = np.divide(p, weight, out=np.full(len(p), np.inf), where=np.asarray(weight) > 0)
    values, place, counts = np.unique(weighted, return_inverse=True, return_counts=True)
    return q_of_counts(values, counts)[place]


def q_of_counts(values: NDArray[np.floating], counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """q value of each distinct p, ascending, from how often each occurs, so that not all need to be held at once."""
    total = counts.sum()
    at_or_below = np.cumsum(counts)
    q = np.asarray(values, np.float64) * total / np.maximum(at_or_below, 1)
    return np.minimum(np.minimum.accumulate(q[::-1])[::-1], 1.0)
