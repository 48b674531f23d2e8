from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.findings.claims.errors import Errors
from audit.findings.claims.registry import CLAIM_KINDS
from audit.findings.claims.whole_class import SIZES
from audit.findings.evidence.frame import frame_totals
from audit.findings.evidence.targets import Evidence
from audit.scores.given.errors import ERRORS
from tests.support.made_evidence import draw_evidence, material

RIGHT, BACKGROUND, CONFUSED = (ERRORS.index(name) for name in ("right", "background", "confused"))


def boxes(seed: int = 0, images: int = 900, classes: int = 3) -> Evidence:
    """Boxes whose size decides how often they look off themselves, and background errors are small ones."""
    rng = np.random.default_rng(seed)
    evidence = draw_evidence(images, classes, seed)
    area = 1 - frame_totals(evidence.off_area, np.arange(len(evidence)))
    small = 1 / (1 + (area / np.median(area)) ** 2)
    error = np.where(rng.random(len(evidence)) < 0.8 * small, BACKGROUND, RIGHT).astype(np.int8)
    off = rng.random(len(evidence)) < 0.7 * small
    return replace(evidence, error=error, off=off, boxed=np.ones(len(evidence), bool))


def by_hand(evidence: Evidence, class_id: int, code: int) -> tuple[int, int, float]:
    """Images of the kind that look off, all of them, and the share of right ones in the same mix of sizes."""

    def votes(kind: int) -> list[tuple[int, bool]]:
        error = evidence.error
        assert error is not None
        own = (i for i in range(len(evidence)) if evidence.class_id[i] == class_id)
        chosen = [i for i in own if evidence.named[i] and error[i] == kind]
        area = 1 - frame_totals(evidence.off_area, np.array(chosen))
        return [(sum(a > s for s in SIZES), bool(evidence.off[i])) for i, a in zip(chosen, area, strict=True)]

    own, right = votes(code), votes(RIGHT)
    sizes = {size for size, _ in own} & {size for size, _ in right}
    own = [vote for vote in own if vote[0] in sizes]
    shares = {size: np.mean([off for s, off in right if s == size]) for size in sizes}
    return sum(off for _, off in own), len(own), float(np.mean([shares[size] for size, _ in own]))


def test_a_kind_whose_boxes_look_off_more_often_than_right_ones_as_large_is_a_claim() -> None:
    evidence = boxes()
    rng = np.random.default_rng(1)
    planted = (evidence.class_id == 1) & (evidence.error == BACKGROUND) & (rng.random(len(evidence)) < 0.8)
    evidence = replace(evidence, off=evidence.off | planted)
    claims = Errors().test(material(evidence))
    own = next(claim for claim in claims if claim.class_id == 1)
    shows, of, expected = by_hand(evidence, 1, BACKGROUND)
    assert own.found
    assert own.details["error"] == "background"
    assert (own.targets, round(own.share * own.targets)) == (of, shows)
    assert own.expected == pytest.approx(expected)
    assert own.low < own.share - expected < own.high
    assert own.rests_on == "boxes"
    assert "on no object (background)" in own.says
    assert not [claim for claim in claims if claim.found and claim.class_id in (0, 2)]
    event = Errors().event(own, evidence)
    assert np.nansum(event) >= shows
    assert set(np.flatnonzero(~np.isnan(event))) == set(_votable(evidence, 1))


def _votable(evidence: Evidence, class_id: int) -> NDArray[np.int64]:
    return np.flatnonzero(evidence.named & (evidence.error == BACKGROUND) & (evidence.class_id == class_id))


def test_that_errors_are_small_boxes_which_look_off_more_often_accuses_no_kind() -> None:
    accused = 0
    for seed in range(40):
        evidence = boxes(seed)
        pooled = [evidence.off[evidence.named & (evidence.error == code)].mean() for code in (BACKGROUND, RIGHT)]
        assert pooled[0] > pooled[1]
        accused += any(claim.found for claim in Errors().test(material(evidence)))
    assert accused <= 1


def test_boxes_of_one_image_are_one_witness() -> None:
    evidence = boxes(images=60)
    one = replace(evidence, unit=np.zeros(len(evidence), np.int64))
    assert Errors().test(material(one)) == []
    assert "images with right boxes" in Errors().lacks(material(one))


def test_a_classifier_has_no_boxes_to_err_in() -> None:
    evidence = draw_evidence(200)
    assert Errors().test(material(evidence)) == []
    assert not Errors().applies(material(evidence))
    assert Errors().applies(material(boxes(images=30)))
    assert CLAIM_KINDS["error"].detectable(material(evidence)) == []


def test_silence_says_how_common_it_must_be_to_be_found() -> None:
    rows = Errors().detectable(material(boxes()))
    assert {row.class_name for row in rows} == {"class 0", "class 1", "class 2"}
    assert all(row.share is not None and 0 < row.share < 1 for row in rows)
