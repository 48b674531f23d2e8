"""Groups of points: k-means, and how many groups there are, by whether they are found again.

k-means (Lloyd 1982) depends on where it starts. Here that is the k clusters of Ward's tree (Ward 1963), which is made
once for all k and leaves nothing to chance.

How many groups there are is the number that is *stable* (Ben-Hur, Elisseeff & Guyon 2002; Lange et al. 2004). The
points are halved, each half is grouped by itself, and all points go to the nearest middle of either. How far the two
groupings agree is their adjusted Rand index (Hubert & Arabie 1985), which is 0 by chance and 1 where they are the same.
Points without groups are divided at random by each half, and differently.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

COUNTS = (2, 3, 4, 5, 6)
"""Numbers of groups that are tried."""
STABLE = 0.7
"""Mean agreement of two halves from which groups are there."""
HALVINGS = 5
MOST_HALVED = 200
"""Points that are halved at most: agreement is a mean, and more tell it no better."""
Middles = NDArray[np.float64]
"""[k, d]."""
_ALIKE = 0.05
"""Three groups far apart give two as stably as three, of which two are one."""
_STEPS = 50


def stable_groups(points: NDArray[np.floating], least: int = 1, seed: int = 0) -> Middles | None:
    """Middles [k, d] of the most groups that are about as stable as any number of them; None where none is stable.

    Args:
        points: [n, d].
        least: points that each group must have; numbers are tried at which a half has room for so many in each.
        seed: of the halvings.
    """
    counts = [count for count in COUNTS if 2 * count * least <= len(points)]
    if not counts:
        return None
    agreement = stability(points, counts, seed)
    stable = agreement >= max(STABLE, agreement.max() - _ALIKE)
    groupings = [middles for middles, is_so in zip(k_means(points, counts), stable, strict=True) if is_so]
    return next((middles for middles in groupings[::-1] if _smallest(points, middles) >= least), None)


def stability(points: NDArray[np.floating], counts: Sequence[int], seed: int = 0) -> NDArray[np.float64]:
    """Mean agreement of groupings by two halves of points [n, d], for each number of groups."""
    rng = np.random.default_rng(seed)
    agreement = np.zeros((HALVINGS, len(counts)))
    for row in agreement:
        drawn = points[rng.permutation(len(points))[:MOST_HALVED]]
        halves = (k_means(half, counts) for half in (drawn[::2], drawn[1::2]))
        row[:] = [adjusted_rand(nearest(drawn, a)[0], nearest(drawn, b)[0]) for a, b in zip(*halves, strict=True)]
    return np.asarray(agreement.mean(axis=0), np.float64)


def k_means(points: NDArray[np.floating], counts: Sequence[int]) -> list[Middles]:
    """Middles [k, d] of points [n, d], for each number of groups k: fewer where there are fewer different points."""
    tree = scipy.cluster.hierarchy.linkage(points, "ward")
    starts = (scipy.cluster.hierarchy.fcluster(tree, count, "maxclust") - 1 for count in counts)
    return [_lloyd(points, _means(points, start)) for start in starts]


def nearest(
    points: NDArray[np.floating], middles: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest middle of each point [n], and how far away it is."""
    squared = (points**2).sum(axis=1)[:, None] - 2 * points @ middles.T + (middles**2).sum(axis=1)
    group = squared.argmin(axis=1)
    return group, np.sqrt(np.maximum(squared[np.arange(len(points)), group], 0))


def adjusted_rand(one: NDArray[np.integer], other: NDArray[np.integer]) -> float:
    """Adjusted Rand index of two groupings [n], labels from 0 (Hubert & Arabie 1985, eq. 5); 1 if both have one group.

    Example:
        >>> adjusted_rand(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
        1.0
    """
    groups = int(other.max(initial=0)) + 1
    together = np.bincount(one * groups + other, minlength=(int(one.max(initial=0)) + 1) * groups)
    table = together.reshape(-1, groups).astype(np.float64)
    pairs, ones, others = (_pairs(counts) for counts in (table, table.sum(axis=1), table.sum(axis=0)))
    by_chance = ones * others / max(_pairs(np.array([len(one)])), 1.0)
    most = (ones + others) / 2
    return float((pairs - by_chance) / (most - by_chance)) if most != by_chance else 1.0


def _lloyd(points: NDArray[np.floating], middles: NDArray[np.float64]) -> NDArray[np.float64]:
    group = nearest(points, middles)[0]
    for _ in range(_STEPS):
        if len(np.unique(group)) < len(middles):
            break  # a group that lost all its points keeps its middle
        middles, before = _means(points, group), group
        group = nearest(points, middles)[0]
        if (group == before).all():
            break
    return middles


def _smallest(points: NDArray[np.floating], middles: NDArray[np.float64]) -> int:
    """Points of the smallest group; 0 where there is one group alone."""
    sizes = np.bincount(nearest(points, middles)[0], minlength=len(middles))
    return int(sizes.min()) if len(middles) > 1 else 0


def _means(points: NDArray[np.floating], group: NDArray[np.integer]) -> NDArray[np.float64]:
    members = group == np.arange(group.max() + 1)[:, None]
    return np.asarray((members @ points) / members.sum(axis=1, keepdims=True), np.float64)


def _pairs(counts: NDArray[np.floating] | NDArray[np.integer]) -> float:
    return float((counts * (counts - 1) / 2).sum())
