"""Two runs over the same samples, A and B, target by target: what changed, and whether by more than chance.

Differences are B less A of the same target, so that what makes targets easy or hard falls out. Near-duplicates of an
image say the same thing again: they are drawn together in the intervals and have one vote in the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from audit.progress import Progress, silent, tracked
from audit.stats.multiplicity import benjamini_hochberg
from audit.stats.resampling import mean_interval

MEASURES = ("energy", "off_object", "severity", "accuracy")

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Pairs:
    """Targets that both runs have, [n] or [2, n] with A first.

    Attributes:
        sample: [n] the same number for targets of one sample.
        image: [n] the same number for targets of one unit: an image with its near-copies, or what the rules name.
        class_id: [n] int.
        energy, severity: [2, n], NaN where no object is known.
        off_object: [2, n] 1 where there is a finding about the target, 0 where there is none, NaN where no object is
            known.
        accuracy: [2, n] 1 where the class with the highest logit is a label of the sample, 0 where not; NaN where the
            target's class is no label.
    """

    sample: NDArray[np.integer]
    image: NDArray[np.integer]
    class_id: NDArray[np.integer]
    energy: Floats
    off_object: Floats
    severity: Floats
    accuracy: Floats

    def __len__(self) -> int:
        return len(self.sample)


@dataclass(frozen=True, slots=True)
class Difference:
    """Means over `pairs` pairs, NaN for none, and the 95 % interval, `low` to `high`, of b - a."""

    pairs: int
    a: float
    b: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Flips:
    """Images with more off-object targets in B (`worse`), with more in A (`better`), and the exact p of the two."""

    worse: int
    better: int
    p: float

    @property
    def images(self) -> int:
        """With any change."""
        return self.worse + self.better

    @property
    def p_worse(self) -> float:
        """Exact, one-sided: how often as many of them would be worse, were worse and better equally likely."""
        return float(binom.sf(self.worse - 1, self.images, 0.5))


@dataclass(frozen=True)
class ClassComparison:
    """One class in both runs; q is that of the flips' p among all classes with a flip, 1 where there is none.

    Classes without a flip cannot be findings whatever the truth, and that there is none says nothing about which run is
    worse: leaving them out keeps the false discovery rate (Gilbert 2005, after Tarone 1990).
    """

    class_id: int
    measures: dict[str, Difference]
    flips: Flips
    q: float


def compare_all(pairs: Pairs, seed: int = 0) -> tuple[dict[str, Difference], Flips]:
    """Every measure over all pairs, and the flips. Accuracy counts each sample once, all others each target."""
    labelled = np.flatnonzero(np.isfinite(pairs.accuracy).all(axis=0))
    once = labelled[np.unique(pairs.sample[labelled], return_index=True)[1]]
    measures = _measure(pairs, np.arange(len(pairs)), seed)
    measures["accuracy"] = paired_difference(pairs.accuracy[:, once], pairs.image[once], seed)
    return measures, count_flips(pairs.off_object, pairs.image)


def compare_classes(pairs: Pairs, seed: int = 0, progress: Progress = silent) -> list[ClassComparison]:
    """Every class with pairs, ascending in q, then by how much larger its off-object share is in B.

    A thousand classes with a thousand targets each take a quarter of a minute.
    """
    classes = tracked(progress, "comparing classes", list(by_class(pairs.class_id)))
    rows = [(class_id, _measure(pairs, places, seed), _flips(pairs, places)) for class_id, places in classes]
    p, flipped = (np.array([getattr(flips, name) for *_, flips in rows]) for name in ("p", "images"))
    q = np.ones(len(rows))
    q[flipped > 0] = benjamini_hochberg(p[flipped > 0])
    compared = [ClassComparison(*row, float(value)) for row, value in zip(rows, q, strict=True)]
    return sorted(compared, key=_most_changed)


def _most_changed(row: ClassComparison) -> tuple[float, float, int]:
    return row.q, -float(np.nan_to_num(row.measures["off_object"].difference)), row.class_id


def paired_difference(values: Floats, image: NDArray[np.integer], seed: int = 0) -> Difference:
    """Mean of B less that of A, over the pairs where both are numbers, and its percentile interval over images.

    Images are drawn with repeats, each with all of its pairs: `audit.stats.resampling`. The interval holds the
    difference, also where all images agree.

    Args:
        values: [2, n] of A and B.
        image: [n] which pairs are drawn together.
    """
    known = np.isfinite(values).all(axis=0)
    a, b = np.asarray(values[:, known], np.float64)
    if not len(a):
        return Difference(0, *[float("nan")] * 5)
    low, high = mean_interval((b - a)[:, None], image[known], seed=seed)
    difference = float((b - a).mean())
    ends = min(float(low[0]), difference), max(float(high[0]), difference)
    return Difference(len(a), float(a.mean()), float(b.mean()), difference, *ends)


def count_flips(off_object: Floats, image: NDArray[np.integer]) -> Flips:
    """Sign test over images (exact, two-sided): with one pair an image that is McNemar's test (1947).

    Args:
        off_object: [2, n] of A and B, 1 off the object, 0 not; pairs with a NaN are left out.
        image: [n] which pairs have one vote together.
    """
    known = np.isfinite(off_object).all(axis=0)
    if not known.any():
        return Flips(0, 0, 1.0)
    place = np.unique(image[known], return_inverse=True)[1]
    change = np.bincount(place, weights=off_object[1, known] - off_object[0, known])
    worse, better = int((change > 0).sum()), int((change < 0).sum())
    p = min(1.0, 2 * float(binom.cdf(min(worse, better), worse + better, 0.5)))
    return Flips(worse, better, p)


def _measure(pairs: Pairs, places: NDArray[np.integer], seed: int) -> dict[str, Difference]:
    image = pairs.image[places]
    return {name: paired_difference(getattr(pairs, name)[:, places], image, seed) for name in MEASURES}


def _flips(pairs: Pairs, places: NDArray[np.integer]) -> Flips:
    return count_flips(pairs.off_object[:, places], pairs.image[places])


def by_class(class_id: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.integer]]]:
    """Each class with the places of its pairs."""
    order = np.argsort(class_id, kind="stable")
    for name, start, count in zip(*np.unique(class_id[order], return_index=True, return_counts=True), strict=True):
        yield int(name), order[start : start + count]
