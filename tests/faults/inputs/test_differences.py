"""A run that would go on differently is refused with the difference shown, or set aside for a new one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.errors import ModelError, RunError
from audit.store import Run
from faults.collection import (
    CONFIG,
    account,
    audit_here,
    camaudit,
    command,
    draw_collection,
    finished,
    paint,
    planned,
    refusals,
    resumed,
    write_model,
)
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Stopped, audit_shard


def changed_config(plan: Plan) -> Plan:
    return resumed(plan, config=replace(CONFIG, method="cam"))


def changed_targets(plan: Plan) -> Plan:
    return resumed(plan, config=replace(CONFIG, roles=("label",)))


def changed_weights(plan: Plan) -> Plan:
    write_model(plan.run.path.parent, seed=1)
    return resumed(plan)


def changed_manifest(plan: Plan) -> Plan:
    draw_collection(plan.run.path.parent, 11)
    return resumed(plan)


def changed_normalisation(plan: Plan) -> Plan:
    folder = plan.run.path.parent
    spec = replace(plan.task.spec, mean=(0.5, 0.5, 0.5))
    return prepare(str(folder / "manifest.parquet"), str(plan.run.path), spec, CONFIG)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (changed_config, "config.method: gradcam -> cam"),
        (changed_targets, r"config.roles: \['label', 'predicted'\] -> \['label'\]"),
        (changed_weights, "model.fingerprint: [0-9a-f]{16} -> [0-9a-f]{16}"),
        (changed_manifest, "manifest: [0-9a-f]{16} -> [0-9a-f]{16}"),
        (changed_normalisation, r"model.mean: \[0.0, 0.0, 0.0\] -> \[0.5, 0.5, 0.5\]"),
    ],
)
def test_another_configuration_model_or_manifest_is_refused_with_the_difference(
    change: Any, shown: str, tmp_path: Path
) -> None:
    plan = finished(tmp_path)
    with pytest.raises(RunError, match=rf"was begun differently \({shown}\); .*--set-aside"):
        change(plan)
    assert plan.run.account().processed == 10


def test_a_run_begun_differently_can_be_set_aside_and_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = finished(tmp_path)
    for number in (1, 2):
        other = resumed(plan, config=replace(CONFIG, shard_size=4 + number), set_aside=True)
        assert not other.resumed
        assert account(other.run.path, monkeypatch, capsys)["pending"] == 10
        assert account(tmp_path / f"run.{number}", monkeypatch, capsys)["shards"] == (3 if number == 1 else 2)
    assert Run.open(tmp_path / "run.1").account().processed == 10


def test_set_aside_leaves_a_run_that_does_not_differ_where_it_is(tmp_path: Path) -> None:
    plan = finished(tmp_path)
    assert resumed(plan, set_aside=True).resumed
    assert not (tmp_path / "run.1").exists()


def test_a_refusal_is_one_line_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(tmp_path)
    capsys.readouterr()
    assert camaudit(command(tmp_path, shard_size=8), monkeypatch) == 1
    message = capsys.readouterr().err
    assert "config.shard_size: 4 -> 8" in message
    assert len(refusals(message)) == 1


def test_a_worker_with_other_weights_than_the_run_began_with_is_refused(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    write_model(tmp_path, seed=1)
    end = audit_shard(plan.task, plan.run.shards[0])
    assert isinstance(end, Stopped)
    assert "Expected the weights that the run began with" in end.reason
    assert plan.run.account().pending == 10


def test_an_image_that_changed_shows_in_its_digest(tmp_path: Path) -> None:
    plan = finished(tmp_path)
    before = plan.run.read("samples", plan.run.shards[0])["digest"].to_pylist()
    paint(tmp_path / "001.png", (1, 2, 3))
    plan.run.withdraw(plan.run.shards[0])
    audit_here(plan)
    after = plan.run.read("samples", plan.run.shards[0])["digest"].to_pylist()
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True, True]


def test_cam_on_a_model_without_a_linear_head_is_refused_by_name(tmp_path: Path) -> None:
    manifest = draw_collection(tmp_path, 4)
    spec = replace(write_model(tmp_path), layer="trunk.0")
    with pytest.raises(ModelError, match="CAM needs global average pooling"):
        prepare(str(manifest), str(tmp_path / "run"), spec, replace(CONFIG, method="cam"))
    assert not (tmp_path / "run").exists()
