"""Classes that are named without their object: a watermark without a horse, called horse.

An image that is confidently named a class is a vote for the claim when the class is neither among its labels nor in its
mask. How often that is so is compared with the other classes' images. Where the heat lies then is told beside it: in
which part of the frame, and on which other class of the mask.

Masks that annotate some classes only would make all others absent. So a mask must show some class to count, classes
that no mask of the run shows are left out, and an image that is labelled with a class which its mask does not show
counts on neither side: the object was cut off, or nobody outlined it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.contrasts import Contrasts, Told, tested_together
from audit.findings.claims.kind import MASKS, ClaimKind, Material
from audit.findings.claims.votes import basis_of_objects, one_vote, testable
from audit.findings.evidence.frame import where_heat_lies
from audit.findings.evidence.targets import Evidence
from audit.findings.power import Detectable, found_from
from audit.findings.records import Claim
from audit.stats.margins import exceeds
from audit.wording import listed, percent

SHOWN = 24
"""Images that a claim names, the surest first."""


@dataclass(frozen=True)
class Named:
    """Images confidently named a class whose mask tells whether it is there, one vote an image and class.

    Attributes:
        of: [C] how many each class has.
        absences: rows of the evidence's absences that are votes.
        shows: [C] how many those are.
        rests_on: as `basis_of_objects` says.
    """

    of: NDArray[np.int64]
    absences: NDArray[np.int64]
    shows: NDArray[np.int64]
    rests_on: str


class Absent(ClaimKind):
    """Claims `absent`, one for each class that masks show somewhere; see the module."""

    name = "absent"
    title = "a class without its object"
    tests = "absent objects"
    family = "class without its object"
    question = "is the class named with confidence where neither mask nor label shows its object?"
    compared_with = "the other classes' images"
    stands = "q is small and the share exceeds the other by more than 0.1"
    numbers = (
        "`heat`: of the images without the object 64 mean shares of the heat by cell; `where`: the part of the frame "
        "with most of it, in words, and `there`: the share in it; `other`, `on_other`: the other class of the masks "
        "that holds most of it, and its mean share; `examples`: [sample, slot], the most probable first"
    )
    chosen = "The images without the object that are named most surely."
    paired = False

    def test(self, material: Material) -> list[Claim]:
        """Claims of every class that can be compared."""
        evidence, named, family = material.evidence, material.once(_named), self.family_in(material)
        contrasts = _contrasts(named, family.least)

        def tell(i: int) -> Told:
            class_id = int(contrasts.class_id[i])
            rows = named.absences[evidence.absences.class_id[named.absences] == class_id]
            details = _details(evidence, rows)
            says = _says(contrasts, i, material.names[class_id], details)
            return Told("without its object", named.rests_on, says, details)

        return family.claims(contrasts, material.names, tell, len(contrasts.p))

    def detectable(self, material: Material) -> list[Detectable]:
        """By how many of its images lack the object."""
        named, family = material.once(_named), self.family_in(material)
        class_id = np.flatnonzero(testable(named.of, named.of.sum()))
        of, other_of = named.of[class_id], named.of.sum() - named.of[class_id]
        other_shows = named.shows.sum() - named.shows[class_id]

        def p(shows: NDArray[np.int64]) -> NDArray[np.float64]:
            return exceeds(shows, of, other_shows, other_of, family.least)

        shares = found_from(of, p, family.fdr / max(len(class_id), 1))
        how, names = "if it has the class named without its object", material.names
        return [Detectable(names[i], self.name, "", how, share) for i, share in zip(class_id, shares, strict=True)]

    def applies(self, material: Material) -> bool:
        """Not to boxes or regions: each is its own object."""
        return material.evidence.given is None

    def lacks(self, material: Material) -> str:
        """Masks, where none shows a class."""
        return "" if _outlined(material.evidence).any() else MASKS

    def untested(self, material: Material) -> list[str]:
        """Classes that no mask shows."""
        absences, outlined = material.evidence.absences, _outlined(material.evidence)
        ids = np.unique(absences.class_id[absences.named])
        names = [material.names[class_id] for class_id in ids[~outlined[ids]]]
        why = "Not looked for where it is named without its object, for no mask shows it"
        return [f"{why}: {listed(names)}"] if names else []

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """None of the targets whose object is known."""
        return np.zeros(len(evidence), bool)

    def targets(self, claim: Claim, evidence: Evidence) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """Those that are named though their object is absent."""
        absences = evidence.absences
        rows = absences.named & (absences.class_id == claim.class_id)
        return absences.sample[rows], absences.slot[rows]

    def examples(self, claim: Claim) -> list[tuple[int, int]] | None:
        """Images without the object."""
        return [(sample, slot) for sample, slot in claim.details["examples"]]

    def judged_by_background(self, claim: Claim) -> bool:
        """There is no object that could be kept while the background is taken away."""
        return False

    def frame_heat(self, claim: Claim, mean: Sequence[float]) -> Sequence[float] | None:
        """The mean heat of the images without the object."""
        heat: Sequence[float] = claim.details["heat"]
        return heat


def _outlined(evidence: Evidence) -> NDArray[np.bool_]:
    """[C] whether a mask of the run shows the class."""
    return np.bincount(evidence.class_id[evidence.known], minlength=len(evidence.classes)) > 0


def _named(material: Material) -> Named:
    evidence = material.evidence
    absences, outlined = evidence.absences, _outlined(evidence)
    there = np.flatnonzero(evidence.named & evidence.known)
    gone = np.flatnonzero(absences.named & outlined[absences.class_id])
    class_id = np.concatenate([evidence.class_id[there], absences.class_id[gone]])
    sample, slot, unit = (
        np.concatenate([getattr(evidence, name)[there], getattr(absences, name)[gone]])
        for name in ("sample", "slot", "unit")
    )
    # A unit's vote is its middle image's, so they must not be sorted by what they show.
    order = np.lexsort((slot, sample))
    votes = np.sort(order[one_vote(class_id[order], unit[order])])
    shows = votes >= len(there)
    of, absent = (np.bincount(class_id[rows], minlength=len(outlined)) for rows in (votes, votes[shows]))
    boxed = np.concatenate([evidence.boxed[there], absences.boxed[gone]])
    return Named(of, gone[votes[shows] - len(there)], absent, basis_of_objects(boxed[votes], evidence.given))


def _contrasts(named: Named, least: float) -> Contrasts:
    class_id = np.flatnonzero(testable(named.of, named.of.sum()))
    shows, of = named.shows[class_id], named.of[class_id]
    other_shows, other_of = named.shows.sum() - shows, named.of.sum() - of
    p = exceeds(shows, of, other_shows, other_of, least)
    return tested_together(class_id, shows, of, other_shows / other_of, p)


def _details(evidence: Evidence, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Where the heat of some absences lies, and which they are."""
    absences = evidence.absences
    heat = np.nan_to_num(absences.heat[rows]).mean(axis=0, dtype=np.float64)
    (where,), (there,) = where_heat_lies(heat[None])
    on = np.bincount(absences.other[rows], absences.on_other[rows], len(evidence.classes)) / len(rows)
    surest = rows[np.argsort(-absences.probability[rows], kind="stable")[:SHOWN]]
    return {
        "heat": heat.tolist(),
        "where": where,
        "there": float(there),
        "other": evidence.classes[int(on.argmax())],
        "on_other": float(on.max()),
        "examples": np.stack([absences.sample[surest], absences.slot[surest]], axis=1).tolist(),
    }


def _says(contrasts: Contrasts, i: int, name: str, details: dict[str, Any]) -> str:
    return (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {name} no {name} is marked or labelled, though "
        f"other objects are marked; of other classes' images so many lack their object: "
        f"{percent(contrasts.expected[i])}. On average {percent(details['there'])} of the heat then lies "
        f"{details['where']}, and {percent(details['on_other'])} on {details['other']}."
    )
