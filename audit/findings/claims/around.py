"""What lies around a box or a region: does the answer hang on it, wherever the heat lies?

A cell of a detector's layer that lies on the box sees what lies around as well. So evidence from a texture around the
object is in the heat on the object, and no map of that layer tells the two apart. What can be asked is the network:
within a run the surroundings are laid over themselves (`audit.interventions.quick`), for the surest box of each image,
or its largest region, whatever its map.

An image shows it when half of the probability is lost, or more. Compared are the other classes' as large, named as
surely, for these lose more when anything around them changes. Boxes that are known to lie on the object in part only
do not count: what was taken away is some of the object. A class that needs its natural surroundings is found as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.contrasts import Contrasts, Told, tested_together
from audit.findings.claims.kind import ClaimKind, Material, of_class
from audit.findings.claims.votes import FEWEST, object_basis, one_vote, testable
from audit.findings.claims.whole_class import by_stratum
from audit.findings.evidence.frame import frame_totals
from audit.findings.evidence.targets import Evidence
from audit.findings.power import Detectable, found_from
from audit.findings.records import Claim
from audit.scores.given.errors import ERRORS
from audit.stats.strata import p_if_alike, stratified
from audit.wording import percent

HALF = 0.5
"""Of the probability, from which an answer hangs on what was taken away."""
_PARTLY = [ERRORS.index(name) for name in ("misplaced", "both")]
_THINGS = {"detections": "boxes", "regions": "regions"}


class Around(ClaimKind):
    """Claims `around`, one for each class of which enough was asked."""

    name = "around"
    title = "what lies around"
    tests = "surroundings"
    family = "class, by what it loses"
    question = "does the answer hang on what lies around the box or region, wherever the heat lies?"
    compared_with = "the other classes' boxes or regions as large, named as surely"
    stands = "q is small and the share exceeds the other by more than 0.1"
    numbers = "`lost`, `lost_by_others`: mean share of the probability that is lost without what lies around"
    chosen = "The images that lose most."
    difference = True
    paired = False

    def test(self, material: Material) -> list[Claim]:
        """Claims of every class with images enough. Their interval is that of the difference."""
        asked, family = material.once(_asked), self.family_in(material)
        class_id = np.flatnonzero(testable(asked.sides[1].sum(axis=1), asked.sides[1::2].sum(axis=(0, 2))))
        beside = stratified(asked.sides[:, class_id], family.least)
        enough = testable(beside.of, beside.of + beside.other_of)
        beside = type(beside)._make(column[enough] for column in beside)
        tested = tested_together(class_id[enough], beside.shows, beside.of, beside.expected, beside.p)
        contrasts = replace(tested, low=beside.low, high=beside.high)
        basis = object_basis(material.evidence, asked.rows)

        def tell(i: int) -> Told:
            own = material.evidence.class_id[asked.rows] == contrasts.class_id[i]
            details = {"lost": float(asked.lost[own].mean()), "lost_by_others": float(asked.lost[~own].mean())}
            things = _THINGS[material.evidence.given or "detections"]
            return Told("surroundings", basis, _says(contrasts, i, material.names, things), details)

        return family.claims(contrasts, material.names, tell, len(contrasts.class_id))

    def detectable(self, material: Material) -> list[Detectable]:
        """Of each class."""
        asked, family = material.once(_asked), self.family_in(material)
        of = asked.sides[1].sum(axis=1)
        class_id = np.flatnonzero(testable(of, of + asked.sides[3].sum(axis=1)))
        level = family.fdr / max(len(class_id), 1)
        counts = asked.sides[:, class_id]
        shares = found_from(of[class_id], lambda shows: p_if_alike(shows, counts, family.least), level)
        how = "if its answers hang on what lies around"
        return [
            Detectable(material.names[i], self.name, "", how, share) for i, share in zip(class_id, shares, strict=True)
        ]

    def applies(self, material: Material) -> bool:
        """To boxes and regions: a classifier's background is asked about by its findings and by verify."""
        return material.evidence.given is not None

    def lacks(self, material: Material) -> str:
        """The quick check, or images."""
        if len(material.once(_asked).rows):
            return ""
        return f"the quick check, of {FEWEST} images of a class and of others"

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """The answer loses half, or more."""
        return np.asarray(_lost(evidence) >= HALF, bool)

    def event(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """The same, of those that count."""
        counts = _counts(evidence) & of_class(claim, evidence.class_id)
        return np.where(counts, _lost(evidence) >= HALF, np.nan)

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """What is lost."""
        return np.where(_counts(evidence), _lost(evidence), -np.inf)


@dataclass(frozen=True)
class _Asked:
    """Those with a vote.

    Attributes:
        rows: [r] positions in the evidence.
        lost: [r] share of the probability.
        sides: counts [4, C, strata] as `stratified` takes them.
    """

    rows: NDArray[np.int64]
    lost: NDArray[np.float64]
    sides: NDArray[np.int64]


def _lost(evidence: Evidence) -> NDArray[np.float64]:
    return np.full(len(evidence), np.nan) if evidence.lost is None else evidence.lost.astype(np.float64)


def _counts(evidence: Evidence) -> NDArray[np.bool_]:
    """[n] who was asked, was named with confidence, and is not known to be around the object in part only."""
    partly = np.zeros(len(evidence), bool) if evidence.error is None else np.isin(evidence.error, _PARTLY)
    return np.asarray(evidence.named & evidence.known & ~partly & np.isfinite(_lost(evidence)), bool)


def _asked(material: Material) -> _Asked:
    evidence = material.evidence
    rows = np.flatnonzero(_counts(evidence))
    rows = rows[one_vote(evidence.class_id[rows], evidence.unit[rows])]
    lost = _lost(evidence)[rows]
    columns: dict[str, NDArray[Any]] = {
        "class_id": evidence.class_id[rows],
        "probability": evidence.probability[rows],
        "area": 1 - frame_totals(evidence.off_area, rows),
    }
    return _Asked(rows, lost, by_stratum(columns, lost >= HALF, np.ones(len(rows), bool), len(evidence.classes)))


def _says(contrasts: Contrasts, i: int, names: tuple[str, ...], things: str) -> str:
    share = f"In {contrasts.shows[i]} of {contrasts.of[i]} images with {things} named {names[contrasts.class_id[i]]}"
    return (
        f"{share} half of the probability, or more, is lost without what lies around; of other classes' {things} as "
        f"large, named as surely, in {percent(contrasts.expected[i])}."
    )
