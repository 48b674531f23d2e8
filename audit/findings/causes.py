"""What interventions say: how much a class rests on the background, for a target and for a finding about many.

`reliance` is the estimate of p(c) as it is less p(c) without what the class takes from the background. Other images'
backgrounds bring cues of their own, which pull to other classes: that p(c) falls on one of them says little, that it
falls on nearly all of them says that the own background is needed. So what counts is one of the kindest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.metrics.faithfulness import bootstrap_means

OUTCOMES = ("confirmed", "refuted", "inconclusive")
CAUSAL = 0.25
"""Fall of p(c), in all, from which the background is the cause."""
HARMLESS = 0.1
"""Fall of p(c) up to which it is not."""
_BANDS = (0.5, 0.7, 0.9, 0.97)
_KIND = 0.25
"""Quantile of the falls over other backgrounds that counts."""
_FEWEST = 5
"""Targets from which a finding about many is decided."""


@dataclass(frozen=True)
class Drops:
    """Falls of p(c) of one target, each p(c) as it is less p(c) without something.

    Attributes:
        probability: p(c) as it is.
        hot: without the hot region off the object; NaN where no heat is off it.
        random: [draws] without as large a region elsewhere.
        object: without the object; NaN where no object is known.
        background: [backgrounds] on those of other images; empty where no object is known.
    """

    probability: float
    hot: float
    random: NDArray[np.float64]
    object: float
    background: NDArray[np.float64]

    @property
    def reliance(self) -> float:
        """The larger of what the background and what the hot region does, -1..1; NaN where nothing was changed.

        The background: the fall that three in four of the other backgrounds exceed. The hot region: its fall less that
        of the random regions.
        """
        return float(np.fmax(self.low, self._spot))

    @property
    def low(self) -> float:
        """The fall that three in four of the other backgrounds exceed."""
        return float(np.quantile(self.background, _KIND)) if len(self.background) else np.nan

    @property
    def high(self) -> float:
        """The middle fall over the other backgrounds."""
        return float(np.median(self.background)) if len(self.background) else np.nan

    @property
    def _spot(self) -> float:
        return self.hot - max(float(self.random.mean()), 0.0) if len(self.random) else np.nan


def spread(class_id: NDArray[np.integer], severity: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Places of up to `count` targets [n], most severe first: the worst of each class, then the second of each, ..."""
    order = np.argsort(-severity, kind="stable")
    grouped = np.argsort(class_id[order], kind="stable")
    ids = class_id[order][grouped]
    turn = np.empty(len(order), np.intp)
    turn[grouped] = np.arange(len(ids)) - np.searchsorted(ids, ids)
    chosen = np.argsort(turn, kind="stable")[:count]
    return order[np.sort(chosen)]


def match_controls(
    class_id: NDArray[np.integer],
    probability: NDArray[np.floating],
    drawn: NDArray[np.intp],
    free: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """A control for each drawn target, none twice: a free one of its class and confidence band, as near as can be.

    Where its class has none left, one of another class in the same band: what the interventions themselves do to a
    probability is seen there as well.

    Args:
        class_id, probability: [n] of all targets.
        drawn: [m] places of the targets that need a control.
        free: [n] whether a target may be one.

    Returns:
        [m] places, -1 where there is none.
    """
    band = np.digitize(probability, _BANDS)
    left = free.copy()
    found = np.full(len(drawn), -1, np.intp)
    for place, target in enumerate(drawn):
        near = left & (band == band[target])
        own = near & (class_id == class_id[target])
        candidates = np.flatnonzero(own if own.any() else near)
        if len(candidates):
            found[place] = candidates[np.abs(probability[candidates] - probability[target]).argmin()]
            left[found[place]] = False
    return found
