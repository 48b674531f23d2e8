"""How far reviewers agree beyond chance, of subjects that more than one decided.

Of two reviewers that is Cohen's kappa (Cohen 1960), of more Krippendorff's alpha for nominal data (Krippendorff 2004,
chapter 11), which takes reviewers who decided different subjects. Both are 1 where all agree and 0 where they agree as
often as chance would have it. With hardly anything but agreement both are small, or not defined: the share of pairs of
verdicts that are the same stands beside them.

Both suppose that nobody saw the others' verdicts before the own one. The interval takes subjects for independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.store.verdicts.decided import Standing
from audit.store.verdicts.log import DECISIONS

DRAWS = 2000
KAPPA, ALPHA = "Cohen's kappa", "Krippendorff's alpha"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far reviewers agree.

    Attributes:
        measure: `KAPPA` or `ALPHA`.
        value: NaN where it is not defined: all decided everything alike.
        low, high: its 95 % interval, subjects drawn again with repeats (Efron's percentiles).
        same: share of the pairs of verdicts about a subject that are the same.
        subjects: that more than one decided.
        reviewers: who decided any of them.
    """

    measure: str
    value: float
    low: float
    high: float
    same: float
    subjects: int
    reviewers: tuple[str, ...]

    @property
    def says(self) -> str:
        """It in a sentence."""
        who = f"{len(self.reviewers)} reviewers on {self.subjects:,} subjects"
        if np.isnan(self.value):
            return f"{who} decided all alike, so {self.measure} is not defined"
        span = f"{self.measure} {self.value:.2f} ({self.low:.2f} to {self.high:.2f})"
        return f"{who}: {span}, {100 * self.same:.0f} % of pairs of verdicts the same"

    def plain(self) -> dict[str, Any]:
        """With the sentence."""
        return {**asdict(self), "says": self.says}


def agreement_of(standing: Standing, seed: int = 0) -> Agreement | None:
    """The agreement of those who decided the same subjects; None where nobody did."""
    shared = [{name: given.decision for name, given in by.items()} for by in standing.values() if len(by) > 1]
    reviewers = tuple(sorted({name for decisions in shared for name in decisions}))
    if not shared:
        return None
    if len(reviewers) == 2:
        measure, patterns, formula = KAPPA, _tables(shared, reviewers), cohens_kappa
    else:
        measure, patterns, formula = ALPHA, _counts(shared), krippendorffs_alpha
    kinds, times = np.unique(patterns, axis=0, return_counts=True)
    value = float(formula(kinds, times[None])[0])
    # Subjects of one pattern are alike, so how often each pattern is drawn is multinomial.
    drawn = np.random.default_rng(seed).multinomial(len(shared), times / len(shared), DRAWS)
    low, high = _percentiles(formula(kinds, drawn), value)
    return Agreement(measure, value, low, high, _same(kinds, times, measure), len(shared), reviewers)


def cohens_kappa(patterns: NDArray[np.integer], times: NDArray[np.integer]) -> NDArray[np.float64]:
    """Cohen's kappa [B] of two reviewers (Cohen 1960, eq. 1), NaN where both gave everything one decision.

    Args:
        patterns: [m, k, k] or [m, k * k], how often the first gave the row's decision and the second the column's.
        times: [B, m] how often each pattern occurs.
    """
    side = len(DECISIONS)
    table = (times @ patterns.reshape(len(patterns), -1)).reshape(-1, side, side).astype(np.float64)
    table /= table.sum(axis=(1, 2), keepdims=True)
    same = np.trace(table, axis1=1, axis2=2)
    chance = (table.sum(axis=1) * table.sum(axis=2)).sum(axis=1)
    return _beyond(same, chance)


def krippendorffs_alpha(patterns: NDArray[np.integer], times: NDArray[np.integer]) -> NDArray[np.float64]:
    """Krippendorff's alpha [B] for nominal data with missing values, NaN where all decisions are one.

    1 - D_o / D_e, in coincidences (Krippendorff 2004, section 11.3): of a subject with m verdicts each ordered pair of
    them counts 1 / (m - 1).

    Args:
        patterns: [m, k] how many gave each decision about a subject, two or more in all.
        times: [B, m] how often each pattern occurs.
    """
    verdicts = patterns.sum(axis=1)
    same = (patterns * (patterns - 1)).sum(axis=1) / (verdicts - 1)
    totals = (times @ patterns).astype(np.float64)
    every = totals.sum(axis=1)
    chance = (totals * (totals - 1)).sum(axis=1) / (every * (every - 1))
    return _beyond((times @ same) / every, chance)


def _beyond(same: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Agreement beyond chance as a share of what there could be."""
    left = 1 - chance
    beyond: NDArray[np.float64] = np.divide(same - chance, left, out=np.full(len(same), np.nan), where=left > 1e-12)
    return beyond


def _tables(shared: Iterable[Mapping[str, str]], reviewers: tuple[str, ...]) -> NDArray[np.int64]:
    """[n, k * k] a one where the decisions of the two meet."""
    side = len(DECISIONS)
    places = [side * DECISIONS.index(by[reviewers[0]]) + DECISIONS.index(by[reviewers[1]]) for by in shared]
    return np.eye(side * side, dtype=np.int64)[places]


def _counts(shared: Iterable[Mapping[str, str]]) -> NDArray[np.int64]:
    """[n, k] how many gave each decision."""
    return np.array([[list(by.values()).count(decision) for decision in DECISIONS] for by in shared], np.int64)


def _same(kinds: NDArray[np.int64], times: NDArray[np.int64], measure: str) -> float:
    """Share of pairs of verdicts about one subject that are the same."""
    if measure == KAPPA:
        side = len(DECISIONS)
        return float(np.trace((times @ kinds).reshape(side, side)) / times.sum())
    of = kinds.sum(axis=1)
    same, pairs = (kinds * (kinds - 1)).sum(axis=1), of * (of - 1)
    return float((times @ same) / (times @ pairs))


def _percentiles(values: NDArray[np.float64], value: float) -> tuple[float, float]:
    """Of those that are defined; they hold the value itself."""
    known = values[~np.isnan(values)]
    if np.isnan(value) or not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, (2.5, 97.5))
    return min(float(low), value), max(float(high), value)
