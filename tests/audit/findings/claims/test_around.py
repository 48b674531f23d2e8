"""What lies around a box: who is found to hang on it, and who is accused where size and sureness alone decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_evidence import draw_evidence, material

from audit.findings import Claim
from audit.findings.claims.around import HALF, Around
from audit.findings.claims.whole_class import SIZES, SURENESS
from audit.findings.evidence.asked_anyway import LARGE, SHARE, asked_anyway
from audit.findings.evidence.frame import frame_totals
from audit.findings.evidence.targets import Evidence
from audit.scores.given.errors import ERRORS

CLASSES, DRAWS = 4, 40


def boxes(seed: int, images: int = 500, hangs: float = 0, least: float = 0) -> Evidence:
    """Boxes that lose the more the smaller and the less sure they are; classes differ in both.

    Args:
        hangs: share of class 1 whose answer hangs on what lies around; of the others none does.
        least: the same, of those that class 1 would not lose otherwise: how far it exceeds the others.
    """
    rng = np.random.default_rng([seed, 3])
    evidence = draw_evidence(images, CLASSES, seed, per_image=1)
    area = 1 - frame_totals(evidence.off_area, np.arange(images))
    # Of each class the small boxes are kept more or less often, and its sureness has another law.
    small = area < np.median(area)
    kept = rng.random(images) < np.where(small, 1 - evidence.class_id / CLASSES, 1)
    sure = 0.5 + 0.5 * rng.random(images) ** (1 / (1 + evidence.class_id))
    fragile = np.where(small, 0.5, 0.1) + 0.3 * (sure < SURENESS[0])
    lost = np.where(rng.random(images) < fragile, 0.9, 0.1)
    planted = (evidence.class_id == 1) & (rng.random(images) < hangs)
    lost[planted] = 0.95
    extra = (evidence.class_id == 1) & (lost < HALF) & (rng.random(images) < least / (1 - fragile))
    lost[extra] = 0.95
    named = {"probability": sure.astype(np.float32), "named": sure >= 0.5}
    evidence = replace(evidence, aimed="detected", lost=lost.astype(np.float32), **named)
    return evidence.take(np.flatnonzero(kept))


def standing(evidence: Evidence) -> list[Claim]:
    return [claim for claim in Around().test(material(evidence)) if claim.found]


@pytest.mark.parametrize("how", [{}, {"least": 0.1}], ids=["no difference", "the margin"])
def test_classes_of_small_or_doubtful_boxes_are_not_accused(how: dict[str, Any]) -> None:
    assert np.mean([bool(standing(boxes(seed, **how))) for seed in range(DRAWS)]) <= 0.05


def test_a_class_whose_answers_hang_on_it_is_found_and_counted_by_hand() -> None:
    evidence = boxes(0, hangs=0.8)
    (claim,) = standing(evidence)
    assert (claim.claim_id, claim.rests_on) == ("around:class 1:surroundings", "detections")
    area = 1 - frame_totals(evidence.off_area, np.arange(len(evidence)))
    stratum = [
        (sum(a >= s for s in SIZES), sum(p >= s for s in SURENESS))
        for a, p in zip(area, evidence.probability, strict=True)
    ]
    assert evidence.lost is not None
    own, others = ([i for i in range(len(evidence)) if (evidence.class_id[i] == 1) == mine] for mine in (True, False))
    both = {stratum[i] for i in own} & {stratum[i] for i in others}
    own = [i for i in own if stratum[i] in both]
    share = {of: np.mean([evidence.lost[i] >= HALF for i in others if stratum[i] == of]) for of in both}
    assert claim.targets == len(own)
    assert claim.share == pytest.approx(np.mean([evidence.lost[i] >= HALF for i in own]))
    assert claim.expected == pytest.approx(np.mean([share[stratum[i]] for i in own]))
    assert claim.details["lost"] > claim.details["lost_by_others"]
    event = Around().event(claim, evidence)
    assert np.nansum(event) == (evidence.lost[evidence.class_id == 1] >= HALF).sum()


def test_boxes_that_cover_an_object_in_part_have_no_vote_for_some_of_it_was_taken_away() -> None:
    evidence = boxes(0, hangs=0.8)
    partly = np.where(evidence.class_id == 1, ERRORS.index("misplaced"), ERRORS.index("right")).astype(np.int8)
    assert not standing(replace(evidence, error=partly))


def test_a_classifier_is_not_asked_and_a_run_without_the_check_says_what_it_lacks() -> None:
    kind, evidence = Around(), boxes(0)
    assert not kind.applies(material(replace(evidence, aimed=None)))
    without = material(replace(evidence, lost=None))
    assert kind.test(without) == []
    assert kind.lacks(without).startswith("the quick check")
    assert kind.lacks(material(evidence)) == ""


def test_a_tenth_of_a_large_run_is_asked_whatever_the_order_of_its_samples() -> None:
    rows = np.arange(20 * LARGE)
    asked = asked_anyway(rows, len(rows))
    assert asked.mean() == pytest.approx(SHARE, abs=1e-3)
    for period in (2, 7, 10, 100):
        assert asked[::period].mean() == pytest.approx(SHARE, abs=0.01)
    assert asked_anyway(rows, LARGE - 1).all()
