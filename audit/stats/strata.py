"""Is a share larger than another by more than a margin, stratum for stratum? Simpson's paradox is held off.

Sites that prefer some classes inherit what those classes are like: pooled over classes, the site with the hard ones is
worse though in no class it is. So images are compared within strata only, and the differences x / n - y / m are
averaged with the weights n m / (n + m) of Mantel & Haenszel (1959; of differences, Greenland & Robins 1985). These
count a stratum by how much it can tell, where few images on one side are not blown up to the number of the other.

The hypothesis is that this mean difference is the margin or less; where asked, of the share and a multiple of the
other. Were it the margin in each stratum, its mean would be known whatever the shares are; its variance and skewness
follow from the shares at which the counts are likeliest under that constraint (Miettinen & Nurminen 1985, with their
(n + m) / (n + m - 1)). The tail is that of a gamma distribution with these moments, half an image of the smaller side
nearer to the mean. A normal one would take three of five images, where half an image is expected, for six times as rare
as they are. A negative skewness counts as none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.stats.intervals import wilson_interval
from audit.stats.margins import constrained_share

Counts = NDArray[np.int64]
"""Of images, [k, strata]."""


class Stratified(NamedTuple):
    """Shares over the strata that hold images of both sides; arrays [k].

    Attributes:
        shows, of: images that show it, and how many there are.
        other_of: images on the other side.
        expected: the others' shares in the mix of strata of this side; NaN where no stratum has both.
        p: of the hypothesis that the mean difference is no more than the margin; 1 where it is not observed to be.
        low, high: 95 % interval of the share less the expected.
    """

    shows: NDArray[np.int64]
    of: NDArray[np.int64]
    other_of: NDArray[np.int64]
    expected: NDArray[np.float64]
    p: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def stratified(counts: NDArray[np.integer], least: float, times: float = 1.0) -> Stratified:
    """Compare shares within strata.

    Args:
        counts: [4, k, strata] images that show it and how many there are, of this side and of the other.
        least: the margin.
        times: how many times the other share it is added to.

    Example:
        Two sites and two classes: the first site has most images of the class that is often named wrongly. Pooled, 46
        of 100 are wrong there and 14 of 100 elsewhere; class for class there is no difference.

        >>> hard, easy = (45, 90, 5, 10), (1, 10, 9, 90)
        >>> site = stratified(np.array([hard, easy]).T[:, None], 0.1)
        >>> int(site.shows[0]), int(site.of[0]), float(site.expected[0].round(2)), float(site.p[0])
        (46, 100, 0.46, 1.0)
    """
    both = (counts[1] > 0) & (counts[3] > 0)
    x, n, y, m = np.where(both, counts, 0).astype(np.int64)
    mix = _ratio(n, n.sum(axis=1, keepdims=True))
    expected = np.where(both.any(axis=1), (mix * _ratio(y, m)).sum(axis=1), np.nan)
    low, high = _interval(x, n, y, m, mix)
    return Stratified(x.sum(axis=1), n.sum(axis=1), m.sum(axis=1), expected, _p(x, n, y, m, least, times), low, high)


def p_if_alike(
    shows: NDArray[np.integer], counts: NDArray[np.integer], least: float, times: float = 1.0
) -> NDArray[np.float64]:
    """p [k] of `stratified` were so many images of this side [k] to show it, the same share of them in each stratum.

    Args:
        counts: [4, k, strata] as of `stratified`; those of this side that show it have no part.
    """
    both = (counts[1] > 0) & (counts[3] > 0)
    _, n, y, m = np.where(both, counts, 0).astype(np.int64)
    return _p(n * _ratio(shows, counts[1].sum(axis=1))[:, None], n, y, m, least, times)


def _p(x: NDArray[Any], n: Counts, y: Counts, m: Counts, least: float, times: float) -> NDArray[np.float64]:
    """Chance [k] of a mean difference at least as large, were it the margin in every stratum."""
    weight = _ratio(n * m, n + m)
    beyond = (weight * (_ratio(x, n) - times * _ratio(y, m) - least)).sum(axis=1)
    beyond -= _ratio(weight.sum(axis=1), np.minimum(n.sum(axis=1), m.sum(axis=1))) / 2
    p = np.ones(len(x))
    above = beyond > 0
    p[above] = _tail(beyond[above], x[above], n[above], y[above], m[above], least, times)
    return p


def _tail(
    beyond: NDArray[np.float64], x: NDArray[Any], n: Counts, y: Counts, m: Counts, least: float, times: float
) -> NDArray[np.float64]:
    """Chance [k] that the weighted differences go so far beyond their mean."""
    there = n > 0
    other = np.zeros(x.shape)
    other[there] = constrained_share(x[there], n[there], y[there], m[there], least, times)
    share = np.where(there, times * other + least, 0)
    unbiased = _ratio(n + m, n + m - 1)
    spread, other_spread = unbiased * share * (1 - share), unbiased * other * (1 - other)
    each, other_each = _ratio(m, n + m), times * _ratio(n, n + m)
    variance = (each**2 * n * spread + other_each**2 * m * other_spread).sum(axis=1)
    third = (each**3 * n * spread * (1 - 2 * share) - other_each**3 * m * other_spread * (1 - 2 * other)).sum(axis=1)
    deviation = np.sqrt(variance)
    skewness = np.maximum(_ratio(third, deviation**3), 0)
    return np.asarray(
        np.where(deviation > 0, scipy.stats.pearson3.sf(_ratio(beyond, deviation), skewness), 1), np.float64
    )


def _interval(
    x: Counts, n: Counts, y: Counts, m: Counts, mix: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the difference at the mix [k, strata], Wilson's intervals added in quadrature (Zou & Donner 2008)."""
    share, other = _ratio(x, n), _ratio(y, m)
    low, high = map(np.nan_to_num, wilson_interval(x, n))
    other_low, other_high = map(np.nan_to_num, wilson_interval(y, m))
    difference = (mix * (share - other)).sum(axis=1)
    below = np.sqrt((mix**2 * ((share - low) ** 2 + (other_high - other) ** 2)).sum(axis=1))
    above = np.sqrt((mix**2 * ((high - share) ** 2 + (other - other_low) ** 2)).sum(axis=1))
    return difference - below, difference + above


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """0 where there is nothing to divide by."""
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.asarray(np.divide(part, whole, out=np.zeros(shape), where=whole > 0), np.float64)
