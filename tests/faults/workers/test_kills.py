"""Killed at any moment: the same command goes on, and the result equals an uninterrupted run byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from distributed import Client

from audit.errors import AuditError
from audit.store import Run
from faults.collection import (
    CONFIG,
    account,
    audit_here,
    camaudit,
    command,
    connected,
    contents,
    draw_collection,
    finished,
    launch,
    no_process_is_left_of,
    planned,
    resumed,
    slowly,
    wait_until,
    write_model,
)
from pipelines.run.plan import prepare
from pipelines.run.shards.shard import Finished, audit_shard
from pipelines.run.workers.schedule import pending

COUNT = 26


def entries(run: Path) -> int:
    return len(list((run / "ledger").glob("*.json")))


def grown(run: Path, before: int) -> bool:
    return entries(run) > before


def uninterrupted(folder: Path, count: int = COUNT) -> dict[str, str]:
    """Contents of a run over the collection that lies there."""
    spec = write_model(folder)
    plan = prepare(str(folder / "manifest.parquet"), str(folder / "whole"), spec, CONFIG)
    audit_here(plan)
    return contents(plan.run)


def test_a_run_whose_worker_is_killed_finishes_and_equals_an_uninterrupted_one(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path, COUNT)
    whole = uninterrupted(tmp_path)
    write_model(tmp_path, slowly(0.1))
    victim = int(np.random.default_rng(1).choice(list(client.run(os.getpid).values())))
    run = tmp_path / "run"

    def kill() -> None:
        wait_until(lambda: entries(run) >= 1, 60, "a first shard")
        os.kill(victim, signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    killer.join()
    assert victim not in client.run(os.getpid).values()
    assert contents(Run.open(run)) == whole
    assert account(run, monkeypatch, capsys)["processed"] == COUNT


def test_a_run_killed_whole_again_and_again_ends_equal_to_an_uninterrupted_one(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path, COUNT)
    whole = uninterrupted(tmp_path)
    write_model(tmp_path, slowly(0.1))
    run = tmp_path / "run"
    generator = np.random.default_rng(2)
    for _ in range(2):
        before = entries(run)
        process = launch(command(tmp_path, workers=1))
        wait_until(partial(grown, run, before), 60, "a shard")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=float(generator.uniform(0, 0.4)))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        no_process_is_left_of(process.pid)
        done = account(run, monkeypatch, capsys)
        assert before < done["shards_done"] < done["shards"]
    orphan = run / "targets/part-00003.parquet.123.partial"
    orphan.write_bytes(b"half")

    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    said = capsys.readouterr().err
    assert "ended without finishing" in said
    assert "swept" in said
    assert not list(run.rglob("*.partial"))
    assert contents(Run.open(run)) == whole
    assert account(run, monkeypatch, capsys)["processed"] == COUNT


def test_a_run_goes_on_with_more_or_fewer_workers_and_ends_equal(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path, COUNT)
    whole = uninterrupted(tmp_path)
    for shard in pending(plan.run)[::2]:
        assert isinstance(audit_shard(plan.task, shard), Finished)
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    assert contents(plan.run) == whole


def test_killed_while_a_run_is_laid_out_it_is_laid_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("audit.store.run.write_json", _die)
        with pytest.raises(KeyboardInterrupt):
            planned(tmp_path)
    (tmp_path / "run/run.json.12.partial").write_text("{")
    plan = planned(tmp_path)
    assert not plan.resumed
    audit_here(plan)
    assert plan.run.account().processed == 10


@pytest.mark.parametrize("step", ["maps.arrays.write_maps", "artefacts.write_part", "ledger.write_json"])
def test_killed_between_artefacts_and_ledger_entry_the_shard_is_redone_without_duplicate_rows(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(finished(tmp_path / "whole").run)
    plan = planned(tmp_path / "killed")
    shards = pending(plan.run)
    audit_shard(plan.task, shards[0])
    with monkeypatch.context() as patch:
        patch.setattr(f"audit.store.{step}", _die)
        with pytest.raises(KeyboardInterrupt):
            audit_shard(plan.task, shards[1])
    assert pending(plan.run) == shards[1:]
    audit_here(plan)
    assert contents(plan.run) == whole
    rows = [row for shard in plan.run.done() for row in plan.run.read("samples", shard)["sample"].to_pylist()]
    assert rows == list(range(10))


def test_a_shard_killed_while_it_is_done_again_is_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = finished(tmp_path)
    whole, shard = contents(plan.run), plan.run.shards[1]
    entry = plan.run.entry(shard)
    assert entry is not None
    plan.run.commit(shard, None, {}, {**entry, "transient": 1}, entry)  # to be done again
    with monkeypatch.context() as patch:
        patch.setattr("audit.store.artefacts.write_part", _die)
        with pytest.raises(KeyboardInterrupt):
            audit_shard(plan.task, shard)
    assert plan.run.account().processed == 10
    assert list(plan.run.damaged()) == []
    audit_here(resumed(plan))
    assert contents(plan.run) == whole


def test_a_death_during_the_commit_is_blamed_on_no_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path)
    noted: list[list[Path]] = []

    def die(*_arguments: object) -> None:
        noted.append(list((plan.run.path / "ledger").glob("*.trying")))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("audit.store.Run.commit", die)
        with pytest.raises(KeyboardInterrupt):
            audit_shard(replace(plan.task, careful=True), plan.run.shards[0])
    assert noted == [[]]


def _die(*_arguments: object, **_options: object) -> None:
    """Ends the process as far as the code under test can tell: nothing handles it."""
    raise KeyboardInterrupt


def test_a_damaged_run_json_is_one_line(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    (plan.run.path / "run.json").write_text("{")
    with pytest.raises(AuditError, match=r"Cannot read .*run\.json"):
        Run.open(plan.run.path)
