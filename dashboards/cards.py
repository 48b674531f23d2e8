"""Claims as the first page shows them: those of one class over the same images stand as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from audit.findings import Claim
from audit.findings.claims.registry import kind_of
from audit.findings.records import HEAT_ALONE, Shown
from audit.store.verdicts.log import target_subject
from dashboards.state import Context

_ALIKE = 0.8
"""Share of two claims' images that both are about, from which they stand as one."""
_MOST = 100


@dataclass(frozen=True)
class Card:
    """A claim with what shows it.

    Attributes:
        also: claims of the same class over the same images.
        targets: how many targets it is about.
        examples: rows of those that show it best.
        heat: [64] mean share of the heat by cell of the frame, of the class; None where it is not known.
    """

    claim: Claim
    also: Sequence[Claim]
    targets: int
    examples: Sequence[dict[str, Any]]
    heat: Sequence[float] | None


def cards_of(context: Context) -> list[Card]:
    """A card for each claim that stands for itself: confirmed first, refuted last, then the surest."""
    return _cards(str(context.run.path), context.stamp, context)


@st.cache_resource(max_entries=4, show_spinner="Reading the claims …")
def _cards(path: str, stamp: tuple[str, ...], _context: Context) -> list[Card]:
    tables = _context.tables
    claims = sorted(tables.claims(), key=_rank)[:_MOST]
    shared = tables.shared_targets
    groups: list[list[Claim]] = []
    for claim in claims:
        same = (group for group in groups if _alike(claim, group[0], shared))
        group = next(same, None)
        if group is None:
            groups.append([claim])
        else:
            group.append(claim)
    shown = [tables.shown.get(group[0].claim_id) for group in groups]
    wanted = [target_subject(*target) for one in shown if one for target in one.examples]
    rows = {row["subject"]: row for row in tables.rows(wanted)}
    return [
        _card(group, shared.get((group[0].claim_id,) * 2, 0), one, rows)
        for group, one in zip(groups, shown, strict=True)
    ]


def _rank(claim: Claim) -> tuple[bool, int, bool, float]:
    rank = {"confirmed": 0, "refuted": 2}.get(claim.outcome, 1)
    return claim.rests_on == HEAT_ALONE, rank, not kind_of(claim).whole, 1.0 if claim.q is None else claim.q


def _alike(claim: Claim, other: Claim, shared: Mapping[tuple[str, str], int]) -> bool:
    """Whether two claims of a class are about nearly the same targets, by the Jaccard index."""
    if claim.class_id != other.class_id:
        return False
    this, that = claim.claim_id, other.claim_id
    both = shared.get((this, that), 0)
    return both >= _ALIKE * max(shared.get((this, this), 0) + shared.get((that, that), 0) - both, 1)


def _card(group: Sequence[Claim], targets: int, shown: Shown | None, rows: Mapping[str, dict[str, Any]]) -> Card:
    claim = group[0]
    if shown is None:
        return Card(claim, group[1:], targets, (), None)
    examples = [rows[subject] for target in shown.examples if (subject := target_subject(*target)) in rows]
    return Card(claim, group[1:], targets, examples, kind_of(claim).frame_heat(claim, shown.heat) or None)
