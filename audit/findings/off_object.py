"""Which targets and classes look off the object, against what chance would do.

A target, one (sample, class) pair, is

- `avoids` when its heat lies on the object less than at random places: q of p_low at or below the level;
- `indifferent` when the class was named with confidence and its heat is misplaced: many random places would do as well
  on the object, and the place it has falls short of the best. That is a failure to show that the heat looks for the
  object, not a test of its own; the class-level test below is.

A class is a finding when more of its confidently named targets look off the object than is tolerated (one-sided
binomial test, Benjamini-Hochberg over classes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from audit.findings.multiplicity import benjamini_hochberg, q_of_counts
from audit.findings.null import SHIFTS

KINDS = ("avoids", "indifferent", "detected")
"""`detected`: a target without a mask that the detector flags; see `audit.findings.detector`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as a finding.

    Attributes:
        level: false discovery rate, for targets and for classes.
        confident: probability from which a class counts as named with confidence.
        misplaced: misplacement from which a confidently named target is a finding.
        tolerated: share of a class's confident targets that may look off the object without the class being a finding.
    """

    level: float = 0.05
    confident: float = 0.5
    misplaced: float = 0.05
    tolerated: float = 0.5

    def __post_init__(self) -> None:
        for name in ("level", "confident", "misplaced", "tolerated"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"Expected `{name}` between 0 and 1, got {getattr(self, name)}")


class ShiftTally:
    """Counts the p values of a run, multiples of 1/1024, so that q values need no second look at them all."""

    def __init__(self) -> None:
        self._counts = np.zeros(SHIFTS + 1, np.int64)

    def add(self, p: NDArray[np.floating]) -> None:
        """Count p values [n]."""
        self._counts += np.bincount(_shift_count(p), minlength=SHIFTS + 1)

    def q(self, p: NDArray[np.floating]) -> NDArray[np.float64]:
        """Benjamini-Hochberg q of p values [n] among all counted."""
        values = np.arange(SHIFTS + 1) / SHIFTS
        return q_of_counts(values, self._counts)[_shift_count(p)]


def kinds(
    probability: NDArray[np.floating],
    misplacement: NDArray[np.floating],
    q_low: NDArray[np.floating],
    rules: Rules,
) -> NDArray[np.object_]:
    """Kind of each target's finding [n], None where there is none."""
    found = np.full(len(probability), None, object)
    found[(probability >= rules.confident) & (misplacement >= rules.misplaced)] = "indifferent"
    found[q_low <= rules.level] = "avoids"
    return found


def misplacement(
    p_high: NDArray[np.floating], energy: NDArray[np.floating], attainable: NDArray[np.floating]
) -> NDArray[np.float64]:
    """How little a map's heat looks for its object [n], 0..1: chance times shortfall.

    Chance is the share of random places that do as well, the shortfall what is missing to the best of them,
    1 - energy / attainable. Both compare a map with itself elsewhere, so neither a small object nor a broad map counts
    as misplaced for being so; nor does a large object, on which many places do well, when the heat lies there as well
    as it can. 0 where no heat lies on what counts, or no place reaches the object: that is evidence of nothing.
    """
    energy, attainable = np.asarray(energy, np.float64), np.asarray(attainable, np.float64)
    placed = np.divide(energy, attainable, out=np.ones(len(energy)), where=attainable > 0)
    return np.asarray(np.asarray(p_high, np.float64) * np.clip(1 - np.nan_to_num(placed, nan=1.0), 0, 1))


def severity(probability: NDArray[np.floating], misplacement: NDArray[np.floating]) -> NDArray[np.float64]:
    """The image score [n], 0..1: misplacement times confidence, which is how far the probability exceeds even odds.

    On planted scenes where a class relies on its cue in some images alone, products of powers of chance, shortfall and
    confidence rank reliance about equally well and better than each alone; this is the plainest of them.
    """
    return np.asarray(misplacement, np.float64) * np.maximum(2 * np.asarray(probability, np.float64) - 1, 0)


def wilson_interval(count: NDArray[np.integer], total: NDArray[np.integer]) -> tuple[NDArray[np.float64], ...]:
    """95 % score interval of a share (Wilson 1927, eq. 1): two arrays, NaN where the total is 0."""
    z = norm.ppf(0.975)
    n = np.where(total > 0, total, np.nan)
    share = count / n
    middle = share + z**2 / (2 * n)
    spread = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return np.clip((middle - spread) / scale, 0, 1), np.clip((middle + spread) / scale, 0, 1)


class ClassTally:
    """Sums over a run's scored targets, by class."""

    def __init__(self, class_count: int) -> None:
        self._sums = {name: np.zeros(class_count) for name in ("targets", "confident", "off_object", *_MEANS)}
        self._known = {name: np.zeros(class_count) for name in _MEANS}

    def add(self, columns: Mapping[str, NDArray[Any]], found: NDArray[np.bool_], rules: Rules) -> None:
        """Count scored targets.

        Args:
            columns: `class_id`, `probability`, `energy`, `area` and `lift`, each [n], and `vote` [n] bool, False for
                all but one of near-duplicates: copies cannot make evidence.
            found: [n] whether there is a finding about the target.
        """
        ids = columns["class_id"]
        confident = (columns["probability"] >= rules.confident) & columns["vote"]
        weights = {"targets": np.ones(len(ids)), "confident": confident, "off_object": confident & found}
        for name, weight in weights.items():
            self._sums[name] += np.bincount(ids, weights=weight, minlength=len(self._sums[name]))
        for name in _MEANS:
            known = ~np.isnan(columns[name])  # heat on void pixels alone has no energy
            self._sums[name] += np.bincount(ids[known], columns[name][known], minlength=len(self._sums[name]))
            self._known[name] += np.bincount(ids[known], minlength=len(self._sums[name]))

    def table(self, classes: tuple[str, ...], rules: Rules) -> dict[str, list[object]]:
        """Columns of `audit.store.layout.CLASS_FINDING`: classes with targets, most suspicious first."""
        counts = {name: self._sums[name].astype(np.int64) for name in ("targets", "confident", "off_object")}
        present = np.flatnonzero(counts["targets"])
        targets, confident, off = (counts[name][present] for name in ("targets", "confident", "off_object"))
        low, high = wilson_interval(off, confident)
        p = np.asarray(binom.sf(off - 1, confident, rules.tolerated))
        q = benjamini_hochberg(p) if len(p) else p
        columns = {
            "class_id": present,
            "class": np.array([classes[index] for index in present], object),
            "targets": targets,
            "confident": confident,
            "off_object": off,
            "share": np.divide(off, confident, out=np.full(len(off), np.nan), where=confident > 0),
            "share_low": low,
            "share_high": high,
            **{name: self._mean(name)[present] for name in _MEANS},
            "p": p,
            "q": q,
            "finding": q <= rules.level,
        }
        order = np.lexsort((present, -np.nan_to_num(columns["share"]), q))
        return {name: values[order].tolist() for name, values in columns.items()}

    def _mean(self, name: str) -> NDArray[np.float64]:
        known = self._known[name]
        mean: NDArray[np.float64] = np.divide(self._sums[name], known, out=np.full(len(known), np.nan), where=known > 0)
        return mean


_MEANS = ("energy", "area", "lift")


def _shift_count(p: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.rint(np.asarray(p, np.float64) * SHIFTS).astype(np.int64)
