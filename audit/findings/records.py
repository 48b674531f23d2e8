"""What was found, as typed records: findings about targets and classes, claims, and what interventions say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from audit.findings.forms import claim_html, finding_html
from audit.findings.rules import KINDS
from audit.store.tables.records import Record, column
from audit.store.verdicts.decided import SAID

OUTCOMES = ("confirmed", "needs context", "refuted", "inconclusive")
"""What interventions may say."""
UNTESTED = "not tested"
"""Outcome of what no intervention was made for."""
HEAT_ALONE = "heat alone"
GIVEN = {"detected": "detections", "segmented": "regions"}
"""Role of a target that brings its object along -> what these objects are."""
AIMED = (*GIVEN, "word")
"""Roles of targets that are no classes of an image as a whole."""
BASES = ("masks", "boxes", "masks and boxes", *GIVEN.values(), HEAT_ALONE, "activations", "labels")
"""What a claim may rest on."""
ARMS = ("flagged", "control")
ROLES = ("label", "predicted", "runner_up", "detected", "segmented", "word")
"""Why a map was made."""
GIVEN_ROLES = ("detected", "segmented", "word")
"""Of what a network gave itself, not of classes of images as a whole."""
TOLERATED, OTHER_CLASSES = "tolerated", "other classes"
"""What the share of a class is held against."""
REST, OTHERS, NOBODY = "rest of the class", "other classes", "nothing"
AGAINST = (REST, OTHERS, NOBODY)
"""What the channels of a claim are held against."""

_TEXT, _FLAG, _WHOLE, _SMALL = pa.string(), pa.bool_(), pa.int64(), pa.int32()
_SINGLE, _DOUBLE = pa.float32(), pa.float64()
_SHARE: dict[str, Any] = {"least": 0, "most": 1}
_COUNT: dict[str, Any] = {"least": 0}
_VERDICT = "What reviewers together say; conflict where some agree and some disagree; null where nobody decided."
_REVIEWERS = "Who decided, the names with `; ` between; null where nobody did."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Record):
    """A finding about one target; `findings/part-*.parquet`."""

    finding_id: str = column(_TEXT, "SAMPLE:SLOT:KIND, unique in the run.")
    kind: str = column(
        _TEXT,
        "avoids: the heat lies on the object less than at random places; indifferent: many random places do as well, "
        "and the best of them better; detected: no object is known, a detector fitted on targets with masks flags it.",
        choices=KINDS,
    )
    severity: float = column(
        _SINGLE,
        "How far the heat is misplaced (chance times 1 - energy / attainable) times how far the probability exceeds "
        "even odds; of a detected target the detector's probability.",
        **_SHARE,
    )
    quick_reliance: float | None = column(
        _SINGLE,
        "The quick check: share of the probability that is lost without the background; null where it was not made.",
        least=-1,
        most=1,
    )
    suspicion: float = column(
        _SINGLE, "What findings are ranked by: the quick reliance, or without it the severity.", **_SHARE
    )
    sample: int = column(_WHOLE, "Row of the sample in the manifest.", **_COUNT)
    id: str = column(_TEXT, "The sample's id.")
    slot: int = column(pa.int16(), "Place of the target among the sample's.", **_COUNT)
    class_id: int = column(_SMALL, "The class.", **_COUNT)
    class_name: str = column(_TEXT, "Its name.", name="class")
    role: str = column(_TEXT, "Why a map was made for it.", choices=ROLES)
    probability: float = column(_SINGLE, "That the model gives the class.", **_SHARE)
    area: float | None = column(_SINGLE, "Share of what was seen that is object.", **_SHARE)
    energy: float | None = column(_SINGLE, "Share of the heat on the object.", **_SHARE)
    lift: float | None = column(_SINGLE, "energy / area.", least=0)
    best_iou: float | None = column(_SINGLE, "Highest IoU of the thresholded map with the object.", **_SHARE)
    iou: float | None = column(_SINGLE, "IoU at the run's threshold.", **_SHARE)
    chance: float | None = column(_SINGLE, "Share of random places that do as well on the object.", **_SHARE)
    q_low: float | None = column(
        _SINGLE, "Small when the object is avoided; over the confidently named targets, weighted by class.", **_SHARE
    )
    q_high: float | None = column(_SINGLE, "Small when the heat is on the object.", **_SHARE)
    attainable: float | None = column(
        _SINGLE, "The highest energy of any place: what this heat could do on this object.", **_SHARE
    )
    peak_distance: float | None = column(
        _SINGLE, "From the peak to the object, in diagonals of the view; 0 on it.", least=0
    )
    rests_on: str | None = column(
        _TEXT, "What told where the object is.", choices=("mask", "boxes", "detection", "region", "detector")
    )
    fdr: float | None = column(_SINGLE, "False discovery rate of q_low; null for a detected target.", **_SHARE)
    family: str = column(_TEXT, "What was tested together.")
    says: str | None = column(_TEXT, "The finding in a sentence.")
    outcome: str = column(
        _TEXT, "What interventions make of it.", choices=(*OUTCOMES, UNTESTED), stored=False, default=UNTESTED
    )
    reliance: float | None = column(
        _SINGLE,
        "How far the probability falls when the background is changed; null where nothing was changed.",
        least=-1,
        most=1,
        stored=False,
        default=None,
    )
    verdict: str | None = column(_TEXT, _VERDICT, choices=SAID, stored=False, default=None)
    reviewers: str | None = column(_TEXT, _REVIEWERS, stored=False, default=None)

    def _repr_html_(self) -> str:
        return finding_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFinding(Record):
    """A class, tested as a whole; `findings/classes.parquet`."""

    class_id: int = column(_SMALL, "Position of the class in the manifest.", **_COUNT)
    class_name: str = column(_TEXT, "Name.", name="class")
    targets: int = column(_WHOLE, "Scored targets.", **_COUNT)
    confident: int = column(_WHOLE, "Of those, named with confidence.", **_COUNT)
    off_object: int = column(_WHOLE, "Of those, looking off the object.", **_COUNT)
    share: float | None = column(_DOUBLE, "off_object / confident; null where none is confident.", **_SHARE)
    share_low: float | None = column(_DOUBLE, "Lower end of the 95 % interval (Wilson).", **_SHARE)
    share_high: float | None = column(_DOUBLE, "Upper end.", **_SHARE)
    energy: float | None = column(_DOUBLE, "Mean share of the heat on the object.", **_SHARE)
    area: float | None = column(_DOUBLE, "Mean share of what was seen that is object.", **_SHARE)
    lift: float | None = column(_DOUBLE, "Mean of energy / area.", least=0)
    against: str = column(
        _TEXT,
        "What the share is held against: the share tolerated; or the other classes, where twice their share, and 0.05 "
        "above it, are less.",
        choices=(TOLERATED, OTHER_CLASSES),
    )
    expected: float | None = column(
        _DOUBLE,
        "That share; of the other classes with objects as large, named as surely; null below 5 images.",
        **_SHARE,
    )
    p: float | None = column(
        _DOUBLE,
        "One-sided: of a share above the one tolerated, or above the others' by more than 0.05 and twice it.",
        **_SHARE,
    )
    q: float | None = column(_DOUBLE, "Benjamini-Hochberg over the classes that were tested.", **_SHARE)
    needed: int | None = column(
        _WHOLE,
        "Images off the object that would make it a finding, were it the only one; above `confident`: none.",
        **_COUNT,
    )
    is_finding: bool = column(_FLAG, "Whether q is at or below the false discovery rate.")
    quick_reliance: float | None = column(
        _DOUBLE, "Mean over its findings that were asked; null without any.", least=-1, most=1, default=None
    )
    quick_of_others: float | None = column(
        _DOUBLE, "Mean over its other targets that were asked; null without any.", least=-1, most=1, default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Record):
    """A finding about more than one target, or what came near one; `findings/claims.parquet`."""

    claim_id: str = column(
        _TEXT, "KIND:CLASS:SUBJECT, unique in the run; within a part, % is written %25 and : is written %3A."
    )
    kind: str = column(_TEXT, "What is claimed.")
    class_id: int | None = column(_SMALL, "The class; null for all classes.", **_COUNT)
    class_name: str | None = column(_TEXT, "Its name.", name="class")
    subject: str = column(_TEXT, "The zone, the other class, the spot, ATTRIBUTE=VALUE, the cluster's number.")
    targets: int = column(_WHOLE, "Number of images that the share is of.", **_COUNT)
    share: float | None = column(_DOUBLE, "Of them, that show it.", **_SHARE)
    low: float | None = column(
        _DOUBLE,
        "Lower end of the 95 % interval: of the share, for a group or cluster of its difference from the others.",
        least=-1,
        most=1,
    )
    high: float | None = column(_DOUBLE, "Upper end.", least=-1, most=1)
    expected: float | None = column(_DOUBLE, "The share that it is compared with.", **_SHARE)
    p: float | None = column(
        _DOUBLE, "How often chance alone would show as much; null where there was no test.", **_SHARE
    )
    q: float | None = column(_DOUBLE, "Benjamini-Hochberg over the family; null where there was no test.", **_SHARE)
    fdr: float = column(_DOUBLE, "False discovery rate of the family.", **_SHARE)
    family: str = column(_TEXT, "What was tested together, as `class x zone`.")
    tested: int = column(_WHOLE, "How many were.", **_COUNT)
    found: bool = column(_FLAG, "Whether the claim stands.")
    rests_on: str = column(_TEXT, "What told where the object is, or what else the claim is made from.", choices=BASES)
    says: str = column(_TEXT, "The claim in a sentence.")
    details: Mapping[str, Any] = column(_TEXT, "More numbers, by kind: docs/findings.md lists them.", packed=True)
    outcome: str = column(
        _TEXT,
        "What interventions make of it; `not tested` before `camaudit verify`.",
        choices=(*OUTCOMES, UNTESTED),
        stored=False,
        default=UNTESTED,
    )
    verdict: str | None = column(_TEXT, _VERDICT, choices=SAID, stored=False, default=None)
    reviewers: str | None = column(_TEXT, _REVIEWERS, stored=False, default=None)

    def _repr_html_(self) -> str:
        return claim_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect(Record):
    """What interventions did to one target; `findings/effects.parquet`. Falls of p(c), NaN where not done."""

    sample: int = column(_WHOLE, "Row of the sample in the manifest.", **_COUNT)
    slot: int = column(pa.int16(), "Place of the target among the sample's.", **_COUNT)
    id: str = column(_TEXT, "The sample's id.")
    class_id: int = column(_SMALL, "The class.", **_COUNT)
    class_name: str = column(_TEXT, "Its name.", name="class")
    arm: str = column(_TEXT, "Whether there is a finding about it.", choices=ARMS)
    severity: float | None = column(_SINGLE, "Of the finding.", **_SHARE)
    probability: float = column(_SINGLE, "p(c) as it is.", **_SHARE)
    hot: float | None = column(_SINGLE, "Fall of p(c) without the hot region off the object.", least=-1, most=1)
    random: float | None = column(_SINGLE, "... without a random region off the object of the same area.", least=-1)
    object: float | None = column(_SINGLE, "... without the object.", least=-1, most=1)
    foreign: float | None = column(
        _SINGLE, "... without the hottest part of the object, less that without another part.", default=None, least=-2
    )
    background: float | None = column(
        _SINGLE, "... with other images' backgrounds, in the colour of its own.", least=-1
    )
    colour: float | None = column(
        _SINGLE, "... with its own background in other images' colours.", default=None, least=-1
    )
    reliance: float | None = column(
        _SINGLE, "Share of p(c) that hangs on the background, its colour or the hot region.", least=-1, most=1
    )
    outcome: str = column(_TEXT, "What that says.", choices=OUTCOMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Record):
    """What interventions say of a claim; `findings/causes.parquet`."""

    claim_id: str = column(_TEXT, "The claim's `claim_id`.")
    outcome: str = column(_TEXT, "Whether the background causes the answers.", choices=OUTCOMES)
    targets: int = column(_WHOLE, "Targets that were intervened on.", **_COUNT)
    controls: int | None = column(_WHOLE, "Targets without a finding that the same was done to.", **_COUNT)
    effect: float | None = column(_DOUBLE, "Mean reliance: the share of p(c) that is lost without the background.")
    low: float | None = column(_DOUBLE, "Lower end of its 95 % interval.")
    high: float | None = column(_DOUBLE, "Upper end.")
    control_effect: float | None = column(_DOUBLE, "Mean reliance of the controls.")
    object_effect: float | None = column(_DOUBLE, "Mean share of p(c) that is lost without the object.", default=None)
    excess: float | None = column(
        _DOUBLE,
        "Mean reliance less that of images of the class that are not flagged; null with fewer than five.",
        default=None,
    )
    excess_low: float | None = column(_DOUBLE, "Lower end of its 95 % interval.", default=None)
    excess_high: float | None = column(_DOUBLE, "Upper end.", default=None)
    says: str = column(_TEXT, "The outcome in a sentence.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Record):
    """Which cluster a target is in; `findings/clusters.parquet`."""

    sample: int = column(_WHOLE, "Row of the sample in the manifest.", **_COUNT)
    slot: int = column(pa.int16(), "Place of the target among the sample's.", **_COUNT)
    class_id: int = column(_SMALL, "The class.", **_COUNT)
    cluster: int = column(_SMALL, "Number of the cluster, by class from 0, the largest first; -1 for none.")
    distance: float | None = column(_SINGLE, "To the cluster's middle.", least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimChannel(Record):
    """A channel of the network that a claim's heat off the object comes from; `findings/claim_channels.parquet`."""

    claim_id: str = column(_TEXT, "The claim's `claim_id`.")
    place: int = column(_SMALL, "1 for the channel that sets the claim apart most, 2 for the next.", least=1)
    channel: int = column(_SMALL, "Number of the channel in the layer that was explained.", **_COUNT)
    share: float = column(
        _DOUBLE, "Mean share of the heat off the object that it carries, over the images that show the claim.", **_SHARE
    )
    share_of_others: float = column(_DOUBLE, "The same over the images that it is held against.", **_SHARE)
    carries: int = column(_WHOLE, "Images that show the claim in which it is among the leading channels.", **_COUNT)
    images: int = column(_WHOLE, "Images that show the claim.", **_COUNT)
    of_others: int = column(_WHOLE, "Images it is held against in which it is among the leading channels.", **_COUNT)
    others: int = column(_WHOLE, "Images that it is held against.", **_COUNT)
    against: str = column(_TEXT, "What it is held against.", choices=AGAINST)
    p: float | None = column(_DOUBLE, "One-sided: of carrying as often by chance; null where nothing is held against.")
    q: float | None = column(_DOUBLE, "Benjamini-Hochberg over the channels of the claim.", **_SHARE)
    apart: bool = column(_FLAG, "Whether q is at or below the false discovery rate.")
    patches: Mapping[str, Any] = column(
        _TEXT, "`targets`: [sample, slot, cell] of up to nine images in which it carries most.", packed=True
    )


@dataclass(frozen=True)
class Shown:
    """What shows a claim.

    Attributes:
        claim_id: of the claim.
        examples: samples and slots, the best first.
        heat: [64] mean share of the heat by cell of the frame, over confidently named targets of its class; empty
            without any.
    """

    claim_id: str
    examples: Sequence[tuple[int, int]]
    heat: Sequence[float]


def surest_first(claims: Iterable[Claim]) -> list[Claim]:
    """Those that stand first, then by q."""
    return sorted(claims, key=lambda claim: (not claim.found, math.inf if claim.q is None else claim.q))


def standing(claims: Iterable[Claim]) -> list[Claim]:
    """Those that stand, by q; behind them those that rest on heat alone, which cannot tell what it lies on."""
    found = (claim for claim in surest_first(claims) if claim.found)
    return sorted(found, key=lambda claim: claim.rests_on == HEAT_ALONE)
