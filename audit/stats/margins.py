"""Is a share larger than another by more than a margin? One hypothesis, not a test and then a filter.

"Differs, and by at least 0.1" tested in two steps lets chance through: with many images every difference is beyond
chance, and those near 0.1 pass the filter every other time. So the hypothesis to reject is that the difference is 0.1
or less.

Two shares x / n and y / m of different images are ordered by their difference. The chance of one at least as large,
were the true difference the margin, depends on where the shares lie. They are put where the counts are likeliest under
that constraint (Lloyd 2008, the estimated p value), and the chance is added up over all counts that matter. The
score test of the same hypothesis (Farrington & Manning 1990) would take the share of five images for normal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

_HALVINGS = 50
_TIE = 1e-9


def exceeds(
    shows: NDArray[np.integer],
    of: NDArray[np.integer],
    other_shows: NDArray[np.integer],
    other_of: NDArray[np.integer],
    least: float,
) -> NDArray[np.float64]:
    """p of the hypothesis that a share is no more than `least` above another; arrays that broadcast.

    1 where it is not observed to be, and where there is nothing on one of the sides.

    Example:
        All of 5 images and none of 500 others: 0.1 to the power of 5.

        >>> float(exceeds(5, 5, 0, 500, 0.1).round(7))
        1e-05
    """
    counts = np.broadcast_arrays(*(np.asarray(values, np.int64) for values in (shows, of, other_shows, other_of)))
    x, n, y, m = (values.ravel() for values in counts)
    beyond = np.flatnonzero((n > 0) & (m > 0) & (x * m - y * n > (least + _TIE) * n * m))
    p = np.ones(len(x))
    lower = constrained_share(x[beyond], n[beyond], y[beyond], m[beyond], least)
    for place, share in zip(beyond.tolist(), lower.tolist(), strict=True):
        p[place] = _tail(int(x[place]), int(n[place]), int(y[place]), int(m[place]), share, share + least)
    return p.reshape(counts[0].shape)


def constrained_share(
    x: NDArray[Any],
    n: NDArray[np.integer],
    y: NDArray[np.integer],
    m: NDArray[np.integer],
    least: float,
    times: float = 1.0,
) -> NDArray[np.float64]:
    """The likeliest other share [k] where this one is `times` it and `least`: there the likelihood's slope is 0."""
    low, high = np.zeros(len(x)), np.full(len(x), (1.0 - least) / times)
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        above = times * share + least
        slope = times * (x / above - (n - x) / (1 - above)) + y / share - (m - y) / (1 - share)
        low, high = np.where(slope > 0, share, low), np.where(slope > 0, high, share)
    return np.asarray((low + high) / 2, np.float64)


def _tail(x: int, n: int, y: int, m: int, other: float, share: float) -> float:
    """Chance of a difference at least as large as x / n - y / m, of shares that are `share` and `other`."""
    difference = x / n - y / m
    first = int(np.ceil(n * (difference - _TIE)))
    # So far beyond both the first count and the mean the rest is less than a part in 10 to the 30.
    last = max(first, n * share) + 12 * np.sqrt(n * share * (1 - share)) + 40
    counts = np.arange(first, min(n, int(last)) + 1)
    most = np.floor(m * (counts / n - difference + _TIE))
    return min(float(scipy.stats.binom.pmf(counts, n, share) @ scipy.stats.binom.cdf(most, m, other)), 1.0)
