"""Which other labelled class holds the heat: the rails that a train is named by.

Only images that show the other class count. An image is a vote for the claim when the target looks off the object, the
other class holds more of the heat than the target's own object does, and more than its area gives. Without the first a
small object beside a large one would be held against the model: heat that is centred on it, and no wider than maps are,
lies mostly on its neighbour.

How often that happens by chance depends on how large the other object is beside the own: on a frame-filling object no
heat is off it, beside a tiny one most is. So votes are compared with those of other classes' images that show the other
class too, in strata by the share a / (a + o) that area gives it of the heat on the two, o the object's own.

Where no other class has enough such images there is only area to compare with. A vote then also needs more than that
share, and the votes are held against the larger of it and one half, on average over the images, and the margin
(one-sided binomial test). One half, because heat spread evenly with a little noise exceeds its area every other time;
the binomial, because votes of unequal chance vary less (Hoeffding 1956).

How often the two occur together at all is given for the reader, from the masks alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.findings.claims.contrasts import LEAST_IN_A_PLACE, Contrasts, Told, tested_together
from audit.findings.claims.kind import OBJECTS, ClaimKind, Material
from audit.findings.claims.votes import FEWEST, Votes, testable
from audit.findings.evidence.frame import frame_totals
from audit.findings.evidence.targets import Evidence
from audit.findings.power import Detectable, found_from
from audit.findings.records import Claim
from audit.stats.permutation import label_permutation
from audit.stats.strata import Stratified, p_if_alike, stratified
from audit.wording import percent

SIZES = (0.5, 0.75, 0.9)
"""Between the strata: shares that area gives the other class of the heat on the two."""


@dataclass(frozen=True)
class Shared:
    """Targets that count whose image shows another class; [m], by class and other class.

    Attributes:
        target: [m] positions in the evidence.
        class_id, other: [m].
        votes: [m] bool, the target looks off the object, and the other class holds more of the heat than the object,
            and more than its area gives.
        strict: [m] bool, and more of the heat on the two than its area of the two gives.
        by_area: [m] that share of the two.
        heat, area: [m] shares on the other class.
    """

    target: NDArray[np.int64]
    class_id: NDArray[np.int32]
    other: NDArray[np.int32]
    votes: NDArray[np.bool_]
    strict: NDArray[np.bool_]
    by_area: NDArray[np.float64]
    heat: NDArray[np.float64]
    area: NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Each class x other class that occurs often enough; arrays [m].

    Attributes:
        class_id, other: [m].
        of: images of the class that show the other.
        all_of: images of any class that show the other.
        sides: counts [4, m, strata], as `stratified` takes them.
        beside: votes against those of other classes' images, by size.
        strict: votes by the stricter rule.
        by_area: mean of the larger of the share that area gives and one half.
        heat, area: mean shares on the other class.
    """

    class_id: NDArray[np.int64]
    other: NDArray[np.int64]
    of: NDArray[np.int64]
    all_of: NDArray[np.int64]
    sides: NDArray[np.int64]
    beside: Stratified
    strict: NDArray[np.int64]
    by_area: NDArray[np.float64]
    heat: NDArray[np.float64]
    area: NDArray[np.float64]

    @property
    def compared(self) -> NDArray[np.bool_]:
        """Whether images of either side are enough to compare."""
        return testable(self.beside.of, self.beside.of + self.beside.other_of)


