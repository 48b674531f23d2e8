"""Clusters: what lies under off-object heat, alike in many images of a class; a card for each.

A card says how many of a cluster's targets look off the object, what else they share, which to look at. A cluster is a
finding when its members look off the object more often than the rest of their class and more than half of them do. With
the class's labels "in the cluster" shuffled, the number that look off the object is hypergeometric: Fisher's exact
test, one-sided, Benjamini-Hochberg over all clusters of the run. Near-duplicates have one vote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.clustering import Members, by_class, representatives
from audit.findings.claims.contrasts import claim_id
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import FEWEST, MOST_VALUES
from audit.findings.claims.zones import ZONES, in_zone
from audit.findings.evidence import Evidence
from audit.findings.frame import where
from audit.findings.records import Claim
from audit.stats.intervals import wilson_interval
from audit.stats.multiplicity import benjamini_hochberg
from audit.stats.permutation import label_permutation
from audit.wording import percent

SHEET = 24
"""Targets on a contact sheet."""
SHOWN = 3
"""Most and least typical members named, and attributes at most."""


@dataclass(frozen=True)
class _Card:
    """A cluster: positions of its members, of those with a vote (nearest to its middle first), of its class's rest."""

    class_id: int
    cluster: int
    members: NDArray[np.int64]
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]


class Clusters(ClaimKind):
    """Claims `cluster`, one for each cluster, by class and number."""

    name = "cluster"
    title = "images alike under the heat"
    family = "class x cluster"
    question = "do images that look alike to the network under the heat look off the object?"
    compared_with = "the rest of the class"
    stands = "q is small and more than half of the cluster does"
    numbers = (
        "`size`; `class`; `off_share`; `severity`: mean; `zone`: where most of its heat lies, or null; `heat`: 64 mean "
        "shares by cell; `attributes`: values that it has more often than the rest of the class (`attribute`, `value`, "
        "`inside`, `outside`, `p`, `q`); `typical`, `untypical`: rows of samples; `sheet`: [sample, slot] from the "
        "most to the least typical"
    )
    chosen = "Images from the most typical of the cluster on."
    paired = False

    def test(self, material: Material) -> list[Claim]:
        """A claim a cluster.

        Where the object is known in fewer than `FEWEST` images of the cluster, or of the rest of its class, there is
        no test: p and q are None.
        """
        return cluster_claims(material.members, material.evidence, material.rules.fdr)

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


def cluster_claims(members: Members, evidence: Evidence, fdr: float = 0.05) -> list[Claim]:
    """The claims of clusters that were made; see `Clusters.test`."""
    cards = list(_cards(members, evidence))
    counts = np.array([_counts(card, evidence) for card in cards], np.int64).reshape(-1, 4)
    tested = (counts[:, 1] >= FEWEST) & (counts[:, 3] >= FEWEST)
    p = np.full(len(cards), np.nan)
    p[tested] = _exact(counts[tested])
    q = p.copy()
    q[tested] = benjamini_hochberg(p[tested]) if tested.any() else p[tested]
    attributes = _over_represented(cards, evidence, fdr)
    results = zip(*counts.T.tolist(), p.tolist(), q.tolist(), strict=True)
    verdicts = [_Tested(fdr, int(tested.sum()), *result) for result in results]
    rows = zip(cards, verdicts, attributes, strict=True)
    return [_claim(card, evidence, verdict, values) for card, verdict, values in rows]


