"""Clusters: what the off-object heat of a class comes from, alike in many of its images; a card for each.

A card says how many of a cluster's targets look off the object, what else they share, which to look at.

That members look off the object more often than the rest of the class proves nothing: where heat is on the object, what
leaks beyond its rim is the object's own relevance, where it is not it is something else's. So images come apart by that
in any class, without a cue, and no splitting of the data helps. What is tested is whether the cluster alone makes the
class look off the object more often than classes usually do for any reason: the share of the class's images that look
off the object *and* are in the cluster, against the share of another class's images that look off it at all, whose
objects are as large, stratum for stratum. What leaks and errs alike in all classes is on both sides of that. The other
class is the middle one by that share, or the two in the middle: classes with cues of their own, as long as they are
fewer than half, do not raise it.

Each image is counted in the cluster that it is put into by images of the other half of the class. Near-duplicates have
one vote; Benjamini-Hochberg over all clusters that can be tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.clustering import Members, by_class, representatives
from audit.findings.claims.contrasts import LEAST_IN_A_PLACE, claim_id
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import FEWEST, MOST_VALUES
from audit.findings.claims.zones import ZONES, in_zone
from audit.findings.evidence.frame import frame_totals, where
from audit.findings.evidence.targets import Evidence
from audit.findings.records import Claim
from audit.stats.multiplicity import benjamini_hochberg
from audit.stats.permutation import label_permutation
from audit.stats.strata import Stratified, stratified
from audit.wording import percent

SHEET = 24
"""Targets on a contact sheet."""
SHOWN = 3
"""Most and least typical members named, and attributes at most."""


SIZES = (0.2, 0.5)
"""Between the strata: shares of what was seen that are object. Heat at a random place looks off an object of 0.01 of it
in 0.95 of images, of 0.2 in 0.85, of 0.5 in 0.75: small ones differ little in that.
"""


@dataclass(frozen=True)
class _Card:
    """A cluster.

    Attributes:
        members: positions of its targets.
        inside: of those with a vote, nearest to its middle first.
        outside: of those of its class's rest with a vote.
        apart: of those with a vote that the other half of the class puts into it; None where there are no such halves.
    """

    class_id: int
    cluster: int
    members: NDArray[np.int64]
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]
    apart: NDArray[np.int64] | None


class Clusters(ClaimKind):
    """Claims `cluster`, one for each cluster, by class and number."""

    name = "cluster"
    title = "heat off the object for alike reasons"
    tests = "clusters"
    family = "class x cluster"
    question = "do images look off the object whose heat there comes from the same channels of the network?"
    compared_with = (
        "the middle one of the other classes: how many of its images, with objects as large, look off them at all"
    )
    stands = (
        "q is small, the share exceeds the other by more than 0.05, and more than half of the cluster looks off the "
        "object, no smaller a share than of its class"
    )
    numbers = (
        "`size`; `class`; `off_share`: of the cluster, and `off_rest`: of the rest of the class, the share that looks "
        "off the object; `severity`: mean; `zone`: where most of its heat lies, or null; `heat`: 64 mean "
        "shares by cell; `attributes`: values that it has more often than the rest of the class (`attribute`, `value`, "
        "`inside`, `outside`, `p`, `q`); `typical`, `untypical`: rows of samples; `sheet`: [sample, slot] from the "
        "most to the least typical"
    )
    chosen = "Images from the most typical of the cluster on."
    difference = True
    least = LEAST_IN_A_PLACE
    paired = False

    def test(self, material: Material) -> list[Claim]:
        """A claim a cluster.

        There is no test, and p and q are None, where the class has too few images for clusters of each half, or where
        the object is known in fewer than `FEWEST` of them or of those that they are compared with.
        """
        family = self.family_in(material)
        return cluster_claims(material.members, material.evidence, family.fdr, family.least)

    def lacks(self, material: Material) -> str:
        """A layer's activation, or objects: without them the cards have no test."""
        return "a method whose maps come from one layer" if material.no_features else super().lacks(material)

    def untested(self, material: Material) -> list[str]:
        """Why there are no clusters, where there are none."""
        return [material.no_features] if material.no_features else []

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """The target is in the cluster."""
        if evidence.cluster is None:
            return np.zeros(len(evidence), bool)
        return np.asarray(evidence.cluster.astype(str) == claim.subject, bool)

    def examples(self, claim: Claim) -> list[tuple[int, int]] | None:
        """The targets on its sheet."""
        return [(int(sample), int(slot)) for sample, slot in claim.details.get("sheet", [])]

    def identity(self, claim: Claim) -> str:
        """A cluster's number says nothing in another run."""
        return f"{self.name}:{claim.class_name}"

    def frame_heat(self, claim: Claim, mean: Sequence[float]) -> Sequence[float] | None:
        """The cluster's own mean heat."""
        heat: Sequence[float] | None = claim.details.get("heat")
        return heat


