"""A detector's errors, kind by kind: do boxes that are wrong in one way look off themselves more often than right ones?

Kinds are those of TIDE (`audit.scores.given.errors`). A box of `background` that looks off itself is named for what
lies around it, as a keyboard is expected before a screen; one that looks at itself is a thing that resembles the class.
Which of the two it is decides what helps: other contexts in the training data, or more of what it is taken for.

Boxes named with confidence are compared with right ones of the same class, as large. An image has one vote a class and
kind: its boxes are no witnesses of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.contrasts import ALL_CLASSES, Contrasts, Told, tested_together
from audit.findings.claims.kind import ClaimKind, Material, of_class
from audit.findings.claims.votes import FEWEST, object_basis, one_vote
from audit.findings.claims.whole_class import SIZES
from audit.findings.evidence.frame import frame_totals
from audit.findings.evidence.targets import Evidence
from audit.findings.power import Detectable, found_from
from audit.findings.records import Claim
from audit.scores.given.errors import ERRORS
from audit.stats.strata import p_if_alike, stratified
from audit.wording import percent

RIGHT = ERRORS.index("right")
_WRONG = [code for code in range(len(ERRORS)) if code != RIGHT]
_NAMED = {
    "confused": "on an object of another class",
    "misplaced": "beside an object of their class",
    "both": "beside an object of another class",
    "duplicate": "on an object that a surer box has",
    "background": "on no object",
}
_STRATA = len(SIZES) + 1


@dataclass(frozen=True)
class Compared:
    """Kinds of error, each beside right boxes; arrays [m].

    Attributes:
        class_id: `ALL_CLASSES` for all.
        code: places among `ERRORS`.
        counts: [4, m, strata] as `stratified` takes them.
    """

    class_id: NDArray[np.int64]
    code: NDArray[np.int64]
    counts: NDArray[np.int64]


class Errors(ClaimKind):
    """Claims `error`, one for each class and kind of error, and one for each kind over all classes."""

    name = "error"
    title = "a kind of error"
    tests = "kinds of error"
    family = "class x kind of error"
    question = "do a detector's boxes that are wrong in one way look off themselves more often than right ones?"
    compared_with = "right boxes of the same class, as large"
    stands = "q is small and the share exceeds the other by more than 0.1"
    numbers = "`error`: the kind; `right`: right boxes that it is compared with"
    chosen = "The most severe boxes of the kind."
    difference = True
    paired = False

    def test(self, material: Material) -> list[Claim]:
        """Claims of every kind with boxes enough, and right ones. Their interval is that of the difference."""
        family, compared = self.family_in(material), material.once(_compared)
        beside = stratified(compared.counts, family.least)
        tested = tested_together(compared.class_id, beside.shows, beside.of, beside.expected, beside.p)
        contrasts = replace(tested, low=beside.low, high=beside.high)
        basis = object_basis(material.evidence, material.evidence.known)

        def tell(i: int) -> Told:
            kind = ERRORS[compared.code[i]]
            details = {"error": kind, "right": int(beside.other_of[i])}
            return Told(kind, basis, _says(contrasts, i, kind, material.names), details)

        return family.claims(contrasts, material.names, tell, len(compared.code))

    def detectable(self, material: Material) -> list[Detectable]:
        """Of each class and kind."""
        family, compared = self.family_in(material), material.once(_compared)
        of, level = compared.counts[1].sum(axis=1), family.fdr / max(len(compared.code), 1)
        shares = found_from(of, lambda shows: p_if_alike(shows, compared.counts, family.least), level)
        return [
            Detectable(
                material.names[i], self.name, ERRORS[code], f"if its boxes {_NAMED[ERRORS[code]]} look off", share
            )
            for i, code, share in zip(compared.class_id, compared.code, shares, strict=True)
            if i != ALL_CLASSES
        ]

    def applies(self, material: Material) -> bool:
        """To a detector alone."""
        return material.evidence.error is not None

    def lacks(self, material: Material) -> str:
        """Right boxes and wrong ones."""
        return "" if len(material.once(_compared).code) else f"{FEWEST} images with right boxes, and with wrong ones"

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """Boxes of the kind that look off themselves."""
        return self._of_kind(claim, evidence) & evidence.off

    def event(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Only boxes of the kind have a vote."""
        voters = self._of_kind(claim, evidence) & evidence.named & evidence.known & of_class(claim, evidence.class_id)
        return np.where(voters, evidence.off, np.nan)

    def _of_kind(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        if evidence.error is None:
            return np.zeros(len(evidence), bool)
        return np.asarray(evidence.error == ERRORS.index(claim.details["error"]), bool)


def _compared(material: Material) -> Compared:
    """What can be compared: enough images of the kind, and with right boxes, in strata that have both."""
    evidence = material.evidence
    class_ids, codes, counts = list[int](), list[int](), list[NDArray[np.int64]]()
    if evidence.error is not None:
        for class_id, code, sides in _sides(evidence, evidence.error):
            both = (sides[1] > 0) & (sides[3] > 0)
            if min(sides[1][both].sum(), sides[3][both].sum()) >= FEWEST:
                class_ids.append(class_id)
                codes.append(code)
                counts.append(sides)
    stacked = np.stack(counts, axis=1) if counts else np.zeros((4, 0, 1), np.int64)
    return Compared(np.array(class_ids, np.int64), np.array(codes, np.int64), stacked)


def _sides(evidence: Evidence, error: NDArray[np.int8]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Class, kind of error and counts [4, classes x sizes], of each class alone and of all."""
    named, classes = evidence.named & evidence.known, len(evidence.classes)
    by_code = [_votes(evidence, np.flatnonzero(named & (error == code)), classes) for code in range(len(ERRORS))]
    for code in _WRONG:
        sides = np.concatenate([by_code[code], by_code[RIGHT]])
        for class_id in range(classes):
            own = np.zeros_like(sides)
            own[:, class_id] = sides[:, class_id]
            if own[1].any():
                yield class_id, code, own.reshape(4, -1)
        if classes > 1:
            yield ALL_CLASSES, code, sides.reshape(4, -1)


def _votes(evidence: Evidence, rows: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts [2, C, sizes] of one box an image and class: looking off itself, and all."""
    rows = rows[one_vote(evidence.class_id[rows], evidence.unit[rows])]
    size = np.searchsorted(SIZES, 1 - frame_totals(evidence.off_area, rows))
    place = evidence.class_id[rows].astype(np.int64) * _STRATA + size
    counted = [np.bincount(place, weights, classes * _STRATA) for weights in (evidence.off[rows], None)]
    return np.stack(counted).astype(np.int64).reshape(2, classes, _STRATA)


def _says(contrasts: Contrasts, i: int, kind: str, names: tuple[str, ...]) -> str:
    class_id = int(contrasts.class_id[i])
    boxes = "boxes" if class_id == ALL_CLASSES else f"boxes named {names[class_id]}"
    share, expected = percent(contrasts.share[i]), percent(contrasts.expected[i])
    return (
        f"Of {contrasts.of[i]} images with {boxes} {_NAMED[kind]} ({kind}), {share} look off the box; "
        f"of right boxes as large, {expected}."
    )
