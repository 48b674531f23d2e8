"""What shows a claim: the few targets that do it best, and the mean heat of its class in the frame.

Chosen while all targets are at hand, at flagging, and kept in `summary.json`, so that no page looks for them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from audit.findings.claims.registry import kind_of
from audit.findings.evidence.frame import BLOCK
from audit.findings.evidence.targets import Evidence
from audit.findings.records import Claim, Shown
from audit.store import layout

FEW = 4
"""Targets that are shown of a claim."""
_DIGITS = 5


def show_claims(claims: Sequence[Claim], evidence: Evidence) -> list[Shown]:
    """What shows each claim.

    Args:
        evidence: of all targets.
    """
    classes = dict.fromkeys(claim.class_id for claim in claims)
    return [shown for class_id in classes for shown in _of_class(class_id, claims, evidence)]


def _of_class(class_id: int | None, claims: Sequence[Claim], evidence: Evidence) -> Iterator[Shown]:
    part = evidence if class_id is None else evidence.take(np.flatnonzero(evidence.class_id == class_id))
    heat = _mean_heat(part)
    for claim in claims:
        if claim.class_id == class_id:
            yield Shown(claim.claim_id, _examples(claim, part), heat)


def _mean_heat(part: Evidence) -> list[float]:
    named, total = np.flatnonzero(part.named), np.zeros(layout.CELLS**2)
    for start in range(0, len(named), BLOCK):
        total += np.nan_to_num(part.off_heat[named[start : start + BLOCK]]).sum(axis=0, dtype=np.float64)
    return np.round(total / len(named), _DIGITS).tolist() if len(named) else []


def _examples(claim: Claim, part: Evidence) -> list[tuple[int, int]]:
    """Those that the claim names itself, else those that show it best."""
    kind = kind_of(claim)
    named = kind.examples(claim)
    if named is not None:
        return named[:FEW]
    prominence = kind.prominence(claim, part)
    order = np.lexsort((part.slot, part.sample, -prominence))
    best = [place for place in order[:FEW] if np.isfinite(prominence[place])]
    return [(int(part.sample[place]), int(part.slot[place])) for place in best]