def cluster_claims(
    members: Members, evidence: Evidence, fdr: float = 0.05, least: float = LEAST_IN_A_PLACE
) -> list[Claim]:
    """The claims of clusters that were made; see `Clusters.test`."""
    cards = list(_cards(members, evidence))
    compared = stratified(_strata(cards, evidence), least)
    halved = np.array([card.apart is not None for card in cards], bool)
    tested = halved & (compared.of >= FEWEST) & (compared.other_of >= FEWEST)
    q = np.full(len(cards), np.nan)
    q[tested] = benjamini_hochberg(compared.p[tested]) if tested.any() else compared.p[tested]
    attributes = _over_represented(cards, evidence, fdr)
    claims = []
    for place, (card, values) in enumerate(zip(cards, attributes, strict=True)):
        row = Stratified(*(column[place] for column in compared)) if tested[place] else None
        claims.append(_claim(card, evidence, _Tested(fdr, least, int(tested.sum()), row, float(q[place])), values))
    return claims


@dataclass(frozen=True)
class _Tested:
    """A cluster's test.

    Attributes:
        fdr: false discovery rate.
        least: how far the share must exceed the other.
        tested: clusters that were.
        compared: the class's images that look off the object and are in the cluster, and what they are compared with;
            None where there was no test.
        q: of its p.
    """

    fdr: float
    least: float
    tested: int
    compared: Stratified | None
    q: float

    def stands(self, card: _Card, evidence: Evidence) -> bool:
        """Whether it is a claim: most of the cluster looks off the object, as does no larger share of its class."""
        if self.compared is None or card.apart is None:
            return False
        off, size = _off(card.apart, evidence)
        class_off, class_size = _off(np.concatenate([card.inside, card.outside]), evidence)
        singled_out = off > size / 2 and off * class_size >= class_off * size
        return bool(self.q <= self.fdr and self._share - self.compared.expected >= self.least and singled_out)

    def numbers(self) -> dict[str, Any]:
        """Share, what it is compared with, the interval of their difference, p and q; None where there was no test."""
        row = self.compared
        if row is None:
            return dict.fromkeys(("share", "low", "high", "expected", "p", "q"))
        numbers = {name: float(getattr(row, name)) for name in ("low", "high", "expected", "p")}
        return {"share": self._share, **numbers, "q": self.q}

    @property
    def _share(self) -> float:
        assert self.compared is not None
        return float(self.compared.shows / self.compared.of)


