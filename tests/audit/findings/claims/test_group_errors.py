"""A detector's errors by group: who is accused, over many drawn collections whose boxes owe nothing to the group."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_evidence import draw_evidence, material

from audit.findings import Claim
from audit.findings.claims.groups import Groups
from audit.findings.claims.voters import ERRORS, voters_of
from audit.findings.evidence.box_errors import KINDS, BoxErrors
from audit.findings.evidence.targets import Evidence

CLASSES = 4
DRAWS = 20
RIGHT, CONFUSED, BACKGROUND, MISSED = (KINDS.index(name) for name in ("right", "confused", "background", "missed"))


def two_cameras(
    seed: int,
    images: int = 600,
    prefers: float = 1,
    hides: float = 0,
    most: int = 6,
    worse: dict[str, float] | None = None,
) -> Evidence:
    """Images of two cameras with objects, up to six at camera 0, which a detector finds, misses, or takes for others.

    Args:
        prefers: how many times as often camera 0 shows the first half of the classes. The others are harder.
        hides: how much images differ in how many of their objects are lost; the same at both cameras.
        most: objects of an image at camera 1; the fewer, the more of its boxes are false alarms.
        worse: how much more often camera 1 errs so.
    """
    rng, worse = np.random.default_rng([seed, 11]), worse or {}
    rows: list[tuple[int, int, int, int, bool]] = []
    camera = (rng.random(images) < 0.4).astype(np.int32)
    for image in range(images):
        weight = np.where(np.arange(CLASSES) < CLASSES // 2, prefers if camera[image] == 0 else 1, 1.0)
        bad = np.clip(0.15 + hides * rng.normal(), 0, 0.9)
        for true in rng.choice(
            CLASSES, 1 + rng.integers(6 if camera[image] == 0 else most), p=weight / weight.sum()
        ).tolist():
            hard = bad * (1.5 if true >= CLASSES // 2 else 0.5)
            if rng.random() < hard + worse.get("missed", 0) * camera[image]:
                rows.append((image, true, true, MISSED, False))
            else:
                rows.append((image, true, true, RIGHT, bool(rng.random() < 0.9)))
            if rng.random() < hard + worse.get("confused", 0) * camera[image]:
                rows.append((image, (true + 1 + int(rng.integers(CLASSES - 1))) % CLASSES, true, CONFUSED, True))
        alarms = rng.poisson(bad + worse.get("background", 0) * camera[image])
        rows += [(image, int(rng.integers(CLASSES)), -1, BACKGROUND, True)] * alarms
    # As in a run: boxes of an image by score, and then what was missed.
    rows.sort(key=lambda row: (row[0], row[3] == MISSED))
    sample, class_id, true, kind, sure = (np.array(column) for column in zip(*rows, strict=True))
    attributes = {"camera": (camera[sample], ("0", "1"))}
    slot = np.where(kind == MISSED, -1, np.arange(len(rows)) % 7).astype(np.int16)
    boxes = BoxErrors(sample, slot, sample.copy(), class_id, true, kind.astype(np.int8), sure, attributes)
    evidence = draw_evidence(40, CLASSES, seed)
    nobody = np.zeros(len(evidence), bool)
    plain = {"camera": (np.zeros(len(evidence), np.int32), ("0", "1"))}
    return replace(evidence, aimed="detected", labelled=nobody, off=nobody, attributes=plain, boxes=boxes)


def standing(evidence: Evidence) -> list[Claim]:
    return [claim for claim in Groups().test(material(evidence)) if claim.found]


@pytest.mark.parametrize(
    "how",
    [{"hides": 0.3, "prefers": 8, "most": 1}, {"hides": 0.3, "worse": dict.fromkeys(ERRORS, 0.1)}],
    ids=["other scenes", "the margin"],
)
def test_a_camera_is_not_accused_for_what_it_shows_or_how_images_differ(how: dict[str, Any]) -> None:
    false = [bool(standing(two_cameras(seed, images=200, **how))) for seed in range(DRAWS)]
    assert np.mean(false) <= 0.1


@pytest.mark.parametrize("measure", ERRORS)
def test_a_camera_that_errs_more_often_is_found_and_for_that_alone(measure: str) -> None:
    claims = standing(two_cameras(1, worse={measure: 0.4}))
    assert f"group::camera=1:{measure}" in {claim.claim_id for claim in claims}
    # Where right boxes are gone, more of those that are left name another class.
    along = {"confused"} if measure == "missed" else set()
    assert {claim.details["measure"] for claim in claims} - along == {measure}
    assert {claim.details["value"] for claim in claims} == {"1"}
    assert {claim.rests_on for claim in claims} == {"boxes"}


def test_shares_are_those_of_images_counted_by_hand() -> None:
    evidence = two_cameras(2, hides=0.2)
    boxes = evidence.boxes
    assert boxes is not None
    truth = defaultdict(list)
    for row in zip(boxes.sample, boxes.true_class, boxes.kind, boxes.sure, strict=True):
        truth[int(row[0])].append((int(row[1]), int(row[2]), bool(row[3])))
    voters = {(of.measure, of.whole): of for of in voters_of(evidence) if of.measure in ERRORS}
    assert set(voters) == {("missed", 0), ("missed", 1), ("confused", 0), ("confused", 1), ("background", 1)}
    alarms = {image: any((kind, sure) == (BACKGROUND, True) for _, kind, sure in own) for image, own in truth.items()}
    of = voters["background", True]
    assert dict(zip(boxes.sample[of.rows].tolist(), of.shows.tolist(), strict=True)) == alarms
    for measure, counts in (("missed", (RIGHT, MISSED)), ("confused", (RIGHT, CONFUSED))):
        of = voters[measure, False]
        keys = list(zip(boxes.sample[of.rows].tolist(), of.class_id.tolist(), strict=True))
        sure_alone = measure == "confused"
        able = {
            (image, true)
            for image, own in truth.items()
            for true, kind, sure in own
            if kind in counts and (sure or not sure_alone)
        }
        assert sorted(keys) == sorted(able)
        for (image, true), shows in zip(keys, of.shows.tolist(), strict=True):
            own = [(kind, sure) for of_class, kind, sure in truth[image] if of_class == true and kind in counts]
            seen = {kind == MISSED or not sure if measure == "missed" else kind == CONFUSED for kind, sure in own}
            assert shows in seen


def test_a_vote_owes_nothing_to_the_order_in_which_boxes_are_kept() -> None:
    evidence = two_cameras(3, images=2000)
    of = next(of for of in voters_of(evidence) if of.measure == "missed" and of.whole)
    boxes = evidence.boxes
    assert boxes is not None
    objects = boxes.of("right", "missed")
    lost = boxes.of("missed") | ~boxes.sure
    rate = np.bincount(boxes.sample[objects], lost[objects]) / np.maximum(np.bincount(boxes.sample[objects]), 1)
    expected = rate[np.unique(boxes.sample[objects])].mean()
    assert of.shows.mean() == pytest.approx(expected, abs=3 * np.sqrt(0.25 / len(of.rows)))


def test_a_claim_names_the_boxes_that_show_it_and_is_no_matter_of_the_background() -> None:
    evidence = two_cameras(4, worse={"confused": 0.4})
    claim = next(claim for claim in standing(evidence) if claim.class_id is not None)
    boxes, kind = evidence.boxes, Groups()
    assert boxes is not None
    named = set(map(tuple, claim.details["examples"]))
    rows = [row for row in range(len(boxes.sample)) if (boxes.sample[row], boxes.slot[row]) in named]
    shown = [row for row in rows if boxes.kind[row] == CONFUSED and boxes.true_class[row] == claim.class_id]
    assert {(boxes.sample[row], boxes.slot[row]) for row in shown} == named
    assert not kind.judged_by_background(claim)
    assert kind.examples(claim) == [tuple(pair) for pair in claim.details["examples"]]
    assert np.isnan(kind.event(claim, evidence)).all()
    assert kind.targets(claim, evidence)[0].tolist() == [sample for sample, _ in claim.details["examples"]]
    share = f"{round(100 * claim.share)} %"
    start = f"Of {claim.targets} images with a sure box on {claim.class_name} with camera 1, "
    assert claim.says.startswith(f"{start}a sure box on an object names another class in {share}; of the others, in ")