@dataclass(frozen=True)
class _Tested:
    """A cluster's counts among those whose object is known, and its test.

    Attributes:
        fdr: false discovery rate.
        tested: clusters that were.
        off, size: off-object targets and all, in the cluster.
        off_rest, rest: the same in the rest of the class.
        p, q: NaN where there was no test.
    """

    fdr: float
    tested: int
    off: int
    size: int
    off_rest: int
    rest: int
    p: float
    q: float

    @property
    def was_tested(self) -> bool:
        return bool(np.isfinite(self.p))

    @property
    def stands(self) -> bool:
        return self.was_tested and self.q <= self.fdr and self.off > self.size / 2

    def numbers(self) -> dict[str, Any]:
        """Share with its interval, what it is compared with, p and q; None where not known."""
        low, high = wilson_interval(np.array([self.off]), np.array([self.size]))
        return {
            "share": self.off / self.size if self.size else None,
            "low": float(low[0]) if self.size else None,
            "high": float(high[0]) if self.size else None,
            "expected": self.off_rest / self.rest if self.rest else None,
            "p": self.p if self.was_tested else None,
            "q": self.q if self.was_tested else None,
        }


def _cards(members: Members, evidence: Evidence) -> Iterator[_Card]:
    votes = np.isin(members.target, representatives(evidence), assume_unique=True)
    for class_id, places in by_class(evidence.class_id[members.target]):
        cluster, voting = members.cluster[places], votes[places]
        for number in range(cluster.max() + 1):
            inside = places[cluster == number]
            inside_voting, outside_voting = places[voting & (cluster == number)], places[voting & (cluster != number)]
            yield _Card(
                class_id,
                number,
                members.target[inside],
                members.target[inside_voting[np.argsort(members.distance[inside_voting], kind="stable")]],
                members.target[outside_voting],
            )


def _exact(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """p [m] of counts [m, 4]: events in the cluster, its size, events in the rest of the class, its size."""
    inside, size, outside, rest = counts.T
    return label_permutation(inside, size, inside + outside, size + rest)


def _counts(card: _Card, evidence: Evidence) -> tuple[int, int, int, int]:
    """Off-object targets and all, in the cluster and in the rest of the class, among those whose object is known."""
    inside, outside = (targets[evidence.known[targets]] for targets in (card.inside, card.outside))
    return int(evidence.off[inside].sum()), len(inside), int(evidence.off[outside].sum()), len(outside)


def _claim(card: _Card, evidence: Evidence, verdict: _Tested, attributes: list[dict[str, Any]]) -> Claim:
    name, numbers = evidence.classes[card.class_id], verdict.numbers()
    details = {"class": name, "off_share": numbers["share"], **_described(card, evidence)}
    return Claim(
        claim_id=claim_id(Clusters.name, name, str(card.cluster)),
        kind=Clusters.name,
        class_id=card.class_id,
        class_name=name,
        subject=str(card.cluster),
        targets=verdict.size or len(card.inside),
        **numbers,
        fdr=verdict.fdr,
        family=Clusters.family,
        tested=verdict.tested,
        found=verdict.stands,
        rests_on="activations",
        says=_sentence(name, card, verdict, details["zone"], attributes),
        details=details | {"attributes": attributes},
    )


def _described(card: _Card, evidence: Evidence) -> dict[str, Any]:
    severity = evidence.severity[card.members]
    known = severity[np.isfinite(severity)]
    heat = np.nan_to_num(evidence.off_heat[card.members].astype(np.float64)).mean(axis=0)
    order = card.inside
    sheet = order[np.unique(np.linspace(0, len(order) - 1, min(SHEET, len(order))).round().astype(int))]
    return {
        "size": len(card.members),
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


def _sentence(name: str, card: _Card, verdict: _Tested, part: str | None, attributes: list[dict[str, Any]]) -> str:
    if verdict.was_tested:
        place = f", mostly {where(part)}" if part else ""
        says = (
            f"{verdict.off} of {verdict.size} images named {name} that are alike under the heat look off the "
            f"object{place}; of the rest of the class {percent(verdict.off_rest / verdict.rest)} do."
        )
    else:
        size = len(card.inside)
        says = f"{size} images named {name} are alike under the heat; too few objects are known to test them."
    shares = [
        f"{row['attribute']} {row['value']} in {percent(row['inside'])} ({percent(row['outside'])})"
        for row in attributes
    ]
    return says + (f" More often than in the rest: {', '.join(shares)}." if shares else "")
