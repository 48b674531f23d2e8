"""Which targets show a claim, against plain loops over all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from claimed_run import claim
from made_evidence import draw_evidence

from audit.findings import Claim
from audit.findings.claims.registry import CLAIM_KINDS
from audit.findings.claims.zones import ZONES
from audit.findings.evidence.targets import Evidence
from audit.findings.pages.examples import FEW, show_claims

COUNT = 64
OTHER = 5


@pytest.fixture(scope="module")
def part() -> Evidence:
    rng = np.random.default_rng(3)
    evidence = draw_evidence(COUNT, 8, per_image=1, groups=(3,))
    off = rng.random(COUNT) < 0.7
    wrong = rng.random(COUNT) < 0.5
    return replace(evidence, class_id=(np.arange(COUNT) % 2).astype(np.int32), off=off, wrong=wrong)


def wanted(kind: str, subject: str, **changes: Any) -> Claim:
    return Claim.from_row(claim(kind, subject, **{"details": {}, **changes}))


def chosen(part: Evidence, shown: Claim) -> list[int]:
    return [sample for sample, _ in show_claims([shown], part)[0].examples]


def best(scores: dict[int, float]) -> list[int]:
    return sorted(scores, key=lambda row: -scores[row])[:FEW]


def of_class(part: Evidence, class_id: int) -> list[int]:
    return [row for row in range(COUNT) if part.class_id[row] == class_id]


def test_a_class_is_shown_by_its_most_severe(part: Evidence) -> None:
    expected = best({row: part.severity[row] for row in of_class(part, 0) if part.off[row]})
    assert chosen(part, wanted("class", "looks off the object")) == expected


@pytest.mark.parametrize("kind", ["zone", "spot"])
def test_a_place_is_shown_by_named_targets_with_most_heat_there(part: Evidence, kind: str) -> None:
    cells = np.flatnonzero(ZONES["border"].ravel()).tolist() if kind == "zone" else [3, 4, 12]
    named = [row for row in of_class(part, 0) if part.named[row]]
    expected = best({row: sum(float(part.off_heat[row, cell]) for cell in cells) for row in named})
    assert chosen(part, wanted(kind, "border", details={"cells": cells} if kind == "spot" else {})) == expected


def test_another_object_is_shown_by_named_targets_with_most_heat_on_it(part: Evidence) -> None:
    context = zip(*(part.context[name] for name in ("target", "class_id", "heat")), strict=True)
    on_other = {
        int(row): float(heat)
        for row, class_id, heat in context
        if class_id == OTHER and part.named[row] and part.class_id[row] == 0
    }
    assert chosen(part, wanted("context", part.classes[OTHER])) == best(on_other)


@pytest.mark.parametrize("measure", ["off_object", "wrong"])
def test_a_group_is_shown_by_its_own_images(part: Evidence, measure: str) -> None:
    codes, values = part.attributes["a0"]
    scores = {}
    for row in range(COUNT):
        if values[codes[row]] == "v1" and measure == "wrong" and part.wrong[row] and part.labelled[row]:
            scores[row] = float(part.probability[row])
        if values[codes[row]] == "v1" and measure == "off_object" and part.off[row]:
            scores[row] = float(part.severity[row])
    details = {"measure": measure, "attribute": "a0", "value": "v1"}
    assert chosen(part, wanted("group", "a0=v1", class_id=None, details=details)) == best(scores)


def test_a_value_that_no_sample_of_the_shard_has_shows_nothing(part: Evidence) -> None:
    details = {"measure": "off_object", "attribute": "a0", "value": "elsewhere"}
    assert chosen(part, wanted("group", "a0=elsewhere", class_id=None, details=details)) == []


def test_a_cluster_is_shown_by_its_most_typical(part: Evidence) -> None:
    sheet = [[9, 0], [2, 0], [5, 0], [7, 0], [1, 0]]
    assert chosen(part, wanted("cluster", "0", details={"sheet": sheet})) == [9, 2, 5, 7]


def test_the_heat_of_a_claim_is_the_mean_of_its_class_where_it_is_named(part: Evidence) -> None:
    class_claim, of_all = (
        wanted("class", "looks off the object"),
        wanted("group", "a0=v1", class_id=None, details={"measure": "wrong", "attribute": "a0", "value": "v1"}),
    )
    of_class_0, everyone = (shown.heat for shown in show_claims([class_claim, of_all], part))
    named = [row for row in of_class(part, 0) if part.named[row]]
    expected = [np.mean([float(np.nan_to_num(part.off_heat[row, cell])) for row in named]) for cell in range(64)]
    assert of_class_0 == pytest.approx(expected, abs=1e-4)
    assert everyone == pytest.approx(np.nan_to_num(part.off_heat[part.named]).mean(axis=0, dtype=float), abs=1e-4)


@pytest.mark.parametrize("kind", list(CLAIM_KINDS))
def test_every_kind_says_how_its_examples_were_chosen(kind: str) -> None:
    assert CLAIM_KINDS[kind].chosen.endswith(".")
