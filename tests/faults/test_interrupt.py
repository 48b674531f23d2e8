"""Ctrl-C: running shards finish or are dropped, the command that resumes is printed, exit 130, no process is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from distributed import Client

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
    launch,
    no_process_is_left_of,
    slowly,
    wait_until,
    write_model,
)
from pipelines.run.plan import prepare


def test_ctrl_c_ends_a_run_soon_with_130_and_the_command_that_completes_it_to_equal_results(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = draw_collection(tmp_path, 40)
    whole = prepare(str(manifest), str(tmp_path / "whole"), write_model(tmp_path), CONFIG)
    audit_here(whole)
    write_model(tmp_path, slowly(0.2))
    run = tmp_path / "run"
    process = launch(command(tmp_path))
    wait_until(lambda: any((run / "ledger").glob("*.json")), 60, "a first shard")
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 30
    assert process.returncode == 130
    assert "interrupted; what is finished is kept" in said
    assert said.strip().splitlines()[-1].strip().startswith(f"camaudit run {manifest} --model")
    assert "Traceback" not in said
    no_process_is_left_of(process.pid)
    record = account(run, monkeypatch, capsys)
    assert 0 < record["processed"] < 40
    assert camaudit(["status", str(run), "--check"], monkeypatch) == 0

    write_model(tmp_path)
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    assert contents(Run.open(run)) == contents(whole.run)


def test_ctrl_c_before_the_workers_are_there_ends_the_run_too(tmp_path: Path) -> None:
    draw_collection(tmp_path, 4)
    write_model(tmp_path)
    process = launch(command(tmp_path))
    wait_until(lambda: (tmp_path / "run/lock.json").exists(), 60, "the run to begin")
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Go on with" in said
    no_process_is_left_of(process.pid)
