"""A card for each cluster: how many of its targets look off the object, what else they share, which to look at.

A cluster is a finding when its members look off the object more often than the rest of their class and more than half
of them do. With the class's labels "in the cluster" shuffled, the number that look off the object is hypergeometric:
Fisher's exact test, one-sided, Benjamini-Hochberg over all clusters of the run. Near-duplicates have one vote.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.clusters import Members, by_class, representatives
from audit.findings.contrasts import FEWEST, Row, claim_key
from audit.findings.evidence import Evidence
from audit.findings.exact import label_permutation
from audit.findings.frame import where
from audit.findings.multiplicity import benjamini_hochberg
from audit.findings.off_object import wilson_interval
from audit.findings.zones import ZONES, in_zone
from audit.wording import percent

FAMILY = "class x cluster"
SHEET = 24
"""Targets on a contact sheet."""
SHOWN = 3
"""Most and least typical members named, and attributes at most."""
MOST_VALUES = 50
"""An attribute with more values is not looked at."""


@dataclass(frozen=True)
class _Card:
    """A cluster: positions of its members, of those with a vote (nearest to its middle first), of its class's rest."""

    class_id: int
    cluster: int
    members: NDArray[np.int64]
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]


def cluster_claims(members: Members, evidence: Evidence, level: float = 0.05) -> list[Row]:
    """Rows of `audit.store.layout.CLAIM`, one for each cluster, by class and number.

    Where the object is known in fewer than `FEWEST` images of the cluster, or of the rest of its class, there is no
    test: p and q are None. `details`: `size`, `class`, `off_share`, `severity` (mean), `zone`, `heat` (mean off-object
    heat by cell), `attributes` (over-represented values: `attribute`, `value`, `inside`, `outside`, `p`, `q`),
    `typical`, `untypical` (rows of samples), `sheet` ([sample, slot] from the most to the least typical).
    """
    cards = list(_cards(members, evidence))
    counts = np.array([_counts(card, evidence) for card in cards], np.int64).reshape(-1, 4)
    tested = (counts[:, 1] >= FEWEST) & (counts[:, 3] >= FEWEST)
    p = np.full(len(cards), np.nan)
    p[tested] = _exact(counts[tested])
    q = p.copy()
    q[tested] = benjamini_hochberg(p[tested]) if tested.any() else p[tested]
    attributes = _over_represented(cards, evidence, level)
    return [
        _row(card, evidence, tuple(count), p_value, q_value, level, int(tested.sum()), found)
        for card, count, p_value, q_value, found in zip(cards, counts.tolist(), p, q, attributes, strict=True)
    ]


def _cards(members: Members, evidence: Evidence) -> Iterator[_Card]:
    votes = np.isin(members.target, representatives(evidence), assume_unique=True)
    for class_id, own in by_class(evidence.class_id[members.target]):
        cluster, voting = members.cluster[own], votes[own]
        for number in range(cluster.max() + 1):
            inside = own[cluster == number]
            inside_voting, outside_voting = (own[voting & (cluster == number)], own[voting & (cluster != number)])
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
    inside, outside = (own[evidence.known[own]] for own in (card.inside, card.outside))
    return int(evidence.off[inside].sum()), len(inside), int(evidence.off[outside].sum()), len(outside)


def _row(
    card: _Card,
    evidence: Evidence,
    counts: tuple[int, ...],
    p: float,
    q: float,
    level: float,
    tested: int,
    attributes: list[dict[str, Any]],
) -> Row:
    off, size, off_rest, rest = counts
    was_tested = bool(np.isfinite(p))
    low, high = wilson_interval(np.array([off]), np.array([size]))
    name = evidence.classes[card.class_id]
    details = {"class": name, "off_share": off / size if size else None, **_described(card, evidence)}
    return {
        "finding": claim_key("cluster", name, str(card.cluster)),
        "kind": "cluster",
        "class_id": card.class_id,
        "class": name,
        "subject": str(card.cluster),
        "targets": size or len(card.inside),
        "share": off / size if size else None,
        "low": float(low[0]) if size else None,
        "high": float(high[0]) if size else None,
        "expected": off_rest / rest if rest else None,
        "p": float(p) if was_tested else None,
        "q": float(q) if was_tested else None,
        "level": level,
        "family": FAMILY,
        "tested": tested,
        "found": was_tested and bool(q <= level) and off > size / 2,
        "rests_on": "activations",
        "says": _sentence(name, card, counts if was_tested else None, details["zone"], attributes),
        "details": json.dumps(details | {"attributes": attributes}),
    }


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
    """The smallest zone that the heat [64] lies in, by the rule of `audit.findings.zones`; None if it lies in none."""
    total = heat.sum()
    if not total > 0:
        return None
    shares = {name: heat[cells.ravel()].sum() / total for name, cells in ZONES.items()}
    held = [name for name, cells in ZONES.items() if in_zone(shares[name], cells.mean())]
    return min(held, key=lambda name: ZONES[name].sum(), default=None)


def _over_represented(cards: list[_Card], evidence: Evidence, level: float) -> list[list[dict[str, Any]]]:
    """For each card the attribute values that its members have more often than the rest of their class."""
    rows = [(place, row) for place, card in enumerate(cards) for row in _value_counts(card, evidence)]
    found: list[list[dict[str, Any]]] = [[] for _ in cards]
    if not rows:
        return found
    p = _exact(np.array([row["counts"] for _, row in rows], np.int64))
    for (place, row), p_value, q_value in zip(rows, p, benjamini_hochberg(p), strict=True):
        inside, size, outside, rest = row.pop("counts")
        if q_value <= level:
            shares = {"inside": inside / size, "outside": outside / rest}
            found[place].append(row | shares | {"p": float(p_value), "q": float(q_value)})
    return [sorted(values, key=lambda row: row["p"])[:SHOWN] for values in found]


def _value_counts(card: _Card, evidence: Evidence) -> Iterator[dict[str, Any]]:
    for attribute, (codes, values) in evidence.attributes.items():
        inside, outside = (codes[own][codes[own] >= 0] for own in (card.inside, card.outside))
        if len(values) <= MOST_VALUES and len(inside) and len(outside):
            own, others = (np.bincount(part, minlength=len(values)) for part in (inside, outside))
            for code in np.flatnonzero(own + others):  # those it has none of were looked at too
                counts = int(own[code]), len(inside), int(others[code]), len(outside)
                yield {"attribute": attribute, "value": values[code], "counts": counts}


def _sentence(
    name: str, card: _Card, counts: tuple[int, ...] | None, part: str | None, attributes: list[dict[str, Any]]
) -> str:
    if counts is None:
        size = len(card.inside)
        says = f"{size} images named {name} are alike under the heat; too few objects are known to test them."
    else:
        off, size, off_rest, rest = counts
        place = f", mostly {where(part)}" if part else ""
        says = (
            f"{off} of {size} images named {name} that are alike under the heat look off the object{place}; "
            f"of the rest of the class {percent(off_rest / rest)} do."
        )
    shares = [
        f"{row['attribute']} {row['value']} in {percent(row['inside'])} ({percent(row['outside'])})"
        for row in attributes
    ]
    return says + (f" More often than in the rest: {', '.join(shares)}." if shares else "")