def _strata(cards: Sequence[_Card], evidence: Evidence) -> NDArray[np.int64]:
    """Counts [4, cards, strata] of images whose object is known, by its size.

    Those of the class that look off the object and are in the cluster, and all of the class; those of what it is
    compared with that look off the object, and all.
    """
    votes = representatives(evidence)
    votes = votes[evidence.known[votes]]
    strata = len(SIZES) + 1
    stratum = np.zeros(len(evidence), np.int64)
    stratum[votes] = np.digitize(1 - frame_totals(evidence.off_area, votes), SIZES)

    def count(targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """By class and stratum."""
        place = evidence.class_id[targets].astype(np.int64) * strata + stratum[targets]
        return np.bincount(place, minlength=len(evidence.classes) * strata).reshape(-1, strata)

    off, every = count(votes[evidence.off[votes]]), count(votes)
    counts = np.zeros((4, len(cards), strata), np.int64)
    for place, card in enumerate(cards):
        inside = np.zeros(0, np.int64) if card.apart is None else card.apart
        inside = inside[evidence.known[inside] & evidence.off[inside]]
        counts[:2, place] = np.bincount(stratum[inside], minlength=strata), every[card.class_id]
        middle = middle_classes(card.class_id, off, every)
        counts[2:, place] = off[middle].sum(axis=0), every[middle].sum(axis=0)
    return counts


def middle_classes(class_id: int, off: NDArray[np.integer], every: NDArray[np.integer]) -> NDArray[np.int64]:
    """The class, or two, in the middle of the others by the share off the object, in the mix of strata of this class.

    Those count that share strata with at least half of its images, and have images enough there.

    Args:
        off, every: [C, strata] images that look off the object, and all.
    """
    own = every[class_id]
    shared = np.where(every > 0, own, 0)
    share = (shared * off / np.maximum(every, 1)).sum(axis=1) / np.maximum(shared.sum(axis=1), 1)
    enough = (2 * shared.sum(axis=1) >= own.sum()) & (np.where(own > 0, every, 0).sum(axis=1) >= FEWEST)
    enough[class_id] = False
    others = np.flatnonzero(enough)
    order = others[np.argsort(share[others], kind="stable")]
    aside = max(len(order) - 1, 0) // 2
    return np.asarray(order[aside : len(order) - aside], np.int64)


def _cards(members: Members, evidence: Evidence) -> Iterator[_Card]:
    votes = np.isin(members.target, representatives(evidence), assume_unique=True)
    for class_id, places in by_class(evidence.class_id[members.target]):
        cluster, voting = members.cluster[places], votes[places]
        for number in range(cluster.max() + 1):
            inside = places[cluster == number]
            inside_voting, outside_voting = places[voting & (cluster == number)], places[voting & (cluster != number)]
            apart = members.target[places[voting & (members.apart[places] == number)]]
            yield _Card(
                class_id,
                number,
                members.target[inside],
                members.target[inside_voting[np.argsort(members.distance[inside_voting], kind="stable")]],
                members.target[outside_voting],
                apart if class_id in members.halved else None,
            )


def _exact(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """p [m] of counts [m, 4]: events in the cluster, its size, events in the rest of the class, its size."""
    inside, size, outside, rest = counts.T
    return label_permutation(inside, size, inside + outside, size + rest)


def _off(targets: NDArray[np.int64], evidence: Evidence) -> tuple[int, int]:
    """Off-object targets and all, among those whose object is known."""
    known = targets[evidence.known[targets]]
    return int(evidence.off[known].sum()), len(known)


def _share_off(targets: NDArray[np.int64], evidence: Evidence) -> float | None:
    off, size = _off(targets, evidence)
    return off / size if size else None


def _claim(card: _Card, evidence: Evidence, verdict: _Tested, attributes: list[dict[str, Any]]) -> Claim:
    name = evidence.classes[card.class_id]
    details = {"class": name, **_described(card, evidence), "attributes": attributes}
    return Claim(
        claim_id=claim_id(Clusters.name, name, str(card.cluster)),
        kind=Clusters.name,
        class_id=card.class_id,
        class_name=name,
        subject=str(card.cluster),
        targets=int(verdict.compared.of) if verdict.compared else len(card.inside),
        **verdict.numbers(),
        fdr=verdict.fdr,
        family=Clusters.family,
        tested=verdict.tested,
        found=verdict.stands(card, evidence),
        rests_on="activations",
        says=_sentence(name, card, verdict, details),
        details=details,
    )


def _described(card: _Card, evidence: Evidence) -> dict[str, Any]:
    severity = evidence.severity[card.members]
    known = severity[np.isfinite(severity)]
    heat = np.nan_to_num(evidence.off_heat[card.members].astype(np.float64)).mean(axis=0)
    order = card.inside
    sheet = order[np.unique(np.linspace(0, len(order) - 1, min(SHEET, len(order))).round().astype(int))]
    return {
        "size": len(card.members),
        "off_share": _share_off(card.inside, evidence),
        "off_rest": _share_off(card.outside, evidence),
        "severity": float(known.mean()) if len(known) else None,
        "zone": zone(heat),
        "heat": [round(float(value), 5) for value in heat],
        "typical": evidence.sample[order[:SHOWN]].tolist(),
        "untypical": evidence.sample[order[::-1][:SHOWN]].tolist(),
        "sheet": [[int(evidence.sample[target]), int(evidence.slot[target])] for target in sheet],
    }


def zone(heat: NDArray[np.floating]) -> str | None:
    """The smallest zone that heat [64] lies in, by the rule of claims about zones; None if it lies in none."""
    total = heat.sum()
    if not total > 0:
        return None
    shares = {name: heat[cells.ravel()].sum() / total for name, cells in ZONES.items()}
    held = [name for name, cells in ZONES.items() if in_zone(shares[name], cells.mean())]
    return min(held, key=lambda name: ZONES[name].sum(), default=None)


def _over_represented(cards: list[_Card], evidence: Evidence, fdr: float) -> list[list[dict[str, Any]]]:
    """For each card the attribute values that its members have more often than the rest of their class."""
    rows = [(place, row) for place, card in enumerate(cards) for row in _value_counts(card, evidence)]
    kept: list[list[dict[str, Any]]] = [[] for _ in cards]
    if not rows:
        return kept
    p = _exact(np.array([row["counts"] for _, row in rows], np.int64))
    for (place, row), p_value, q_value in zip(rows, p, benjamini_hochberg(p), strict=True):
        inside, size, outside, rest = row.pop("counts")
        if q_value <= fdr:
            shares = {"inside": inside / size, "outside": outside / rest}
            kept[place].append(row | shares | {"p": float(p_value), "q": float(q_value)})
    return [sorted(values, key=lambda row: row["p"])[:SHOWN] for values in kept]


def _value_counts(card: _Card, evidence: Evidence) -> Iterator[dict[str, Any]]:
    for attribute, (codes, values) in evidence.attributes.items():
        inside, outside = (codes[targets][codes[targets] >= 0] for targets in (card.inside, card.outside))
        if len(values) <= MOST_VALUES and len(inside) and len(outside):
            members, rest = (np.bincount(part, minlength=len(values)) for part in (inside, outside))
            for code in np.flatnonzero(members + rest):  # those it has none of were looked at too
                counts = int(members[code]), len(inside), int(rest[code]), len(outside)
                yield {"attribute": attribute, "value": values[code], "counts": counts}


def _sentence(name: str, card: _Card, verdict: _Tested, details: Mapping[str, Any]) -> str:
    place = f", mostly {where(details['zone'])}" if details["zone"] else ""
    if verdict.compared is not None:
        row = verdict.compared
        expected = percent(float(row.expected))
        says = (
            f"In {row.shows} of {row.of} images named {name} heat lies off the object and comes from the same channels"
            f"{place}; in the middle one of the other classes, with objects as large, {expected} look off them at all."
        )
    else:
        says = f"The heat of {len(card.inside)} images named {name} comes from the same channels{place}; {_why(card)}."
    shares = [
        f"{row['attribute']} {row['value']} in {percent(row['inside'])} ({percent(row['outside'])})"
        for row in details["attributes"]
    ]
    return says + (f" More often than in the rest: {', '.join(shares)}." if shares else "")


def _why(card: _Card) -> str:
    """Why there was no test."""
    if card.apart is None:
        return "the class has too few images to make the same clusters from either half of them, so there is no test"
    return "too few objects are known, of these or of other classes' images, to test them"
