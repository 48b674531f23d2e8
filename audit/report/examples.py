"""Which targets show a claim best: its kind says how well each does."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from audit.findings import Claim
from audit.findings.claims.kind import of_class
from audit.findings.claims.registry import kind_of
from audit.findings.evidence import Evidence

FEW = 4
"""Targets that are shown of a claim."""


class Examples:
    """The few best targets of each claim, found part by part."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self._claims = claims
        self._best: dict[str, list[tuple[float, int, int]]] = {claim.claim_id: [] for claim in claims}

    def add(self, part: Evidence) -> None:
        """Look through the targets of a shard."""
        for claim in self._claims:
            prominence = kind_of(claim).prominence(claim, part)
            scores = np.where(of_class(claim, part.class_id), prominence, -np.inf)
            best = self._best[claim.claim_id]
            for place in np.argsort(-scores, kind="stable")[:FEW]:
                if np.isfinite(scores[place]):
                    best.append((float(scores[place]), -int(part.sample[place]), -int(part.slot[place])))
            self._best[claim.claim_id] = heapq.nlargest(FEW, best)

    def result(self) -> dict[str, list[tuple[int, int]]]:
        """Samples and slots that show each claim, the best first, by claim; those that the claim names itself."""
        named = {claim.claim_id: kind_of(claim).examples(claim) for claim in self._claims}
        best = {key: [(-sample, -slot) for _, sample, slot in keys] for key, keys in self._best.items()}
        return {key: shown[:FEW] if (shown := named[key]) is not None else best[key] for key in best}
