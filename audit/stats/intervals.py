"""95 % intervals of shares, and of differences of shares, in closed form."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray


def wilson_interval(count: NDArray[np.integer], total: NDArray[np.integer]) -> tuple[NDArray[np.float64], ...]:
    """95 % score interval of a share (Wilson 1927, eq. 1): two arrays, NaN where the total is 0."""
    z = scipy.stats.norm.ppf(0.975)
    n = np.where(total > 0, total, np.nan)
    share = count / n
    middle = share + z**2 / (2 * n)
    spread = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return np.clip((middle - spread) / scale, 0, 1), np.clip((middle + spread) / scale, 0, 1)


def difference_interval(
    shows: NDArray[np.integer], of: NDArray[np.integer], other_shows: NDArray[np.integer], other_of: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % interval of a share less another, of different images (Newcombe 1998, method 10: from Wilson's intervals).

    A bootstrap would have no width where all or none show it, as with few images is common.
    """
    share, other = shows / of, other_shows / other_of
    low, high = wilson_interval(shows, of)
    other_low, other_high = wilson_interval(other_shows, other_of)
    below = np.hypot(share - low, other_high - other)
    above = np.hypot(high - share, other - other_low)
    return share - other - below, share - other + above
