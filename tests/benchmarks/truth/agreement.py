"""How well clusters of a class tell which of its images rely on a cue, whoever made them.

Two measures, neither of which rewards slicing. The adjusted Rand index of the clusters and the truth falls with every
cluster more than there are kinds. Purity is taken at equal recall: the clusters are laid together, the purest first,
until they hold a given share of the images that rely, the last one in part. Beside every way stand clusters that know
nothing, and equal bins of the energy on the object, which know no more than the score does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.stats.grouping import adjusted_rand

RECALLS = (0.5, 0.8)
BINS = (2, 4, 8)
FEWEST = 5
"""Images that rely, and that do not, from which a class is divided."""


@dataclass(frozen=True)
class Agreement:
    """Clusters against the truth.

    Attributes:
        adjusted_rand: targets in no cluster count as one more.
        purity: at each of `RECALLS`.
    """

    adjusted_rand: float
    purity: tuple[float, ...]


def agreement(labels: NDArray[np.integer], truth: NDArray[np.bool_]) -> Agreement | None:
    """Of labels [n] from 0, -1 for no cluster, and truth [n]; None where the truth does not divide the class."""
    if not FEWEST <= truth.sum() <= len(truth) - FEWEST:
        return None
    groups = np.unique(labels, return_inverse=True)[1]
    purity = tuple(purity_at(groups, truth, recall) for recall in RECALLS)
    return Agreement(adjusted_rand(groups, truth.astype(np.int64)), purity)


def purity_at(groups: NDArray[np.integer], truth: NDArray[np.bool_], recall: float) -> float:
    """Share of which the truth is true, among the purest groups that hold such a share of it; labels [n] from 0.

    Example:
        Two groups: all 6 of one, and 2 of 4 of the other. For all 8 that are true all 10 are needed, for 7 of them 8.

        >>> groups, truth = np.repeat([0, 1], [6, 4]), np.arange(10) < 8
        >>> purity_at(groups, truth, 1.0), purity_at(groups, truth, 7 / 8)
        (0.8, 0.875)
    """
    sizes, right = np.bincount(groups), np.bincount(groups, truth)
    order = np.argsort(-right / sizes, kind="stable")
    got, wanted, taken = 0.0, recall * truth.sum(), 0.0
    for size, true in zip(sizes[order].tolist(), right[order].tolist(), strict=True):
        if got + true >= wanted:
            return float(wanted / (taken + size * (wanted - got) / true))
        got, taken = got + true, taken + size
    return float(truth.mean())


def plain_ways(energy: NDArray[np.floating], seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """Labels [n] by name: drawn at random, and equal bins of the energy on the object [n]."""
    rng, rank = np.random.default_rng(seed), np.argsort(np.argsort(energy, kind="stable"))
    at_random = {f"random, {count} clusters": rng.integers(0, count, len(energy)) for count in BINS}
    return at_random | {f"energy, {count} bins": rank * count // len(energy) for count in BINS}


def mean_agreement(found: Sequence[Mapping[str, Agreement | None]], way: str) -> tuple[float, ...]:
    """Adjusted Rand index and purities of a way, over the classes that the truth divides; NaN where there are none."""
    own = [one for ways in found if (one := ways[way]) is not None]
    rows = [(one.adjusted_rand, *one.purity) for one in own] or [(float("nan"),) * (1 + len(RECALLS))]
    return tuple(float(value) for value in np.mean(rows, axis=0))
