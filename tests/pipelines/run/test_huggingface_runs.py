"""Runs with classifiers of transformers: begun, broken off, gone on with, flagged, asked again."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.collection import CLASSES, CONFIG, audit_here, contents, draw_collection
from tiny_transformers import FAMILIES, save_family

from audit.findings import Findings
from audit.models import ModelSpec, weights_fingerprint
from audit.store import Run
from pipelines.experiments.model import model_of_run
from pipelines.run.plan import prepare
from pipelines.run.shards.shard import Finished, audit_shard
from pipelines.run.start import portable

pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_that_was_broken_off_ends_as_one_that_was_not(family: str, tmp_path: Path) -> None:
    manifest = str(draw_collection(tmp_path, 8))
    spec = ModelSpec(f"hf:{save_family(FAMILIES[family], tmp_path / 'model')}")
    whole = prepare(manifest, str(tmp_path / "whole"), spec, CONFIG)
    assert all(isinstance(end, Finished) for end in audit_here(whole))

    begun = prepare(manifest, str(tmp_path / "run"), spec, CONFIG)
    assert isinstance(audit_shard(begun.task, begun.run.shards[0]), Finished)
    again = prepare(manifest, str(tmp_path / "run"), spec, CONFIG)
    assert again.resumed
    assert len(audit_here(again)) == len(begun.run.shards) - 1
    assert contents(again.run) == contents(whole.run)

    assert again.run.record["model"]["fingerprint"] == weights_fingerprint(model_of_run(again.run).module)
    assert again.run.classes == CLASSES
    summary = Findings(Run.open(again.run.path)).summary()
    assert summary is not None
    assert sum(summary["targets"].values()) >= 8


def test_a_folder_is_recorded_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert portable(ModelSpec("hf:model")).model == f"hf:{tmp_path / 'model'}"
    assert portable(ModelSpec("hf:org/name")).model == "hf:org/name"
