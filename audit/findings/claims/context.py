"""Which other labelled class holds the heat: the rails that a train is named by.

Only images that show the other class count. An image is a vote for the claim when the other class holds more of the
heat than the target's own object does, and more than its area gives. Votes are compared with those of other classes'
images that show it too, by exact label permutation.

Where no other class has enough such images there is only area to compare with. Of the heat on the two, area gives the
other class a / (a + o), o the object's own. A vote then also needs more than that share, and the votes are held against
the larger of it and one half, on average over the images (one-sided binomial test). One half, because heat spread
evenly with a little noise exceeds its area every other time; the binomial, because votes of unequal chance vary less
(Hoeffding 1956).

How often the two occur together at all is given for the reader, from the masks alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from audit.findings.claims.contrasts import Contrasts, Told, tested_together
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import FEWEST, Votes
from audit.findings.evidence import Evidence
from audit.findings.frame import frame_totals
from audit.findings.records import Claim
from audit.stats.permutation import label_permutation
from audit.wording import percent


@dataclass(frozen=True)
class Shared:
    """Targets that count whose image shows another class; [m], by class and other class.

    Attributes:
        class_id, other: [m].
        votes: [m] bool, the other class holds more of the heat than the object, and more than its area gives.
        strict: [m] bool, and more of the heat on the two than its area of the two gives.
        chance: [m] the larger of that share and one half.
        heat, area: [m] shares on the other class.
    """

    class_id: NDArray[np.int32]
    other: NDArray[np.int32]
    votes: NDArray[np.bool_]
    strict: NDArray[np.bool_]
    chance: NDArray[np.float64]
    heat: NDArray[np.float64]
    area: NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Sums over each class x other class that occurs; arrays [m].

    Attributes:
        class_id, other: [m].
        of: images of the class that show the other.
        all_of: images of any class that show the other.
        sums: of `votes`, `strict`, `chance`, `heat`, `area`.
        all_votes: of any class.
    """

    class_id: NDArray[np.int64]
    other: NDArray[np.int64]
    of: NDArray[np.int64]
    all_of: NDArray[np.int64]
    sums: dict[str, NDArray[np.float64]]
    all_votes: NDArray[np.int64]

    @property
    def compared(self) -> NDArray[np.bool_]:
        """Whether other classes' images are enough to compare with."""
        return self.all_of - self.of >= FEWEST


class Contexts(ClaimKind):
    """Claims `context`, one for each class and other class; see the module."""

    name = "context"
    title = "another object"
    family = "class x other class"
    question = "does another labelled class hold more of the heat than the object does?"
    compared_with = "other classes' images that show it too; its area where there are none"
    stands = "q is small and the share exceeds the other by 0.1"
    numbers = (
        "`compared_with`: `other classes` or `area`; `heat`, `area`: mean shares on the other class; `together`: how "
        "often both occur: `images`, their `share`, `expected` from other classes, `lift` (the ratio) and `p`"
    )
    chosen = "The images with most heat on the other object."

    def test(self, material: Material) -> list[Claim]:
        """Claims of every pair of classes that occurs often enough."""
        pairs = _pairs(shared_images(material.evidence, material.votes), len(material.names))
        contrasts = _contrasts(pairs)
        together = _together(pairs, material.votes)

        def tell(i: int) -> Told:
            means = {name: float(pairs.sums[name][i] / pairs.of[i]) for name in ("heat", "area")}
            other = material.names[pairs.other[i]]
            with_what = "other classes" if pairs.compared[i] else "area"
            beside = {name: None if np.isnan(v[i]) else v[i].item() for name, v in together.items()}
            details = {"compared_with": with_what, **means, "together": beside}
            says = _says(contrasts, i, material.names[pairs.class_id[i]], other, with_what)
            return Told(other, material.votes.rests_on, says, details)

        return self.family_in(material).claims(contrasts, material.names, tell, len(pairs.of))

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """The other class is in the image, whether or not the heat lies on it."""
        beside = np.zeros(len(evidence), bool)
        beside[evidence.context["target"][_rows_of(claim, evidence)]] = True
        return beside

    def event(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """The other class, where it is in the image, holds more of the heat than the object and than its area gives."""
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


def _shared(evidence: Evidence, chosen: NDArray[np.int64]) -> Shared:
    """Some rows of the evidence's context."""
    target = evidence.context["target"][chosen]
    other, heat, area = (evidence.context[name][chosen] for name in ("class_id", "heat", "area"))
    heat, area = heat.astype(np.float64), area.astype(np.float64)
    own_heat, own_area = (1 - frame_totals(frames, target) for frames in (evidence.off_heat, evidence.off_area))
    by_area = area / np.maximum(area + own_area, np.finfo(np.float64).tiny)
    more = (heat > own_heat) & (heat > area)
    strict = more & (heat > by_area * (heat + own_heat))
    return Shared(evidence.class_id[target], other, more, strict, np.maximum(by_area, 0.5), heat, area)


def _pairs(shared: Shared, classes: int) -> Pairs:
    """Pairs with enough images."""
    keys, place = np.unique(shared.class_id.astype(np.int64) * classes + shared.other, return_inverse=True)
    class_id, other = np.divmod(keys, classes)
    of = np.bincount(place, minlength=len(keys))
    all_of = np.bincount(shared.other, minlength=classes)[other]
    all_votes = np.bincount(shared.other, shared.votes, classes).astype(np.int64)[other]
    names = ("votes", "strict", "chance", "heat", "area")
    sums = {name: np.bincount(place, getattr(shared, name), len(keys)) for name in names}
    enough = of >= FEWEST
    kept = {name: np.asarray(values[enough], np.float64) for name, values in sums.items()}
    return Pairs(class_id[enough], other[enough], of[enough], all_of[enough], kept, all_votes[enough])


def _contrasts(pairs: Pairs) -> Contrasts:
    shows = np.where(pairs.compared, pairs.sums["votes"], pairs.sums["strict"]).astype(np.int64)
    votes = pairs.sums["votes"].astype(np.int64)
    by_area = pairs.sums["chance"] / pairs.of
    by_others = (pairs.all_votes - votes) / np.maximum(pairs.all_of - pairs.of, 1)
    p = np.where(
        pairs.compared,
        label_permutation(votes, pairs.of, pairs.all_votes, pairs.all_of),
        binom.sf(shows - 1, pairs.of, by_area),
    )
    return tested_together(pairs.class_id, shows, pairs.of, np.where(pairs.compared, by_others, by_area), p)


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
    expected = percent(contrasts.expected[i])
    compared = (
        f"of other classes' images with {other} it does in {expected}"
        if with_what == "other classes"
        else f"by area alone it would in {expected}"
    )
    return (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {name} that show {other} too, "
        f"more of the heat lies on {other} than on {name} itself; {compared}."
    )
