"""What interventions say: how much a class rests on the background, for a target and for a finding about many.

`reliance` is the estimate of p(c) as it is less p(c) without what the class takes from the background. Other images'
backgrounds bring cues of their own, which pull to other classes: that p(c) falls on one of them says little, that it
falls on all of them says that the own one is needed. So the kindest of them count, but for one, which may show the same
cue. On the planted benchmark the mean over all, the own background blurred, and one with its phases scrambled tell
images that rely on their cue from others less well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.findings import Findings, Outcome
from audit.findings.claims.registry import kind_of
from audit.interventions.tried import Tried
from audit.stats.resampling import bootstrap_means

CAUSAL = 0.4
"""Reliance from which the background is the cause."""
HARMLESS = 0.1
"""Reliance up to which it is not, if p(c) was seen on other backgrounds and falls without the object."""
_MATTERS = 0.25
"""Fall from which the object matters, and mean reliance below which most targets of a finding cannot rely by half."""
_FEWEST_SWAPS = 4
"""Other backgrounds from which they count: a few may all be unkind."""
_FEWEST = 5
"""Targets from which a finding about many is decided."""


@dataclass(frozen=True)
class Drops:
    """Falls of p(c) of one target, each p(c) as it is less p(c) without something; empty where that was not done.

    Attributes:
        probability: p(c) as it is.
        hot: [0 or 1] without the hot region off the object.
        random: [draws] without as large a region elsewhere.
        object: [0 or 1] without the object.
        swaps: [backgrounds] on those of other images.
    """

    probability: float
    hot: NDArray[np.float64]
    random: NDArray[np.float64]
    object: NDArray[np.float64]
    swaps: NDArray[np.float64]

    def mean(self, name: str) -> float:
        """The mean of one of the kinds; NaN without any."""
        values: NDArray[np.float64] = getattr(self, name)
        return float(values.mean()) if len(values) else np.nan

    @property
    def background(self) -> float:
        """The fall on the kindest but one of the other backgrounds; NaN with too few of them."""
        return float(np.sort(self.swaps)[1]) if len(self.swaps) >= _FEWEST_SWAPS else np.nan

    @property
    def reliance(self) -> float:
        """What the background does, or the hot region more than random ones, -1..1; NaN where nothing was changed."""
        return float(np.fmax(self.background, self.mean("hot") - max(self.mean("random"), 0)))


def outcome(drops: Drops) -> str:
    """Whether the background is the cause in one image, one of `audit.findings.records.OUTCOMES`."""
    reliance = drops.reliance
    if reliance >= CAUSAL:
        return "confirmed"
    tried = not np.isnan(drops.background) and drops.mean("object") >= _MATTERS
    return "refuted" if tried and reliance <= HARMLESS else "inconclusive"


def claim_outcomes(findings: Findings, tried: Tried, seed: int) -> list[Outcome]:
    """What interventions say of every claim that stands and that they can judge."""
    claims = findings.standing_claims()
    floor = tried.floor(claims)
    return [
        decide(claim.claim_id, *tried.reliance(claim), claim.class_name, floor, seed)
        for claim in claims
        if kind_of(claim).judged_by_background(claim)
    ]


def decide(
    claim_id: str,
    reliance: NDArray[np.floating],
    control: NDArray[np.floating],
    name: str | None,
    floor: float = np.nan,
    seed: int = 0,
) -> Outcome:
    """Decide from the reliance of the flagged targets [n], said beside that of their controls [m].

    Controls of the same class may rely on the background as well, without being flagged. So what they rely on does not
    decide. But without any control, and without a floor, nothing tells what the interventions alone do: then nothing
    is confirmed.

    Args:
        name: of the class; None for all.
        floor: mean reliance of controls of classes that nothing is found about, NaN without: what the interventions
            alone do to a probability.
    """
    control_effect = float(control.mean()) if len(control) else np.nan
    if not len(reliance):
        return _untried(claim_id, len(control), control_effect)
    (means,) = bootstrap_means(reliance[:, None], seed)
    decision = _decide(reliance, means["low"], means["high"], floor)
    lacking = _lacking(floor, len(control)) if decision == "confirmed" else ""
    if lacking == _NO_CONTROLS:
        decision = "inconclusive"
    says = _says(decision, f"p({name})" if name else "the probability", len(reliance), means, control) + lacking
    return Outcome(
        claim_id=claim_id,
        outcome=decision,
        targets=len(reliance),
        controls=len(control),
        effect=means["mean"],
        low=means["low"],
        high=means["high"],
        control_effect=control_effect,
        says=says,
    )


def _untried(claim_id: str, controls: int, control_effect: float) -> Outcome:
    return Outcome(
        claim_id=claim_id,
        outcome="inconclusive",
        targets=0,
        controls=controls,
        effect=np.nan,
        low=np.nan,
        high=np.nan,
        control_effect=control_effect,
        says="No image of it was tried.",
    )


_NO_CONTROLS = " There were no controls to compare with."
_NO_FLOOR = " There was no class without a claim to compare with."


def _lacking(floor: float, controls: int) -> str:
    """What a confirmed outcome could not be compared with, in a sentence; empty where nothing lacks."""
    if not np.isnan(floor):
        return ""
    return _NO_FLOOR if controls else _NO_CONTROLS


def _decide(reliance: NDArray[np.floating], low: float, high: float, floor: float) -> str:
    """Confirmed: the mean, surely, and most targets reach `CAUSAL`, and the interventions alone do less."""
    if len(reliance) < _FEWEST:
        return "inconclusive"
    if min(low, np.median(reliance)) >= CAUSAL and not low <= floor:
        return "confirmed"
    return "refuted" if high < _MATTERS else "inconclusive"


_MEANING = {
    "confirmed": "the background is the cause",
    "refuted": "the background is not the cause",
    "inconclusive": "that does not settle whether the background is the cause",
}


def _says(decision: str, what: str, count: int, means: Mapping[str, float], control: NDArray[np.floating]) -> str:
    mean, low, high = (f"{means[key]:.2f}" for key in ("mean", "low", "high"))
    beside = f", by {control.mean():.2f} in {len(control)} controls" if len(control) else ""
    images = f"the {count} most severe flagged images" if count > 1 else "1 flagged image"
    falls = f"{what} falls by {mean} [{low}, {high}] on average in {images}"
    return f"Without its background {falls}{beside}: {_MEANING[decision]}."
