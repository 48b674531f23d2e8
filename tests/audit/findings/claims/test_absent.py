"""Classes that are named without their object: what counts, who is accused, and what is told of the heat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_run import draw_run
from made_evidence import CELLS, draw_evidence, material
from rewritten import put_part

from audit.findings import Claim, Findings, Rules
from audit.findings.claims.absent import Absent, _named
from audit.findings.claims.registry import kind_of
from audit.findings.evidence.gather import gather
from audit.findings.evidence.targets import Absences, Evidence
from audit.findings.judge import flag, judge
from audit.report import write_report
from audit.store import Run

CLASSES = 8
CORNER = np.arange(CELLS**2) == CELLS**2 - 1


def draw(seed: int, rates: list[float], images: int = 60, copies: int = 1) -> Evidence:
    """So many images named each class; without their object at a rate, with their heat in a corner."""
    rng, classes = np.random.default_rng([seed, 7]), len(rates)
    gone = rng.binomial(images, rates)
    class_id = np.repeat(np.arange(classes), images - gone)
    evidence = draw_evidence(len(class_id), classes, seed, per_image=1)
    evidence = replace(evidence, class_id=class_id.astype(np.int32), named=np.ones(len(class_id), bool))
    of = np.repeat(np.arange(classes), gone * copies)
    count = len(of)
    absences = Absences(
        sample=len(evidence) + np.arange(count),
        slot=np.ones(count, np.int16),
        class_id=of.astype(np.int32),
        probability=rng.uniform(0.5, 1, count).astype(np.float32),
        named=np.ones(count, bool),
        boxed=np.zeros(count, bool),
        unit=len(evidence) + np.arange(count) // copies,
        heat=np.tile(np.where(CORNER, 0.8, 0.2 / 63), (count, 1)).astype(np.float16),
        other=((of + 1) % classes).astype(np.int32),
        on_other=np.full(count, 0.1, np.float32),
    )
    return replace(evidence, absences=absences)


def standing(evidence: Evidence) -> list[Claim]:
    return [claim for claim in Absent().test(material(evidence)) if claim.found]


@pytest.mark.parametrize(
    ("rates", "images"),
    [
        ([0.1] * CLASSES, 60),
        ([0.3] * CLASSES, 10),
        ([0.15, *[0.1] * 7], 3000),
        ([0.2, *[0.1] * 7], 3000),
        ([0.0] * 20, 5),
    ],
)
def test_no_class_is_accused_where_all_are_named_so_alike(rates: list[float], images: int) -> None:
    assert np.mean([bool(standing(draw(seed, rates, images))) for seed in range(40)]) <= 0.06


def test_a_class_that_is_named_without_its_object_is_found_and_no_other() -> None:
    found = [[claim.class_id for claim in standing(draw(seed, [0.45, *[0.05] * 7]))] for seed in range(60)]
    assert np.mean([ids == [0] for ids in found]) >= 0.95


def test_the_targets_of_a_claim_are_those_named_without_their_object() -> None:
    evidence = draw(0, [0.45, *[0.05] * 7])
    (claim,) = standing(evidence)
    named = np.arange(len(evidence.absences.sample)) % 3 > 0
    evidence = replace(evidence, absences=replace(evidence.absences, named=named))
    sample, slot = Absent().targets(claim, evidence)
    assert sample.tolist() == evidence.absences.sample[(evidence.absences.class_id == 0) & named].tolist()
    assert len(slot) == len(sample) > 0


def test_copies_of_an_image_are_one_vote() -> None:
    for seed in range(20):
        once, often = (Absent().test(material(draw(seed, [0.1, *[0.05] * 7], copies=n), 0.9999)) for n in (1, 40))
        assert [(c.share, c.targets, c.p) for c in once] == [(c.share, c.targets, c.p) for c in often]


def test_an_image_that_has_its_object_in_one_copy_votes_for_the_model() -> None:
    evidence = draw(0, [0.5, *[0.0] * 7])
    first = np.flatnonzero(evidence.class_id == 0)[:1]
    same = replace(evidence.absences, unit=np.repeat(evidence.unit[first], len(evidence.absences.unit)))
    assert not standing(replace(evidence, absences=same))


def test_a_class_that_no_mask_shows_is_left_out_and_that_is_said() -> None:
    evidence = draw(0, [1.0, *[0.05] * 7])
    assert not standing(evidence)
    assert Absent().untested(material(evidence)) == [
        "Not looked for where it is named without its object, for no mask shows it: class 0"
    ]
    assert Absent().untested(material(draw(0, [0.5] * CLASSES))) == []


def test_it_is_told_how_often_and_where_the_heat_is_then() -> None:
    evidence = draw(0, [0.5, *[0.0] * 7])
    (claim,) = standing(evidence)
    count = len(evidence.absences.sample)
    assert (claim.claim_id, claim.targets, claim.share) == ("absent:class 0:without its object", 60, count / 60)
    assert claim.rests_on == "masks"
    assert claim.says == (
        f"In {count} of 60 images named class 0 no class 0 is marked or labelled, though other objects are marked; of "
        f"other classes' images so many lack their object: 0 %. On average 81 % of the heat then lies in the "
        f"bottom-right corner, and 10 % on class 1."
    )
    np.testing.assert_allclose(claim.details["heat"], evidence.absences.heat[0], atol=1e-3)
    assert Absent().frame_heat(claim, ()) == claim.details["heat"]


def test_its_pictures_are_of_the_surest_images_without_the_object() -> None:
    evidence = draw(0, [0.5, *[0.0] * 7])
    (claim,) = standing(evidence)
    surest = np.argsort(-evidence.absences.probability)[:24]
    assert Absent().examples(claim) == [(int(evidence.absences.sample[i]), 1) for i in surest]
    assert not Absent().shows(claim, evidence).any()
    assert not Absent().judged_by_background(claim)


def test_maps_without_heat_leave_the_shares_numbers() -> None:
    evidence = draw(0, [0.5, *[0.0] * 7])
    evidence.absences.heat[:3] = np.nan
    (claim,) = standing(evidence)
    assert np.isfinite(claim.details["heat"]).all()


LONE = 5
"""The class of `lacking` that is named without its object."""


def lacking(folder: Path) -> Run:
    """A drawn run in which every other image of a class has not its object, but one of class 7.

    Of the first of these the label says that it has; the mask of the second shows nothing.
    """
    run = draw_run(folder / "run", 800)
    for shard in run.shards:
        targets, scores, context = (run.read(name, shard).to_pandas() for name in ("targets", "scores", "context"))
        rows = (targets["class_id"] == LONE) & (targets["sample"] // len(run.classes) % 2 == 0)
        samples = targets.loc[rows, "sample"]
        targets.loc[rows, "probability"] = 0.9
        targets.loc[rows & (targets["sample"] != LONE), "role"] = "predicted"
        scores.loc[rows, "status"] = "absent"
        shown = samples[samples != LONE + 2 * len(run.classes)]
        hot, cold = (
            pd.DataFrame({"sample": shown, "slot": 0, "class_id": other, "heat": heat, "area": 0.1})
            for other, heat in ((7, 0.3), (8, 0.2))
        )
        context = pd.concat([context[~context["sample"].isin(samples)], cold, hot]).sort_values("sample", kind="stable")
        for name, table in (("targets", targets), ("scores", scores), ("context", context)):
            put_part(run, name, shard.index, table.to_dict("list"))
    return run


def test_absences_are_gathered_beside_the_other_targets(tmp_path: Path) -> None:
    run = lacking(tmp_path)
    gathered = gather(run, run.done())
    evidence = gathered.evidence(run, judge(gathered.scored, Rules()), 0.5)
    gone = np.arange(LONE, 800, 40)
    assert evidence.absences.sample.tolist() == gone[2:].tolist()
    assert not np.isin(gone, evidence.sample).any()
    assert set(evidence.absences.other.tolist()) == {7}
    np.testing.assert_allclose(evidence.absences.on_other, 0.3)
    heat = {row["sample"]: row["off_heat"] for shard in run.shards for row in run.read("scores", shard).to_pylist()}
    np.testing.assert_array_equal(evidence.absences.heat, [heat[sample] for sample in evidence.absences.sample])
    assert not np.isin(evidence.absences.unit, evidence.unit).any()


def test_of_a_run_the_claim_is_in_the_record_and_on_the_report_and_is_not_tested_by_interventions(
    tmp_path: Path,
) -> None:
    run = lacking(tmp_path)
    flag(run, Rules())
    (claim,) = [claim for claim in Findings(run).standing_claims() if claim.kind == "absent"]
    assert (claim.class_id, claim.targets, claim.details["other"]) == (LONE, 38, "class 07")
    assert claim.share == pytest.approx(18 / 38)
    assert kind_of(claim).title in write_report(run, most=100).read_text()


@pytest.mark.parametrize("frames", [1, 3, 9])
def test_a_units_vote_is_that_of_one_of_its_images_however_many_it_has(frames: int) -> None:
    """Else the units of many images would hardly ever be without their object, and single images stand out."""
    rng, count = np.random.default_rng(0), 600 * frames
    gone, unit = rng.random(count) < 0.3, np.arange(count) // frames
    there, absent = np.flatnonzero(~gone), np.flatnonzero(gone)
    evidence = draw_evidence(len(there), 2, 0, per_image=1)
    first = {"class_id": np.zeros(len(there), np.int32), "named": np.ones(len(there), bool)}
    evidence = replace(evidence, sample=there, unit=unit[there], **first)
    absences = Absences(
        sample=absent,
        slot=np.zeros(len(absent), np.int16),
        class_id=np.zeros(len(absent), np.int32),
        probability=np.ones(len(absent), np.float32),
        named=np.ones(len(absent), bool),
        boxed=np.zeros(len(absent), bool),
        unit=unit[absent],
        heat=np.zeros((len(absent), 64), np.float16),
        other=np.zeros(len(absent), np.int32),
        on_other=np.zeros(len(absent), np.float32),
    )
    named = _named(material(replace(evidence, absences=absences)))
    assert named.of[0] == 600
    assert named.shows[0] / named.of[0] == pytest.approx(0.3, abs=0.06)
