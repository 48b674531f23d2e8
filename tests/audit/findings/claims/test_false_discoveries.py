"""The false discovery rate of claims, drawn many times: where nothing is planted, and beside what is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from made_evidence import CELLS, draw_evidence, material, plant_context, plant_heat

from audit.findings import Claim
from audit.findings.claims.registry import all_claims
from audit.findings.claims.spots import Spots
from audit.findings.evidence.targets import Evidence

Rows = list[Claim]
CORNER = np.zeros((CELLS, CELLS), bool)
CORNER[-1, -1] = True


def found(rows: Rows, kind: str | None = None) -> Rows:
    return [row for row in rows if row.found and kind in (None, row.kind)]


def mixed(seed: int) -> Evidence:
    """Three classes with a spot, one with context, two with a group; all else is chance."""
    evidence, rng = draw_evidence(400, 10, seed), np.random.default_rng(1000 + seed)
    shows = rng.random(len(evidence)) < 0.5
    evidence = plant_heat(evidence, np.flatnonzero((evidence.class_id < 3) & shows), CORNER)
    evidence = plant_context(evidence, 3, 4, seed=seed)
    value = evidence.attributes["a1"][0]
    wrong = evidence.wrong | (evidence.labelled & (evidence.class_id > 7) & (value == 1) & shows)
    return replace(evidence, wrong=wrong)


def is_true(row: Claim) -> bool:
    """Whether a claim is of what `mixed` plants."""
    details, class_id = row.details, row.class_id
    if row.kind == "zone":
        return class_id < 3 and row.subject in ("bottom-right corner", "border", "lower half")
    if row.kind == "spot":
        return class_id < 3 and 63 in details["cells"]
    if row.kind == "context":
        return (class_id, row.subject) == (3, "class 4")
    return row.subject == "a1=v1" and details["measure"] == "wrong" and class_id in (8, 9, None)


def never(_: Claim) -> bool:
    return False


@pytest.mark.parametrize(("draw", "true"), [(lambda seed: draw_evidence(400, 10, seed), never), (mixed, is_true)])
def test_the_false_discovery_rate_of_each_family_is_at_most_its_level(
    draw: Callable[[int], Evidence], true: Callable[[Claim], bool]
) -> None:
    false: dict[str, list[float]] = {kind: [] for kind in ("zone", "spot", "context", "group")}
    discoveries = 0
    for seed in range(40):
        rows = all_claims(material(draw(seed))).claims
        for kind, shares in false.items():
            own = [not true(row) for row in found(rows, kind)]
            shares.append(float(np.mean(own)) if own else 0.0)
            discoveries += len(own) - sum(own)
    for kind, shares in false.items():
        assert np.mean(shares) <= 0.06, kind
    assert (discoveries > 200) == (true is is_true)


def test_large_spots_buy_no_room_for_false_ones() -> None:
    shares, blob = [], np.zeros((CELLS, CELLS), bool)
    blob[5:, 4:] = True
    for seed in range(40):
        evidence = draw_evidence(800, 12, seed, per_image=1)
        shows = np.random.default_rng(seed).random(len(evidence)) < 0.5
        evidence = plant_heat(evidence, np.flatnonzero((evidence.class_id < 4) & shows), blob, 0.9)
        spots = found(Spots().test(material(evidence, 0.05, 0.01)))
        true = [row.class_id < 4 and blob.ravel()[row.details["cells"]].any() for row in spots]
        shares.append(1 - np.mean(true))
    assert np.mean(shares) <= 0.06
