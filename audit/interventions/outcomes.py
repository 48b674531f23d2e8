"""What interventions say: how much a class rests on the background, for a target and for a finding about many.

`reliance` is the share of p(c) that is lost without what the class takes from the background. Other images' backgrounds
bring cues of their own, which pull to other classes: that p(c) falls on one of them says little, that it falls on all
of them says that the own one is needed. So the kindest of them count, but for one, which may show the same cue. Colours
are fewer than patterns, and some will be like its own: there the median counts. On the planted benchmark the mean over
all backgrounds, the own one blurred, and one with its phases scrambled tell images that rely on their cue from others
less well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from audit.findings import Findings, Outcome
from audit.findings.claims.registry import kind_of
from audit.interventions.tried import Arms, Shares, Tried, share_lost
from audit.stats.resampling import bootstrap_means, difference_interval
from audit.wording import percent

CAUSAL = 0.5
"""Reliance from which the background is the cause: half of p(c)."""
HARMLESS = 0.1
"""Reliance up to which it is not, if all that could be taken away was, and p(c) falls without the object."""
_MATTERS = 0.25
"""Share of p(c) from which the object matters, and below which most targets of a finding cannot lose half of theirs."""
_LEVEL = 0.05
"""Of the test whether flagged targets rely more than others."""
_FEWEST_SWAPS = 4
"""Other backgrounds, or colours, from which they count: a few may all be unkind."""
_FEWEST = 5
"""Targets from which a finding about many is decided, and others that they are compared with."""


@dataclass(frozen=True)
class Drops:
    """Falls of p(c) of one target, each p(c) as it is less p(c) without something; empty where that was not done.

    Attributes:
        probability: p(c) as it is.
        hot: [0 or 1] without the hot region off the object.
        random: [draws] without as large a region elsewhere.
        object: [0 or 1] without the object.
        focus: [0 or 1] without the hottest region, where that takes some of the object.
        beside: [0 or draws] without as much of the object in another place.
        patterns: [1 + backgrounds] on grain, and on those of other images, in the mean colour of its own.
        colours: [backgrounds] on its own in the mean colour of others.
    """

    probability: float
    hot: NDArray[np.float64]
    random: NDArray[np.float64]
    object: NDArray[np.float64]
    focus: NDArray[np.float64]
    beside: NDArray[np.float64]
    patterns: NDArray[np.float64]
    colours: NDArray[np.float64]

    def mean(self, name: str) -> float:
        """The mean of one of the kinds; NaN without any."""
        values: NDArray[np.float64] = getattr(self, name)
        return float(values.mean()) if len(values) else np.nan

    @property
    def background(self) -> float:
        """The fall on the kindest but one of the other backgrounds; NaN with too few of them."""
        return float(np.sort(self.patterns)[1]) if len(self.patterns) >= _FEWEST_SWAPS else np.nan

    @property
    def colour(self) -> float:
        """The fall in half of the other colours at least; NaN with too few of them."""
        return float(np.median(self.colours)) if len(self.colours) >= _FEWEST_SWAPS else np.nan

    @property
    def foreign(self) -> float:
        """The fall without the hottest part of the object, less that without another part; NaN without one."""
        return self.mean("focus") - float(np.fmax(self.mean("beside"), 0))

    @property
    def reliance(self) -> float:
        """The largest share of p(c) that hangs on the background, its colour, or the hot region: `share_lost`.

        What random regions do is taken off the last. NaN where nothing was changed.
        """
        spot = self.mean("hot") - max(self.mean("random"), 0)
        return float(share_lost(np.fmax.reduce([self.background, self.colour, spot]), self.probability))


def target_outcomes(tried: Tried, accused: Collection[int | None]) -> list[str]:
    """What interventions say of each target, one of `audit.findings.records.OUTCOMES`.

    A flagged target that relies on the background is confirmed where the flagged ones of its class rely more than those
    that are not. Where those rely on it as well, both need their context. A control has no finding to confirm; where
    no object is known, what is hot may be it.

    Args:
        accused: classes that a claim is about.
    """
    table = tried.table
    words = {name: _of_class(tried, name, accused) for name in table["class_id"].unique().tolist()}
    found = (table["arm"] == "flagged") | (table["class_id"].map(words) != "confirmed")
    causal = table["class_id"].map(words).where(found & table["object"].notna(), "inconclusive")
    return [_of_target(*row) for row in zip(causal, tried.reliance, tried.possible, tried.object_share, strict=True)]


def _of_class(tried: Tried, class_id: int, accused: Collection[int | None]) -> str:
    """What its targets that rely on the background are called.

    Flagged ones are held against controls of the class, or with too few of these against those of classes that nothing
    is found about.
    """
    flagged, controls = tried.flagged_of(class_id), tried.controls_of(class_id)
    others = controls if len(controls) >= _FEWEST else tried.unaccused(accused)
    if _rely_more(flagged, others):
        return "confirmed"
    return "needs context" if len(controls) >= _FEWEST and controls.mean() >= CAUSAL else "inconclusive"


def _rely_more(flagged: Shares, others: Shares) -> bool:
    """Whether the flagged rely more than the others by more than `HARMLESS` (Mann & Whitney 1947, one-sided)."""
    if not len(flagged) or not len(others):
        return False
    return bool(mannwhitneyu(flagged - HARMLESS, others, alternative="greater").pvalue <= _LEVEL)


def _of_target(causal: str, reliance: float, possible: float, object_share: float) -> str:
    """`causal` is what it is called if it relies on the background."""
    if reliance >= CAUSAL:
        return causal
    return "refuted" if possible <= HARMLESS and object_share >= _MATTERS else "inconclusive"


def claim_outcomes(findings: Findings, tried: Tried, seed: int) -> list[Outcome]:
    """What interventions say of every claim that stands and that they can judge."""
    claims = findings.standing_claims()
    accused = {claim.class_id for claim in claims}
    return [
        decide(claim.claim_id, tried.arms(claim, accused), claim.class_name, seed)
        for claim in claims
        if kind_of(claim).judged_by_background(claim)
    ]


def decide(claim_id: str, arms: Arms, name: str | None, seed: int = 0) -> Outcome:
    """Decide from the flagged targets, said beside their controls.

    Controls of the same class may rely on the background as well, without being flagged. So what they rely on does not
    decide; where it is as much, that is said. What the interventions alone do to a probability is seen in classes that
    nothing is found about. Without these, and without any control, nothing is confirmed.

    Args:
        name: of the class; None for all.
    """
    if not len(arms.reliance):
        return _untried(claim_id, arms)
    (means,) = bootstrap_means(arms.reliance[:, None], seed)
    excess = _excess(arms, seed)
    decision = _decide(arms, means, seed)
    lacking = _lacking(arms) if decision == "confirmed" else ""
    if lacking == _NO_CONTROLS:
        decision = "inconclusive"
    says = _says(decision, f"p({name})" if name else "the probability", arms, means)
    return Outcome(
        claim_id=claim_id,
        outcome=decision,
        targets=len(arms.reliance),
        controls=len(arms.controls),
        effect=means["mean"],
        low=means["low"],
        high=means["high"],
        control_effect=_mean(arms.controls),
        object_effect=_mean(arms.object_share) if arms.known.any() else np.nan,
        excess=excess["mean"],
        excess_low=excess["low"],
        excess_high=excess["high"],
        says=says + lacking + _context(decision, arms, excess) + _left_open(decision, arms, means),
    )


def _untried(claim_id: str, arms: Arms) -> Outcome:
    nothing = dict.fromkeys(("effect", "low", "high", "object_effect", "excess", "excess_low", "excess_high"), np.nan)
    return Outcome(
        claim_id=claim_id,
        outcome="inconclusive",
        targets=0,
        controls=len(arms.controls),
        control_effect=_mean(arms.controls),
        says="No image of it was tried.",
        **nothing,
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else np.nan


def _excess(arms: Arms, seed: int) -> dict[str, float]:
    """How much more flagged targets rely than others of the class, with its 95 % interval; NaN with too few."""
    if min(len(arms.reliance), len(arms.unflagged)) < _FEWEST:
        return dict.fromkeys(("mean", "low", "high"), np.nan)
    values = np.concatenate([arms.reliance, arms.unflagged])
    places = np.arange(len(values))
    low, high = difference_interval(values[:, None], places < len(arms.reliance), places, seed=seed)
    return {"mean": _mean(arms.reliance) - _mean(arms.unflagged), "low": float(low[0]), "high": float(high[0])}


_NO_CONTROLS = " There were no controls to compare with."
_FEW_OTHERS = f" There were fewer than {_FEWEST} controls of classes without a claim to compare with."
_CONTEXT = " Images of the class that are not flagged rely on it as well: the class needs its context."
_NO_OBJECT = " What the object is was not known, and what is hot may be it."
_OPEN = " Not all that may hold a cue could be taken away."


def _lacking(arms: Arms) -> str:
    """What a confirmed outcome could not be compared with, in a sentence; empty where nothing lacks."""
    if len(arms.unaccused) >= _FEWEST:
        return ""
    return _FEW_OTHERS if len(arms.controls) or len(arms.unaccused) else _NO_CONTROLS


def _context(decision: str, arms: Arms, excess: Mapping[str, float]) -> str:
    """Whether what is confirmed is common to the class, in a sentence; empty where it is not, or where few tell."""
    common = excess["low"] <= 0 and _mean(arms.unflagged) >= CAUSAL
    return _CONTEXT if decision == "confirmed" and common else ""


def _left_open(decision: str, arms: Arms, means: Mapping[str, float]) -> str:
    """Why reliance does not accuse, or little of it acquit, in a sentence; empty where the object does not matter."""
    if not _objects_known(arms):
        return _NO_OBJECT
    little = means["high"] < _MATTERS <= _mean(arms.object_share)
    return _OPEN if decision == "inconclusive" and little and len(arms.reliance) >= _FEWEST else ""


def _decide(arms: Arms, means: Mapping[str, float], seed: int) -> str:
    """Confirmed: the mean, surely, and most targets reach `CAUSAL`, and the interventions alone do less."""
    if len(arms.reliance) < _FEWEST or not _objects_known(arms):
        return "inconclusive"
    more = _rely_more(arms.reliance, arms.unaccused) or len(arms.unaccused) < _FEWEST
    if min(means["low"], np.median(arms.reliance)) >= CAUSAL and more:
        return "confirmed"
    return "refuted" if _acquitted(arms, seed) else "inconclusive"


def _objects_known(arms: Arms) -> bool:
    """Whether it is known of most images what their object is: else what is hot may be it."""
    return bool(arms.known.mean() >= 0.5)


def _acquitted(arms: Arms, seed: int) -> bool:
    """Surely little hangs on anything but the object, whatever was tried, and much on the object."""
    possible, object_share = bootstrap_means(np.column_stack([arms.possible, arms.object_share]), seed)
    return possible["high"] < _MATTERS <= object_share["low"]


_MEANING = {
    "confirmed": "the background is the cause",
    "refuted": "the background is not the cause",
    "inconclusive": "that does not settle whether the background is the cause",
}


def _says(decision: str, what: str, arms: Arms, means: Mapping[str, float]) -> str:
    mean, low, high = (percent(means[key]) for key in ("mean", "low", "high"))
    count, controls = len(arms.reliance), len(arms.controls)
    beside = f", by {percent(_mean(arms.controls))} in {controls} controls" if controls else ""
    alone = f", and without the object by {percent(_mean(arms.object_share))}"
    alone = alone if decision != "confirmed" and arms.known.any() else ""
    images = f"the {count} most severe flagged images" if count > 1 else "1 flagged image"
    falls = f"{what} falls by {mean} [{low}, {high}] on average in {images}"
    return f"Without its background {falls}{beside}{alone}: {_MEANING[decision]}."
