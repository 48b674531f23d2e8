"""Interventions on a run whose network is known: it sees a stamp in the corner, red objects, and stripes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from faults.collection import audit_here, camaudit, paint, save
from rewritten import put_findings, put_part, read_listed

from audit.datasets.manifest import Box, Manifest, Sample
from audit.errors import ImageError, RunError
from audit.findings import Claim, Findings, Rules
from audit.findings.records import Member
from audit.interventions.redrawn import redraw
from audit.interventions.removals import Changed, change
from audit.interventions.suspects import _claimed, draw_suspects, with_files
from audit.interventions.tried import Tried
from audit.models import Classifier, ModelSpec, load_classifier
from audit.progress import Advanced, Event
from audit.store import Run, layout
from audit.store.storage.files import read_json, sha256, write_json
from audit.store.tables.parts import read_table
from pipelines.experiments.backgrounds import BACKGROUNDS, choose_backgrounds, gather_backgrounds
from pipelines.experiments.faithfulness import draw_targets
from pipelines.experiments.random_weights import compare_with_random
from pipelines.experiments.verify import Trials, Verification, verify, verify_run
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Finished

CLASSES = ("stamped", "red", "striped", "blank")
SIDE, EACH = 48, 6

MODEL = """
import torch
from torch import nn


class Trunk(nn.Module):
    # One channel each: white, red, stripes. Every class but the last is read from one of them alone.

    def forward(self, x):
        r, g = x[:, 0], x[:, 1]
        white = (x.amin(dim=1) - 0.8).relu()
        red = (r - g - 0.3).relu()
        steps = nn.functional.pad((g[:, :, 1:] - g[:, :, :-1]).abs(), (0, 1))
        stripes = (steps - 0.15).relu()
        return nn.functional.avg_pool2d(torch.stack([white, red, stripes], dim=1), 4)


class Known(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.head = nn.Linear(3, 4)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[3000., 0, 0], [0, 400., 0], [0, 0, 40.], [0, 0, 0]]))
            self.head.bias.copy_(torch.tensor([0., 0., 0., 3.]))

    def forward(self, x):
        return self.head(self.trunk(x).mean(dim=(2, 3)))


def build():
    return Known()