class Contexts(ClaimKind):
    """Claims `context`, one for each class and other class; see the module."""

    name = "context"
    title = "another object"
    tests = "other objects"
    family = "class x other class"
    question = "does another labelled class hold more of the heat than the object does?"
    compared_with = "other classes' images that show it too, as large beside the object; its area where there are none"
    stands = "q is small and the share exceeds the other by more than 0.05"
    numbers = (
        "`compared_with`: `other classes` or `area`; `heat`, `area`: mean shares on the other class; `together`: how "
        "often both occur: `images`, their `share`, `expected` from other classes, `lift` (the ratio) and `p`"
    )
    chosen = "The images with most heat on the other object."
    least = LEAST_IN_A_PLACE

    def test(self, material: Material) -> list[Claim]:
        """Claims of every pair of classes that occurs often enough."""
        family = self.family_in(material)
        pairs = material.once(_compared_pairs)
        contrasts = _contrasts(pairs, family.least)
        together = _together(pairs, material.votes)

        def tell(i: int) -> Told:
            means = {"heat": float(pairs.heat[i]), "area": float(pairs.area[i])}
            other = material.names[pairs.other[i]]
            with_what = "other classes" if pairs.compared[i] else "area"
            beside = {name: None if np.isnan(v[i]) else v[i].item() for name, v in together.items()}
            details = {"compared_with": with_what, **means, "together": beside}
            says = _says(contrasts, i, material.names[pairs.class_id[i]], other, with_what)
            return Told(other, material.votes.rests_on, says, details)

        return family.claims(contrasts, material.names, tell, len(pairs.of))

    def detectable(self, material: Material) -> list[Detectable]:
        """Beside each other class that the class's images show often enough."""
        family, pairs = self.family_in(material), material.once(_compared_pairs)

        def p(shows: NDArray[np.int64]) -> NDArray[np.float64]:
            beside_others = p_if_alike(shows, pairs.sides, family.least)
            return np.where(pairs.compared, beside_others, _p_by_area(shows, pairs, family.least))

        shares = found_from(pairs.of, p, family.fdr / max(len(pairs.of), 1))
        others = [material.names[i] for i in pairs.other]
        return [
            Detectable(material.names[i], self.name, other, f"if it draws heat to {other}, where both are shown", share)
            for i, other, share in zip(pairs.class_id, others, shares, strict=True)
        ]

    def lacks(self, material: Material) -> str:
        """Objects; of what the network gave its own, other objects beside."""
        evidence = material.evidence
        return OBJECTS if evidence.given and not len(evidence.context["target"]) else super().lacks(material)

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """The target looks off the object, and the other class holds more of the heat."""
        shared = _shared(evidence, np.flatnonzero(_rows_of(claim, evidence)))
        shows = np.zeros(len(evidence), bool)
        shows[shared.target[shared.votes]] = True
        return shows

    def event(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """The same, of targets in whose image the other class is."""
        event = np.full(len(evidence), np.nan)
        if claim.subject in evidence.classes:
            rows = np.flatnonzero(_rows_of(claim, evidence))
            rows = rows[~np.isnan(super().event(claim, evidence))[evidence.context["target"][rows]]]
            shared = _shared(evidence, rows)
            by_area = claim.details["compared_with"] == "area"
            event[evidence.context["target"][rows]] = shared.strict if by_area else shared.votes
        return event

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Heat on the other class, of confidently named targets."""
        rows = _rows_of(claim, evidence)
        heat = np.full(len(evidence), -np.inf)
        heat[evidence.context["target"][rows]] = evidence.context["heat"][rows]
        return np.where(evidence.named, heat, -np.inf)


def _rows_of(claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
    """Which rows of the evidence's context are of the claim's other class."""
    return np.asarray(evidence.context["class_id"] == evidence.classes.index(claim.subject), bool)


def shared_images(evidence: Evidence, votes: Votes) -> Shared:
    """The rows of the evidence's context that are about targets that count."""
    counts = np.zeros(len(evidence), bool)
    counts[votes.rows] = evidence.known[votes.rows]
    return _shared(evidence, np.flatnonzero(counts[evidence.context["target"]]))


def _shared(evidence: Evidence, chosen: NDArray[np.integer]) -> Shared:
    """Some rows of the evidence's context."""
    target = evidence.context["target"][chosen]
    other, heat, area = (evidence.context[name][chosen] for name in ("class_id", "heat", "area"))
    heat, area = heat.astype(np.float64), area.astype(np.float64)
    own_heat, own_area = (1 - frame_totals(frames, target) for frames in (evidence.off_heat, evidence.off_area))
    by_area = area / np.maximum(area + own_area, np.finfo(np.float64).tiny)
    more = evidence.off[target] & (heat > own_heat) & (heat > area)
    strict = more & (heat > by_area * (heat + own_heat))
    return Shared(target, evidence.class_id[target], other, more, strict, by_area, heat, area)


def _compared_pairs(material: Material) -> Pairs:
    least = Contexts().family_in(material).least
    return _pairs(shared_images(material.evidence, material.votes), len(material.names), least)


def _pairs(shared: Shared, classes: int, least: float) -> Pairs:
    """Pairs with enough images."""
    keys, place = np.unique(shared.class_id.astype(np.int64) * classes + shared.other, return_inverse=True)
    class_id, other = np.divmod(keys, classes)
    of = np.bincount(place, minlength=len(keys))
    all_of = np.bincount(shared.other, minlength=classes)[other]
    shows, of_size = (_by_size(place, shared.by_area, votes, len(keys)) for votes in (shared.votes, None))
    all_shows, all_of_size = (
        _by_size(shared.other, shared.by_area, votes, classes)[other] for votes in (shared.votes, None)
    )
    enough = of >= FEWEST
    sides = np.stack([shows, of_size, all_shows - shows, all_of_size - of_size])

    def mean(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray((np.bincount(place, values, len(keys)) / of)[enough], np.float64)

    return Pairs(
        class_id=class_id[enough],
        other=other[enough],
        of=of[enough],
        all_of=all_of[enough],
        sides=sides[:, enough],
        beside=stratified(sides[:, enough], least),
        strict=np.bincount(place, shared.strict, len(keys)).astype(np.int64)[enough],
        by_area=mean(np.maximum(shared.by_area, 0.5)),
        heat=mean(shared.heat),
        area=mean(shared.area),
    )


def _by_size(
    owner: NDArray[np.integer], by_area: NDArray[np.float64], votes: NDArray[np.bool_] | None, owners: int
) -> NDArray[np.int64]:
    """[owners, strata] votes, or how many could vote, of images [m] by their owner and size."""
    strata = len(SIZES) + 1
    place = owner.astype(np.int64) * strata + np.digitize(by_area, SIZES)
    return np.bincount(place, votes, owners * strata).astype(np.int64).reshape(owners, strata)


def _contrasts(pairs: Pairs, least: float) -> Contrasts:
    compared, beside = pairs.compared, pairs.beside
    against_area = _p_by_area(pairs.strict, pairs, least)
    return tested_together(
        pairs.class_id,
        np.where(compared, beside.shows, pairs.strict),
        np.where(compared, beside.of, pairs.of),
        np.where(compared, beside.expected, pairs.by_area),
        np.where(compared, beside.p, against_area),
    )


def _p_by_area(shows: NDArray[np.integer], pairs: Pairs, least: float) -> NDArray[np.float64]:
    return np.asarray(scipy.stats.binom.sf(shows - 1, pairs.of, np.minimum(pairs.by_area + least, 1)), np.float64)


def _together(pairs: Pairs, votes: Votes) -> dict[str, NDArray[Any]]:
    """How often the class's images show the other, against those of all classes but the other itself."""
    images = votes.images[pairs.class_id]
    all_images = len(votes.rows) - votes.images[pairs.other]
    share = pairs.of / images
    expected = (pairs.all_of - pairs.of) / np.maximum(all_images - images, 1)
    lift = np.divide(share, expected, out=np.full(len(share), np.nan), where=expected > 0)
    p = label_permutation(pairs.of, images, pairs.all_of, all_images)
    return {"images": pairs.of, "share": share, "expected": expected, "lift": lift, "p": p}


def _says(contrasts: Contrasts, i: int, name: str, other: str, with_what: str) -> str:
    other = f"another {name}" if other == name else other  # beside a box of its own
    expected = percent(contrasts.expected[i])
    compared = (
        f"of other classes' images with {other} as large it does in {expected}"
        if with_what == "other classes"
        else f"by area alone it would in {expected}"
    )
    return (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {name} that show {other} too, "
        f"the model looks off the object and more of the heat lies on {other} than on {name} itself; {compared}."
    )
