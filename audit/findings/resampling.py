"""Bootstrap over images, near-duplicates and all targets of an image kept together.

Each image gets a weight, Poisson with mean 1, in place of how often it would be drawn with repeats: the same but for the
number drawn, which then varies too and falls out of a ratio (Chamandy et al. 2012, section 2). So a draw needs no index
arrays, and all draws of a block of images are one matrix product.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

DRAWS = 1000
BLOCK = 1 << 13

_LEVELS = 1 << 16
_WEIGHTS = poisson.ppf((np.arange(_LEVELS) + 0.5) / _LEVELS, 1).astype(np.float32)
"""Poisson(1) by a uniform number of 16 bits: seven times as fast to draw as from NumPy's own, its mean off by 1e-5."""


def mean_interval(
    values: NDArray[np.floating], image: NDArray[np.integer], draws: int = DRAWS, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % intervals of the means of columns: low and high, each [m].

    Args:
        values: [n, m], of targets.
        image: [n] equal for targets that must stay together.
    """
    sums = resampled_sums(np.column_stack([np.ones(len(values)), values]), image, draws, seed)
    return _interval(_ratio(sums[:, 1:], sums[:, :1]))


def difference_interval(
    values: NDArray[np.floating],
    first: NDArray[np.bool_],
    image: NDArray[np.integer],
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % intervals of the mean over the first less that over the others: low and high, each [m].

    Args:
        values: [n, m].
        first: [n] bool; an image may have targets on both sides.
        image: [n].
    """
    sides = [np.column_stack([side, side[:, None] * values]) for side in (first, ~first)]
    sums = resampled_sums(np.column_stack(sides), image, draws, seed)
    one, other = np.split(sums, 2, axis=1)
    return _interval(_ratio(one[:, 1:], one[:, :1]) - _ratio(other[:, 1:], other[:, :1]))


def resampled_sums(
    values: NDArray[np.generic], image: NDArray[np.integer], draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """Sums [draws, m] of values [n, m] over images drawn again."""
    rng = np.random.default_rng(seed)
    _, place = np.unique(image, return_inverse=True)
    of_images = np.stack([np.bincount(place, column) for column in values.T.astype(np.float64)], axis=1)
    total = np.zeros((draws, values.shape[1]))
    for start in range(0, len(of_images), BLOCK):
        block = of_images[start : start + BLOCK].astype(np.float32)
        total += _WEIGHTS[rng.integers(0, _LEVELS, (draws, len(block)), dtype=np.uint16)] @ block
    return total


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where a draw left none."""
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _interval(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.nanpercentile(means, (2.5, 97.5), axis=0)
    return low, high
