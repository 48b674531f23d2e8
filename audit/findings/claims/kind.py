"""What a kind of claim is: one class that carries its name, its words, its test, and what everybody asks of it.

Verify, compare, the report, the JSON Schema, the dashboard and the docs ask the kind; nobody else
keeps a list of kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.clustering import Members, cluster_targets
from audit.findings.claims.contrasts import LEAST, Family
from audit.findings.claims.hot_cells import Heat, heat_of
from audit.findings.claims.usual import Usual, usual_objects
from audit.findings.claims.votes import Votes, count_votes
from audit.findings.evidence.targets import Evidence, Features, Frames
from audit.findings.power import Detectable
from audit.findings.records import HEAT_ALONE, Claim, ClassFinding
from audit.findings.rules import Rules

_Made = TypeVar("_Made")
OBJECTS = "masks or boxes"
MASKS = "masks"
"""What tests lack where no object, or no mask, is known."""


@dataclass(frozen=True)
class Material:
    """What claims are made from.

    Attributes:
        evidence: of all targets.
        rules: that they were judged by.
        classes: findings about classes.
        features: gives the relevance off the object, shard by shard in the order of samples and slots, at every call.
        frames: gives all heat, and the objects; None where the run's tables are not at hand.
        no_features: why there are none, in a sentence; empty where there are.
        least: how far a share must exceed the one it is compared with; None for what each kind asks.
    """

    evidence: Evidence
    rules: Rules
    classes: Sequence[ClassFinding] = ()
    features: Callable[[], Iterable[Features]] = tuple
    frames: Frames | None = None
    no_features: str = ""
    least: float | None = None

    def __post_init__(self) -> None:
        if self.least is not None and not 0 < self.least < 1:
            raise ValueError(f"Expected `least` between 0 and 1, got {self.least}")

    @cached_property
    def votes(self) -> Votes:
        """Who has a vote about places."""
        return count_votes(self.evidence)

    @property
    def judged(self) -> bool:
        """Whether a confidently named target has a known object."""
        return bool((self.evidence.known & self.evidence.named).any())

    @cached_property
    def heat(self) -> Heat:
        """Where the heat of those with a vote lies."""
        return heat_of(self.evidence, self.votes)

    @cached_property
    def usual(self) -> Usual:
        """Where objects are known to be, for claims that rest on heat alone."""
        return usual_objects(self.evidence, self.votes, self.frames)

    @cached_property
    def members(self) -> Members:
        """Which target is in which cluster of relevance off the object."""
        return cluster_targets(self.features, self.evidence)

    def once(self, make: Callable[[Material], _Made]) -> _Made:
        """What a kind makes of it, made at the first call."""
        if make not in self._made:
            self._made[make] = make(self)
        made: _Made = self._made[make]
        return made

    @cached_property
    def _made(self) -> dict[Callable[[Material], Any], Any]:
        return {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return self.evidence.classes


class ClaimKind(ABC):
    """A kind of claim. One instance is registered in `audit.findings.claims.registry`.

    Attributes:
        name: as the table of claims keeps it.
        title: what it is about, as a page heads it.
        tests: what it tests, in a word or two; several kinds may share it. The title, unless told.
        family: what is tested together.
        question: what is asked.
        compared_with: what its share is compared with.
        stands: when it stands.
        numbers: what its `details` hold.
        chosen: how its examples are chosen, in a sentence.
        whole: whether it is about a class as a whole: it comes first, and classes have a table of their own.
        difference: whether its interval is of the difference from the expected share.
        least: how far its share must exceed the one it is compared with.
        paired: whether the targets of another run can be asked its `event`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    tests: ClassVar[str] = ""
    family: ClassVar[str]
    question: ClassVar[str]
    compared_with: ClassVar[str]
    stands: ClassVar[str]
    numbers: ClassVar[str]
    chosen: ClassVar[str] = "The most severe images of the class."
    whole: ClassVar[bool] = False
    difference: ClassVar[bool] = False
    least: ClassVar[float] = LEAST
    paired: ClassVar[bool] = True

    @abstractmethod
    def test(self, material: Material) -> list[Claim]:
        """The claims, standing ones first, and those that are none though their p alone is small."""

    def applies(self, material: Material) -> bool:
        """Whether it is of such a run at all; one of boxes is not of a classifier's."""
        return True

    def lacks(self, material: Material) -> str:
        """What it would take to test any of this kind, in a word or two; empty where some could be tested."""
        return "" if material.judged else OBJECTS

    def untested(self, material: Material) -> list[str]:
        """Sentences on what was left out and why."""
        return []

    def detectable(self, material: Material) -> list[Detectable]:
        """How common a shortcut must be to be found by this kind, by class."""
        return []

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """[n] which targets of the claim's class show what it says."""
        return np.ones(len(evidence), bool)

    def event(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """[n] 1 for targets that count for the claim, 0 for those that count against it, NaN for those without a vote.

        Two runs over the same samples are asked it alike: the claim's `class_id` is that of the evidence's classes.
        """
        has_heat = ~np.isnan(evidence.off_heat[:, 0])
        voters = evidence.named & has_heat & (evidence.known == (claim.rests_on != HEAT_ALONE))
        return np.where(voters & of_class(claim, evidence.class_id), self.shows(claim, evidence), np.nan)

    def targets(self, claim: Claim, evidence: Evidence) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """Samples and slots of the targets that count for the claim: what a person is asked to look at."""
        rows = self.event(claim, evidence) == 1
        return evidence.sample[rows], evidence.slot[rows]

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """[n] how well each target of the claim's class shows it, for choosing examples; -inf or NaN: not at all."""
        return np.where(evidence.off, evidence.severity, np.nan)

    def examples(self, claim: Claim) -> list[tuple[int, int]] | None:
        """Samples and slots that the claim itself names, the best first; None where examples must be looked for."""
        return None

    def judged_by_background(self, claim: Claim) -> bool:
        """Whether taking the background away can tell if the claim is a cause."""
        return True

    def identity(self, claim: Claim) -> str:
        """What the same claim of another run would be known by."""
        return claim.claim_id

    def repeats(self, claim: Claim) -> bool:
        """Whether another claim that was found says the same more narrowly."""
        return False

    def frame_heat(self, claim: Claim, mean: Sequence[float]) -> Sequence[float] | None:
        """[64] heat by cell of the frame that a page draws beside the claim, None for none.

        Args:
            mean: [64] of the class's confidently named targets.
        """
        return None

    def family_in(self, material: Material) -> Family:
        """What is tested together in a run, at its false discovery rate."""
        least = self.least if material.least is None else material.least
        return Family(self.name, self.family, material.rules.fdr, least)


def of_class(claim: Claim, class_id: NDArray[np.integer]) -> NDArray[np.bool_]:
    """[n] which targets, of classes [n], the claim may be about."""
    if claim.class_id is None:
        return np.ones(len(class_id), bool)
    return np.asarray(class_id == claim.class_id, bool)
