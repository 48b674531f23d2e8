"""The model of a finished run, loaded again: the same weights, and no code that only a store names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from faults.collection import draw_collection, finished, write_model

from audit.errors import ModelError
from audit.images.views import Fit
from audit.models import ModelSpec, Preprocessing, build_architecture, save_checkpoint
from audit.store import Run
from audit.store.storage.files import read_json, write_json
from pipelines.experiments.model import model_of_run
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return finished(tmp_path_factory.mktemp("finished"), 4)


def copied(plan: Plan, folder: Path, **source: Any) -> Run:
    """A copy of a run whose record names other sources."""
    path = Path(shutil.copytree(plan.run.path, folder / "copy"))
    record = read_json(path / "run.json", "")
    record["source"] |= source
    write_json(path / "run.json", record)
    return Run.open(path)


def test_code_named_in_a_store_runs_only_when_the_user_names_it_again(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(plan.task.spec.model)
    with pytest.raises(ModelError, match=r"made with code, '.*model.py:build'; if you trust it, allow it with --model"):
        model_of_run(plan.run)
    with pytest.raises(ModelError, match="No weights file"):
        model_of_run(plan.run, "other.pt")
    classifier = model_of_run(plan.run, name)
    assert classifier.layer == "trunk"
    assert classifier.preprocessing.mean == (0.0, 0.0, 0.0)
    monkeypatch.chdir(plan.run.path.parent)
    assert model_of_run(plan.run, "model.py:build").classes == plan.run.classes


@pytest.mark.parametrize("arch", ["evil:build", "torchvision:evil.py:build", "evil.py:build.pt"])
def test_code_named_as_architecture_is_refused_too(plan: Plan, tmp_path: Path, arch: str) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({}, weights)
    run = copied(plan, tmp_path, model=str(weights), arch=arch)
    with pytest.raises(ModelError, match="made with code"):
        model_of_run(run)
    with pytest.raises(ModelError, match="made with code"):
        model_of_run(run, "another.pt")


def test_other_weights_than_the_runs_are_refused(plan: Plan, tmp_path: Path) -> None:
    other = write_model(tmp_path, seed=1)
    with pytest.raises(ModelError, match=r"Expected the weights that .* was made with"):
        model_of_run(plan.run, other.model)


def test_a_model_of_a_library_loads_as_recorded(tmp_path: Path) -> None:
    manifest = draw_collection(tmp_path, 3)
    spec = ModelSpec("torchvision:squeezenet1_1", "random:3", size=64, mapping=str(tmp_path / "mapping.json"))
    (tmp_path / "mapping.json").write_text(json.dumps({"disc": 0, "box": 1, "bar": 2}))
    run = prepare(str(manifest), str(tmp_path / "run"), spec, RunConfig()).run
    classifier = model_of_run(run)
    assert classifier.preprocessing.fit.size == 64
    assert classifier.layer == run.record["model"]["layer"]
    (tmp_path / "mapping.json").write_text(json.dumps({"disc": 0, "box": 1, "bar": 7}))
    with pytest.raises(ModelError, match=r"map to the same outputs; .*mapping\.json has changed"):
        model_of_run(run)


def test_a_file_that_moved_can_be_named_anew(tmp_path: Path) -> None:
    manifest = draw_collection(tmp_path, 3)
    torch.manual_seed(0)
    module = build_architecture("audit.models.small:build", 3)
    checkpoint = tmp_path / "a.pt"
    save_checkpoint(
        checkpoint, module, "audit.models.small:build", ("disc", "box", "bar"), Preprocessing(Fit(32)), "softmax"
    )
    run = prepare(str(manifest), str(tmp_path / "run"), ModelSpec(str(checkpoint)), RunConfig()).run
    moved = checkpoint.rename(tmp_path / "b.pt")
    with pytest.raises(ModelError, match=r"No weights file at .*a\.pt"):
        model_of_run(run)
    assert model_of_run(run, str(moved)).classes == ("disc", "box", "bar")
    with pytest.raises(ModelError, match="No weights"):
        model_of_run(run, "nowhere.pt")
