"""Faithfulness of a run whose maps are right, beside maps that know nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from faults.collection import CLASSES, finished, paint
from PIL import Image
from torch import nn

from audit.datasets.classes import ClassMapping
from audit.errors import RunError
from audit.images.views import Fit
from audit.models import Classifier, Preprocessing, load_classifier
from audit.models.device import Halving
from audit.progress import Advanced, Began, Ended, Event
from audit.store import Run
from audit.store.storage.files import read_json
from pipelines import cli
from pipelines.experiments import inputs
from pipelines.experiments.faithfulness import MEASURES, Trial, draw_targets, measure_run
from pipelines.run.plan import Plan

COUNT = 18


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return finished(tmp_path_factory.mktemp("faithful"), COUNT)


@pytest.fixture(scope="module")
def record(plan: Plan) -> dict[str, Any]:
    return measured(plan, Trial(COUNT, steps=8))


def measured(plan: Plan, trial: Trial) -> dict[str, Any]:
    classifier = load_classifier(plan.task.spec, classes=CLASSES)
    return measure_run(plan.run, classifier, trial, draw_targets(plan.run, trial.targets, trial.seed))


def test_the_maps_of_a_network_that_looks_at_the_object_beat_chance_and_centre(record: dict[str, Any]) -> None:
    assert record["targets"] == COUNT
    means = {name: {m: found["mean"] for m, found in own.items()} for name, own in record["measures"].items()}
    for other in ("random", "centre"):
        for measure in ("deletion", "average drop", "road"):
            assert means["gradcam"][measure] < means[other][measure]
        assert means["gradcam"]["insertion"] > means[other]["insertion"]
    less = record["less_random"]["gradcam"]
    assert less["deletion"]["high"] < 0 < less["insertion"]["low"]


def test_measures_add_up_to_the_curves_and_lie_between_0_and_1(record: dict[str, Any]) -> None:
    for name, own in record["measures"].items():
        assert set(own) == set(MEASURES)
        for kind in ("deletion", "insertion"):
            curve = [point["mean"] for point in record["curves"][name][kind]]
            assert len(curve) == 9
            assert own[kind]["mean"] == pytest.approx(oracles.curve_area(curve))
        assert all(0 <= value["low"] <= value["mean"] <= value["high"] <= 1 for value in own.values())
    whole = {own["deletion"][0]["mean"] for own in record["curves"].values()}
    assert whole == {own["insertion"][-1]["mean"] for own in record["curves"].values()}


def test_one_target_is_measured_as_the_papers_say(plan: Plan) -> None:
    """Step by step, for the first target, with the network called on one input at a time."""
    (target,) = draw_targets(plan.run, 1, seed=3)
    classifier = load_classifier(plan.task.spec, classes=CLASSES)
    found = measure_run(plan.run, classifier, Trial(1, steps=4, seed=3), [target])
    sample = list(plan.run.manifest())[target["sample"]]
    pixels = np.asarray(Image.open(sample.image).resize((32, 32), Image.Resampling.BILINEAR), np.float32) / 255
    image = pixels.transpose(2, 0, 1)
    stored = plan.run.maps(target["sample"], target["sample"] + 1)[0, target["slot"]]
    heat = np.array(
        [[oracles.bilinear_at(stored, (y + 0.5) / 4, (x + 0.5) / 4) for x in range(32)] for y in range(32)], np.float32
    )

    def p(given: Any) -> float:
        outputs = classifier.module(torch.as_tensor(given, dtype=torch.float32)[None]).detach()
        return float(outputs.softmax(1)[0, target["class_id"]])

    deletion, insertion = [], []
    for step in range(5):
        gone = np.zeros((32, 32), bool)
        for place in oracles.hottest_pixels(heat, step / 4):
            gone[place] = True
        deletion.append(p(np.where(gone, 0, image)))
        insertion.append(p(np.where(gone, image, oracles.gaussian_blur(image, 32 * 5 / 224))))
    for kind, expected in (("deletion", deletion), ("insertion", insertion)):
        assert [point["mean"] for point in found["curves"]["gradcam"][kind]] == pytest.approx(expected, abs=2e-3)
    explained = p(image * np.maximum(heat, 0) / heat.max())
    own = found["measures"]["gradcam"]
    assert own["average drop"]["mean"] == pytest.approx(max(0, p(image) - explained) / p(image), abs=2e-3)
    assert own["increase"]["mean"] == (explained > p(image))


def test_halves_of_a_batch_give_what_the_whole_gives(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, failed = load_classifier(plan.task.spec, classes=CLASSES), list[int]()
    targets = draw_targets(plan.run, 2, seed=1)
    whole = measure_run(plan.run, classifier, Trial(2, 4, 1), targets)

    def short_of_memory(_module: nn.Module, images: tuple[torch.Tensor]) -> None:
        if len(images[0]) > 3:
            failed.append(len(images[0]))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(inputs, "HALVING", Halving())
    handle = classifier.module.register_forward_pre_hook(short_of_memory)
    with pytest.warns(RuntimeWarning, match="halving"):
        halves = measure_run(plan.run, classifier, Trial(2, 4, 1), targets)
    handle.remove()
    assert failed
    for name, own in whole["measures"].items():
        for measure, value in own.items():
            assert halves["measures"][name][measure]["mean"] == pytest.approx(value["mean"], abs=1e-5)


def test_the_same_seed_gives_the_same_record_and_batches_make_no_difference(plan: Plan) -> None:
    once, again, small = (
        measured(plan, trial) for trial in (Trial(3, 4, 1), Trial(3, 4, 1), Trial(3, 4, 1, batch_size=3))
    )
    assert once == again
    for name, own in once["measures"].items():
        for measure, value in own.items():
            assert small["measures"][name][measure]["mean"] == pytest.approx(value["mean"], abs=1e-5)


def test_targets_are_drawn_without_repeats_and_only_those_with_a_map(plan: Plan) -> None:
    drawn = draw_targets(plan.run, 5, seed=0)
    assert len({(target["sample"], target["slot"]) for target in drawn}) == 5
    assert [target["sample"] for target in drawn] == sorted(target["sample"] for target in drawn)
    everything = draw_targets(plan.run, 10_000, seed=0)
    rows = [row for shard in plan.run.done() for row in plan.run.read("targets", shard).to_pylist()]
    ok = [(row["sample"], row["slot"], row["class_id"]) for row in rows if row["status"] == "ok"]
    assert [(t["sample"], t["slot"], t["class_id"]) for t in everything] == ok
    ids = [sample.id for sample in plan.run.manifest()]
    assert all(target["id"] == ids[target["sample"]] for target in everything)


def test_an_image_that_changed_is_counted_and_left_out(tmp_path: Path) -> None:
    plan = finished(tmp_path, 4)
    paint(tmp_path / "001.png", (9, 9, 9))
    (tmp_path / "002.png").unlink()
    told: list[Event] = []
    targets = draw_targets(plan.run, 10, 0)
    classifier = load_classifier(plan.task.spec, classes=CLASSES)
    record = measure_run(plan.run, classifier, Trial(10, 2), targets, told.append)
    done = [event for event in told if isinstance(event, Advanced)]
    assert told == [Began("faithfulness", len(targets)), *done, Ended()]
    assert record["targets"] + len(record["failed"]) == len(targets) == len(done)
    assert {failure["id"] for failure in record["failed"]} == {"001", "002"}
    assert sum(event.failed for event in done) == len(record["failed"])
    assert any("not the file that the run saw" in failure["reason"] for failure in record["failed"])
    with pytest.raises(RunError, match="None of the images"):
        measure_run(plan.run, classifier, Trial(10, 2), [t for t in targets if t["id"] == "002"])


@pytest.mark.parametrize("values", [{"targets": 0}, {"steps": 0}, {"batch_size": 0}])
def test_impossible_values_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Trial(**values)


def test_the_network_is_left_in_the_mode_it_came_in(plan: Plan) -> None:
    module = nn.Sequential(nn.AvgPool2d(8), nn.Dropout(0.9), nn.Flatten(), nn.Linear(48, 3)).train()
    mapping = ClassMapping(CLASSES, ((0,), (1,), (2,)))
    classifier = Classifier(module, Preprocessing(Fit(32)), mapping, "0")
    targets = draw_targets(plan.run, 2, 0)
    first, second = (measure_run(plan.run, classifier, Trial(2, 2), targets) for _ in range(2))
    assert first == second
    assert all(part.training for part in module.modules())


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["camaudit", *arguments])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    return int(exited.value.code or 0)


def test_the_verb_prints_a_table_and_leaves_a_report(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("faithfulness", str(plan.run.path), "--targets", "4", "--steps", "4", "--model", plan.task.spec.model)
    assert call(*asked, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("gradcam", "random", "centre", *MEASURES))
    written = read_json(plan.run.path / "report" / "faithfulness.json", "")
    assert (written["targets"], written["steps"], written["failed"]) == (4, 4, [])
    with Image.open(plan.run.path / "report" / "faithfulness.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height
    assert call(*asked, "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out) == written


def test_code_that_only_the_run_names_is_not_run(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("faithfulness", str(plan.run.path), monkeypatch=monkeypatch) == 1
    assert "--model" in capsys.readouterr().err


def test_a_run_without_maps_is_refused(tmp_path: Path) -> None:
    plan = finished(tmp_path, 4)
    for shard in plan.run.done():
        plan.run.withdraw(shard)
    with pytest.raises(RunError, match="No target"):
        draw_targets(Run.open(plan.run.path), 1, 0)
