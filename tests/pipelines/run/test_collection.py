"""A plain folder as what a run audits: what is taken, which classes, and what becomes of a folder that changes."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faults.collection import CONFIG, audit_here, camaudit, command, refusals, save, write_model

from audit.datasets import Manifest
from audit.errors import ManifestError, ModelError, RunError
from audit.models import ModelSpec
from audit.progress import Event, Noted
from audit.store import Run
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare


def draw(folder: Path, *names: str) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        save(folder / f"{name}.png", rng.integers(0, 255, (40, 48, 3), dtype=np.uint8))
    return folder


def begin(folder: Path, spec: ModelSpec, config: RunConfig = CONFIG, set_aside: bool = False) -> tuple[Plan, list[str]]:
    """A run beside the folder, and what was told."""
    said: list[str] = []

    def note(event: Event, /) -> None:
        said.extend([event.text] if isinstance(event, Noted) else [])

    return prepare(str(folder), str(folder.parent / "run"), spec, config, set_aside, note), said


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return write_model(tmp_path)


def test_a_flat_folder_has_no_labels_and_the_classes_of_the_model(tmp_path: Path, spec: ModelSpec) -> None:
    plan, said = begin(draw(tmp_path / "photos", "a", "b"), replace(spec, classes=("red", "green", "blue")))
    assert plan.run.classes == ("red", "green", "blue")
    assert f"{tmp_path}/photos: 2 images without labels; no masks; 3 classes, named by --classes" in said
    assert plan.run.record["config"]["roles"] == ["predicted", "runner_up"]
    audit_here(plan)
    targets = plan.run.read("targets", plan.run.shards[0]).to_pydict()
    assert targets["role"] == ["predicted", "runner_up"] * 2
    assert set(targets["class"]) <= {"red", "green", "blue"}


def test_outputs_without_names_are_numbered_and_the_line_says_how_to_name_them(tmp_path: Path, spec: ModelSpec) -> None:
    plan, said = begin(draw(tmp_path / "photos", "a"), spec)
    assert plan.run.classes == ("class 0", "class 1", "class 2")
    assert any(line.endswith("3 classes, which have no names; give them with --classes FILE") for line in said)


def test_class_folders_are_labels(tmp_path: Path, spec: ModelSpec) -> None:
    named = replace(spec, classes=("red", "green", "blue"))
    plan, said = begin(draw(tmp_path / "photos", "blue/a", "red/b"), named)
    assert plan.run.classes == ("blue", "red")
    assert plan.run.record["model"]["outputs"] == [[2], [0]]
    assert [sample.labels for sample in plan.run.manifest()] == [(0,), (1,)]
    assert plan.run.record["config"]["roles"] == ["label", "predicted"]
    assert f"{tmp_path}/photos: 2 images in 2 class folders (blue, red); no masks" in said


def test_folders_that_are_no_class_of_the_model_give_no_labels_and_that_is_told(
    tmp_path: Path, spec: ModelSpec
) -> None:
    named = replace(spec, classes=("red", "green", "blue"))
    plan, said = begin(draw(tmp_path / "photos", "2019/a", "2020/b"), named)
    assert plan.run.classes == ("red", "green", "blue")
    assert any("without labels, for none of its folders is a class of the model (2019, 2020)" in line for line in said)


def test_class_folders_of_a_model_without_names_are_not_guessed(tmp_path: Path, spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match=r"Expected 2 outputs, one a class, got 3 without names; name them"):
        begin(draw(tmp_path / "photos", "blue/a", "red/b"), spec)


def test_a_manifest_without_classes_has_those_of_the_model(tmp_path: Path, spec: ModelSpec) -> None:
    from audit.datasets import read_folder

    manifest = read_folder(draw(tmp_path / "photos", "a", "b")).save(tmp_path / "photos.parquet")
    plan, _ = begin(manifest, spec)
    assert plan.run.classes == ("class 0", "class 1", "class 2")
    assert begin(manifest, spec)[0].resumed


def test_other_targets_than_the_usual_are_left_as_asked(tmp_path: Path, spec: ModelSpec) -> None:
    plan, _ = begin(draw(tmp_path / "photos", "a"), spec, replace(CONFIG, roles=("predicted",)))
    assert plan.run.record["config"]["roles"] == ["predicted"]


def test_the_same_folder_resumes_and_the_run_keeps_its_manifest(tmp_path: Path, spec: ModelSpec) -> None:
    folder = draw(tmp_path / "photos", "a", "b")
    first, _ = begin(folder, spec)
    second, said = begin(folder, spec)
    assert second.resumed
    assert not any("since the run began" in line for line in said)
    kept = Manifest.open(first.run.path / "manifest.parquet")
    assert [Path(sample.image) for sample in kept] == [folder / "a.png", folder / "b.png"]


def test_a_folder_whose_images_came_or_went_is_refused_and_both_ways_on_work(tmp_path: Path, spec: ModelSpec) -> None:
    folder = draw(tmp_path / "photos", "a", "b", "c")
    run = begin(folder, spec)[0].run
    draw(folder, "d", "e")
    (folder / "b.png").unlink()
    with pytest.raises(RunError, match=r"has changed since .* began: 2 came \(d, e\) and 1 went \(b\); audit it as"):
        begin(folder, spec)
    assert prepare(str(run.path / "manifest.parquet"), str(run.path), spec, CONFIG).resumed
    assert begin(folder, spec, set_aside=True)[0].run.samples == 4
    assert Run.open(tmp_path / "run.1").samples == 3


def test_images_written_since_are_told_and_the_run_goes_on(tmp_path: Path, spec: ModelSpec) -> None:
    folder = draw(tmp_path / "photos", "a", "b")
    begin(folder, spec)
    later = time.time() + 60
    os.utime(folder / "b.png", (later, later))
    plan, said = begin(folder, spec)
    assert plan.resumed
    assert any(line.startswith(f"images of {folder} that were written since the run began: 1;") for line in said)


def test_a_run_inside_of_its_folder_is_refused(tmp_path: Path, spec: ModelSpec) -> None:
    folder = draw(tmp_path / "photos", "a")
    with pytest.raises(ManifestError, match="Expected a run outside of the folder of images"):
        prepare(str(folder), str(folder / "run"), spec, CONFIG)


def test_a_folder_of_voc_is_sent_to_its_index(tmp_path: Path, spec: ModelSpec) -> None:
    draw(tmp_path / "kit" / "VOC2012" / "JPEGImages", "a")
    (tmp_path / "kit" / "VOC2012" / "ImageSets").mkdir()
    for root in (tmp_path / "kit", tmp_path / "kit" / "VOC2012"):
        with pytest.raises(ManifestError, match="laid out as PASCAL VOC; index it with its masks"):
            begin(root, spec)


def test_the_command_takes_a_folder_and_names_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path)
    folder = draw(tmp_path / "photos", "a", "b")
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    arguments = command(tmp_path, "--classes", str(tmp_path / "names.txt"), workers=1)
    arguments[1] = str(folder)
    assert camaudit(arguments, monkeypatch) == 0
    assert "2 processed + 0 failed" in capsys.readouterr().out
    assert camaudit(arguments, monkeypatch) == 0
    assert Run.open(tmp_path / "run").classes == ("red", "green", "blue")
    (tmp_path / "names.txt").write_text("red\n")
    assert camaudit(arguments, monkeypatch) == 1
    assert "Expected 3 class names" in refusals(capsys.readouterr().err)[-1]