"""


def draw(folder: Path, annotated: str = "mask") -> Path:
    """Six pictures a class, a square object in each; returns the manifest."""
    rng = np.random.default_rng(0)
    samples = [_sample(folder, index, rng, annotated) for index in range(EACH * len(CLASSES))]
    return Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")


def _sample(folder: Path, index: int, rng: np.random.Generator, annotated: str) -> Sample:
    class_id = index % len(CLASSES)
    picture = rng.integers(0, 20, (SIDE, SIDE, 3), dtype=np.uint8)
    if CLASSES[class_id] == "striped":
        picture[:, ::2] += 100
    top, left = (int(place) for place in rng.integers(2, 20, 2))
    picture[top : top + 16, left : left + 16] = (200, 20, 20) if CLASSES[class_id] == "red" else (20, 20, 200)
    if CLASSES[class_id] == "stamped":
        picture[-8:-2, -8:-2] = 255
    save(folder / f"{index}.png", picture)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top : top + 16, left : left + 16] = class_id + 1
    save(folder / f"{index}-mask.png", mask)
    box = Box(class_id, left, top, left + 16, top + 16)
    return Sample(
        f"{CLASSES[class_id]}-{index}",
        f"{index}.png",
        (class_id,),
        f"{index}-mask.png" if annotated == "mask" else None,
        (box,) if annotated == "boxes" else (),
    )


def audited(folder: Path, annotated: str = "mask") -> Plan:
    manifest = draw(folder, annotated)
    (folder / "model.py").write_text(MODEL)
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    spec = ModelSpec(f"{folder / 'model.py'}:build", layer="trunk", size=SIDE, mode="squash", mean=zero, std=one)
    config = RunConfig(shard_size=8, batch_size=8, roles=("label",))
    plan = prepare(str(manifest), str(folder / "run"), spec, config)
    assert all(isinstance(end, Finished) for end in audit_here(plan))
    for shard in plan.run.done():  # at 9 x 8 pixels one striped picture looks like the other
        samples = plan.run.read("samples", shard).to_pydict()
        looks = np.random.default_rng(shard.index).integers(0, 2**62, len(shard))
        put_part(plan.run, "samples", shard.index, samples | {"look": looks})
    return plan


def classifier_of(plan: Plan) -> Classifier:
    return load_classifier(plan.task.spec, classes=CLASSES)


def all_targets(run: Run) -> pd.DataFrame:
    """Every target with a map as if it were flagged, without controls."""
    rows = pd.concat([run.read("targets", shard).to_pandas() for shard in run.done()], ignore_index=True)
    rows = rows.loc[rows["status"] == "ok", ["sample", "slot", "class_id", "probability"]]
    return rows.assign(severity=rows["probability"], arm="flagged", control=-1).reset_index(drop=True)


def with_controls(run: Run, targets: pd.DataFrame) -> pd.DataFrame:
    """The flagged targets, and red ones as their controls in turn."""
    red = all_targets(run).query(f"class_id == {CLASSES.index('red')}")
    flagged = targets.assign(control=len(targets) + np.arange(len(targets)) % len(red))
    return pd.concat([flagged, red.assign(arm="control")], ignore_index=True)


def claim(
    run: Run, *claims: tuple[str, str, int | None, str, bool], details: dict[str, dict[str, Any]] | None = None
) -> None:
    """Write claims: finding, kind, class, subject, and whether it is found; and details by finding."""
    rows: dict[str, Any] = {name: [None] * len(claims) for name in Claim.schema().names}
    names = ("claim_id", "kind", "class_id", "subject", "found")
    rows |= dict(zip(names, map(list, zip(*claims, strict=True)), strict=True))
    rows["class"] = [None if class_id is None else CLASSES[class_id] for class_id in rows["class_id"]]
    rows["details"] = [json.dumps((details or {}).get(finding, {})) for finding in rows["claim_id"]]
    put_findings(run, layout.CLAIMS, rows, Claim.schema())


def accuse(run: Run, *names: str) -> None:
    """Make findings of classes."""
    claim(run, *((f"class:{name}", "class", CLASSES.index(name), "looks off the object", True) for name in names))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return audited(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="module")
def effects(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[str, Any]]:
    plan = audited(tmp_path_factory.mktemp("tried"))
    accuse(plan.run, "stamped", "striped")
    record = verify(plan.run, classifier_of(plan), Verification(), with_controls(plan.run, all_targets(plan.run)))
    return read_table(plan.run.path / layout.FINDINGS / layout.EFFECTS).to_pandas(), record


@pytest.mark.parametrize("name", ["stamped", "striped"])
def test_the_outcome_is_what_the_network_does(effects: tuple[pd.DataFrame, dict[str, Any]], name: str) -> None:
    table, record = effects
    own = table[(table["class"] == name) & (table["arm"] == "flagged")]
    assert len(own) == EACH
    assert set(own["outcome"]) == {"confirmed"}
    (cause,) = [cause for cause in record["causes"] if cause["claim_id"] == f"class:{name}"]
    assert cause["outcome"] == "confirmed"
    assert cause["low"] <= cause["effect"] <= cause["high"]
    assert f"p({name}) falls by" in cause["says"]


def test_what_does_not_rely_is_not_confirmed(effects: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    table, _ = effects
    red = table[table["class"] == "red"]
    assert red["reliance"].abs().max() < 0.05
    assert set(red["outcome"]) <= {"refuted", "inconclusive"}


def test_each_intervention_takes_away_what_it_says(effects: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    means = effects[0].groupby("class")[["hot", "random", "object", "background"]].mean()
    assert means.loc["stamped", "hot"] > 0.5 > 0.05 > abs(means.loc["stamped", "random"])
    assert abs(means.loc["stamped", "object"]) < 0.05 < 0.9 < means.loc["stamped", "background"]
    assert means.loc["red", "object"] > 0.9
    assert abs(means.loc["red", "background"]) < 0.05
    assert means.loc["striped", "background"] > 0.9 > 0.05 > abs(means.loc["striped", "object"])


def test_what_verify_took_away_is_drawn_again_pixel_by_pixel_without_the_network(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[Any, Changed]] = []

    def noted(image: Any, *rest: Any) -> Changed:
        tried.append((image, change(image, *rest)))
        return tried[-1][1]

    monkeypatch.setattr("pipelines.experiments.verify.change", noted)
    targets = all_targets(plan.run)
    classifier, asked = classifier_of(plan), Verification(seed=5)
    backgrounds = gather_backgrounds(plan.run, classifier, set(targets["class_id"]), asked.seed)
    for target in with_files(plan.run, targets):
        Trials(plan.run, classifier, asked).intervene(target, backgrounds)
    taken = {"hot": 0, "object": 0}
    for target, (image, changed) in zip(targets.to_dict("records"), tried, strict=True):
        redrawn = redraw(plan.run, target["sample"], target["slot"], target["class_id"])
        assert np.array_equal(redrawn.whole, np.rint(image.transpose(1, 2, 0) * 255))
        for name in taken:
            inputs, drawn = getattr(changed, name), getattr(redrawn, name)
            assert (drawn is None) == (not inputs)
            if inputs:
                taken[name] += 1
                shown = inputs[0].transpose(1, 2, 0).clip(0, 1) * 255
                assert np.abs(drawn - shown).max() < 20  # noise of a hundredth, drawn twice
                same = np.abs(image - inputs[0]).max(axis=0) == 0
                assert np.array_equal(drawn[same], redrawn.whole[same])
    assert min(taken.values()) > 5


def test_a_run_that_does_not_say_how_it_saw_images_has_nothing_drawn_again(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(plan.run.record["model"], "fit")
    with pytest.raises(RunError, match="does not say how its images were fitted"):
        redraw(plan.run, 0, 0, 0)


def test_an_image_that_changed_since_is_not_drawn_again(tmp_path: Path) -> None:
    changed = audited(tmp_path)
    save(tmp_path / "0.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(ImageError, match="is not the file that the run saw"):
        redraw(changed.run, 0, 0, 0)


def test_tables_and_record_agree(effects: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    table, record = effects
    assert record["targets"] == len(table)
    flagged = table[table["arm"] == "flagged"]
    assert record["outcomes"]["flagged"] == flagged["outcome"].value_counts().to_dict()
    assert table["id"].str.startswith(tuple(f"{name}-" for name in CLASSES)).all()


def test_one_target_is_changed_as_it_is_described(plan: Plan) -> None:
    """The drop without the object, step by step, for the first red target."""
    classifier = classifier_of(plan)
    target = next(row for row in with_files(plan.run, all_targets(plan.run)) if row["class"] == "red")
    drops = Trials(plan.run, classifier, Verification(fill="mean")).intervene(target, [])
    assert len(drops.patterns) == len(drops.colours) == 0
    assert drops.mean("object") == pytest.approx(drops.probability - 1 / (3 + np.exp(3)), abs=0.01)


def test_flagged_targets_are_drawn_with_controls_that_are_not_flagged(plan: Plan) -> None:
    drawn = draw_suspects(plan.run, 8)
    flagged, controls = drawn[drawn["arm"] == "flagged"], drawn[drawn["arm"] == "control"]
    assert len(flagged) == 8
    assert set(flagged["class_id"]) == {0, 2}
    assert flagged["severity"].is_monotonic_decreasing
    keys = [tuple(key) for key in drawn[["sample", "slot"]].to_numpy()]
    assert len(set(keys)) == len(keys)
    matched = flagged.loc[flagged["control"] >= 0, "control"]
    assert sorted(matched) == sorted(controls.index)
    assert controls["severity"].isna().all()


def test_backgrounds_are_of_other_classes_and_without_their_objects(plan: Plan) -> None:
    classifier = classifier_of(plan)
    found = gather_backgrounds(plan.run, classifier, [0, 1, 2, 3])
    red = [one.image for one in found if 1 in one.classes]
    assert red
    for image in red:
        assert (image[0] - image[1]).max() < 0.2
    chosen = choose_backgrounds(found, 1, found[0].sample, np.random.default_rng(0))
    allowed = [one.image for one in found if 1 not in one.classes and one.sample != found[0].sample]
    assert 4 <= len(chosen) <= BACKGROUNDS
    assert all(any(image is one for one in allowed) for image in chosen)


@pytest.mark.parametrize(("annotated", "outcome"), [("boxes", "confirmed"), ("none", "inconclusive")])
def test_boxes_stand_for_the_object_and_without_either_what_is_hot_may_be_the_object(
    annotated: str, outcome: str, tmp_path: Path
) -> None:
    plan = audited(tmp_path, annotated)
    targets = all_targets(plan.run)
    verify(plan.run, classifier_of(plan), Verification(), with_controls(plan.run, targets[targets["class_id"] == 0]))
    table = read_table(plan.run.path / layout.FINDINGS / layout.EFFECTS).to_pandas()
    table = table[table["class_id"] == 0]
    assert table["reliance"].min() > 0.7
    assert set(table["outcome"]) == {outcome}
    assert table["hot"].notna().all()
    assert table["background"].isna().all() == (annotated == "none")
    assert table["object"].isna().all() == (annotated == "none")


def test_images_that_changed_are_counted_and_left_out(tmp_path: Path) -> None:
    plan = audited(tmp_path)
    paint(tmp_path / "0.png", (9, 9, 9))
    (tmp_path / "4.png").unlink()
    told: list[Event] = []
    targets = all_targets(plan.run)
    stamped = targets[targets["class_id"] == 0]
    record = verify(plan.run, classifier_of(plan), Verification(), stamped, told.append)
    done = [event for event in told if isinstance(event, Advanced)]
    assert {failure["id"] for failure in record["failed"]} == {"stamped-0", "stamped-4"}
    assert record["targets"] + 2 == len(stamped) == len(done)
    assert sum(event.failed for event in done) == 2
    with pytest.raises(RunError, match="None of the images"):
        verify(plan.run, classifier_of(plan), Verification(), targets[targets["sample"] == 0])


def test_claims_speak_of_those_that_show_what_they_say(tmp_path: Path) -> None:
    plan = audited(tmp_path)
    targets = all_targets(plan.run)
    path = plan.run.path / layout.MANIFEST
    manifest = read_listed(path)
    values = [row // len(CLASSES) for row in range(len(manifest))]
    pq.write_table(manifest.append_column("a=b", [values]), path)
    run = plan.run.amended(artefacts={**plan.run.record["artefacts"], layout.MANIFEST: sha256(path)})
    claim(
        plan.run,
        ("cluster", "cluster", 0, "1", True),
        ("corner", "zone", 0, "bottom-right corner", True),
        ("other corner", "zone", 0, "top-left corner", True),
        ("spot", "spot", 0, "here", True),
        ("other spot", "spot", 0, "there", True),
        ("not found", "spot", 1, "x", False),
        ("beside", "context", 0, "red", True),
        ("group", "group", 0, "a=b=3", True),
        ("errors", "group", 0, "a=b=3", True),
        details={
            "spot": {"cells": [54, 55, 62, 63]},
            "other spot": {"cells": [7]},
            "group": {"measure": "off_object", "attribute": "a=b", "value": "3"},
            "errors": {"measure": "wrong", "attribute": "a=b", "value": "3"},
        },
    )
    members = targets[targets["class_id"] == 0].assign(cluster=[1, 1, 1, 1, 1, 0], distance=0.0)
    columns = {name: members[name] for name in Member.schema().names}
    put_findings(plan.run, layout.CLUSTERS, columns, Member.schema())
    record = verify(run, classifier_of(plan), Verification(), with_controls(run, targets))
    tried = {cause["claim_id"]: (cause["targets"], cause["outcome"]) for cause in record["causes"]}
    assert tried == {
        "cluster": (5, "confirmed"),
        "corner": (EACH, "confirmed"),
        "other corner": (0, "inconclusive"),
        "spot": (EACH, "confirmed"),
        "other spot": (0, "inconclusive"),
        "beside": (0, "inconclusive"),
        "group": (1, "inconclusive"),
    }


def test_context_claims_take_the_images_that_show_the_other_class(tmp_path: Path) -> None:
    run = audited(tmp_path).run
    table = all_targets(run)
    rows = table.loc[table["class_id"] == 0].iloc[:2]
    shares = {"heat": [0.9, 0.9], "area": [0.1, 0.1]}
    context = {"sample": rows["sample"], "slot": rows["slot"], "class_id": [1, 1], **shares}
    put_part(run, "context", 0, context)
    claim(run, ("beside", "context", 0, "red", True))
    (beside,) = Findings(run).standing_claims()
    shown = Tried.read(Findings(run), table).show(beside)
    assert table.loc[shown, "sample"].tolist() == rows["sample"].tolist()


def test_where_no_object_is_known_the_confident_targets_of_claims_are_drawn(tmp_path: Path) -> None:
    run = audited(tmp_path, "none").run
    claim(run, ("spot:stamped:x", "spot", 0, "x", True), ("spot:red:x", "spot", 1, "x", False))
    drawn = draw_suspects(run, 50)
    roles = drawn.groupby("arm")["class_id"].agg(list)
    assert roles["flagged"] == [0] * EACH
    assert len(roles["control"]) == EACH
    assert 0 not in roles["control"]
    assert drawn["severity"].isna().all()


def test_copies_of_an_image_are_drawn_once(tmp_path: Path) -> None:
    run = audited(tmp_path).run
    before = draw_suspects(run, 50).query("arm == 'flagged'")
    stamped = before.loc[before["class_id"] == 0]
    for shard in run.done():
        samples = run.read("samples", shard).to_pandas()
        samples.loc[samples["sample"].isin(stamped["sample"]), "look"] = 7
        put_part(run, "samples", shard.index, dict(samples.items()))
    after = draw_suspects(run, 50).query("arm == 'flagged'")
    assert after.loc[after["class_id"] == 0, "sample"].tolist() == [stamped["sample"].iloc[0]]
    assert set(after.loc[after["class_id"] == 2, "sample"]) == set(before.loc[before["class_id"] == 2, "sample"])


def test_who_is_confident_and_what_is_misplaced_follow_the_rules_of_the_run(tmp_path: Path) -> None:
    plan = audited(tmp_path)
    claim(plan.run, ("spot:stamped:x", "spot", 0, "x", True))
    listed = all_targets(plan.run).assign(probability=0.9, kept=True)
    striped = [target for target in draw_targets(plan.run, 100, 0) if target["class_id"] == 2]
    path = plan.run.path / layout.SUMMARY
    summary = json.loads(path.read_text())
    confident, misplaced = [], []
    for rules in (Rules(confident=0.8, misplaced=1e-9), Rules(confident=0.99, misplaced=1 - 1e-9)):
        write_json(path, summary | {"rules": asdict(rules)})
        confident.append(int(_claimed(Findings(plan.run), listed).sum()))
        record = compare_with_random(plan.run, classifier_of(plan), striped, seed=4)
        misplaced.append(record["trained"]["misplaced"]["mean"])
    assert confident == [EACH, 0]
    assert misplaced[0] > misplaced[1]


def test_only_targets_with_known_objects_are_scored_with_random_weights(tmp_path: Path) -> None:
    plan = audited(tmp_path)
    scores = plan.run.read("scores", plan.run.shards[0]).to_pydict()
    scores["status"] = ["no_mask" if row else status for row, status in enumerate(scores["status"])]
    put_part(plan.run, "scores", 0, scores)
    drawn = [target["sample"] for target in draw_targets(plan.run, 100, 0, scored=True)]
    known = [sample for sample in all_targets(plan.run)["sample"] if sample in (0, *range(8, EACH * len(CLASSES)))]
    assert drawn == known


def test_interventions_stand_where_nothing_can_be_scored_with_random_weights(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RunError("Expected targets with known objects")

    monkeypatch.setattr("pipelines.experiments.verify.compare_with_random", refuse)
    record = verify_run(plan.run, classifier_of(plan), Verification(targets=2))
    assert record["random_weights"] == {"says": "Expected targets with known objects"}
    assert record["targets"] >= 2


def test_a_run_without_a_finished_shard_is_refused(tmp_path: Path) -> None:
    run = audited(tmp_path).run
    for shard in run.done():
        run.withdraw(shard)
    with pytest.raises(RunError, match="no finished shard to verify"):
        draw_suspects(run, 5)


def test_a_run_without_findings_is_refused(tmp_path: Path) -> None:
    run = audited(tmp_path, "none").run
    claim(run, ("spot:stamped:x", "spot", 0, "x", False))
    with pytest.raises(RunError, match="Nothing is flagged"):
        draw_suspects(run, 5)


@pytest.mark.parametrize("values", [{"targets": 0}, {"batch_size": 0}, {"fill": "grey"}])
def test_impossible_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected --"):
        Verification(**values)


def test_scores_of_random_weights_stand_beside_the_runs_own(plan: Plan) -> None:
    red = [target for target in draw_targets(plan.run, 100, 0) if target["class_id"] == 1]
    record = compare_with_random(plan.run, classifier_of(plan), red, seed=4)
    assert (record["targets"], record["without_map"]) == (EACH, 0)
    assert record["trained"]["energy"]["mean"] > 0.75
    trained, random, difference = (record[name]["lift"]["mean"] for name in ("trained", "random", "difference"))
    assert difference == pytest.approx(trained - random)
    assert record["trained"]["misplaced"]["mean"] == 0
    assert read_json(plan.run.path / "report" / "null.json", "") == record


def test_random_weights_without_evidence_for_anything_are_said_to_have_none(plan: Plan) -> None:
    red = [target for target in draw_targets(plan.run, 100, 0) if target["class_id"] == 1]
    record = compare_with_random(plan.run, classifier_of(plan), red, seed=0)
    assert (record["targets"], record["without_map"]) == (0, EACH)
    assert "nothing to compare" in record["says"]


def test_the_verb_says_what_it_found(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accuse(plan.run, "stamped")
    asked = ["verify", str(plan.run.path), "--targets", "12", "--seed", "4", "--model", plan.task.spec.model]
    assert camaudit(asked, monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "class:stamped confirmed: Without its background p(stamped) falls by" in printed
    assert "A network that has learnt nothing" in printed
    assert camaudit([*asked, "--json"], monkeypatch) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["outcomes"]["flagged"]["confirmed"] == 12
    assert camaudit([*asked, "--fill", "grey"], monkeypatch) == 2
