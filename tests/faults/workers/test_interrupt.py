"""Ctrl-C and SIGTERM: running shards finish or are dropped, the command that resumes is printed, nothing is left."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from threading import Timer
from types import SimpleNamespace

import pytest
from distributed import Client
from made_cluster import MadeClient, MadeFuture

from audit.progress import Advanced, Event, Noted
from audit.store import Run, Shard
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
from pipelines import interrupts
from pipelines.run.config import ClusterConfig
from pipelines.run.plan import prepare
from pipelines.run.shards.shard import Finished
from pipelines.run.workers.crew import Crew
from pipelines.run.workers.schedule import Dispatch, submit_all


def test_ctrl_c_ends_a_run_soon_with_130_and_the_command_that_completes_it_to_equal_results(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = draw_collection(tmp_path, 40)
    whole = prepare(str(manifest), str(tmp_path / "whole"), write_model(tmp_path), CONFIG)
    audit_here(whole)
    write_model(tmp_path, slowly(0.4))
    run = tmp_path / "run"
    process = launch(command(tmp_path, workers=1))
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
    process = launch(command(tmp_path, workers=1))
    wait_until(lambda: (tmp_path / "run/lock.json").exists(), 60, "the run to begin")
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Go on with" in said
    no_process_is_left_of(process.pid)


@pytest.mark.parametrize("target", ["the group", "the command alone"])
def test_sigterm_lets_running_shards_finish_says_how_to_go_on_and_leaves_nothing(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path, 40)
    write_model(tmp_path, slowly(0.4))
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = launch(command(tmp_path))
    wait_until(lambda: any((run / "ledger").glob("*.json")), 60, "a first shard")
    send = os.killpg if target == "the group" else os.kill
    send(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=40)
    assert process.returncode == 143
    assert "Traceback" not in said
    assert re.search(r"interrupted: finishing \d running shards \(20 s at most\)", said)
    assert said.strip().splitlines()[-1].strip().startswith("camaudit run ")
    no_process_is_left_of(process.pid)
    assert list(scratch.iterdir()) == []
    assert 0 < account(run, monkeypatch, capsys)["processed"] < 40


@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (signal.SIGTERM, 143, "loading torch"),
        (signal.SIGTERM, 143, "starting workers"),
        (signal.SIGINT, 130, "loading torch"),
        (signal.SIGINT, 130, "starting workers"),
    ],
    ids=lambda value: str(value),
)
def test_signals_at_the_start_even_twice_end_a_run_without_a_traceback(
    number: signal.Signals, code: int, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_collection(tmp_path, 4)
    write_model(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = launch(command(tmp_path, workers=1))
    assert process.stderr is not None
    while moment not in (line := process.stderr.readline()):
        assert line, f"{moment} was never said"
    time.sleep(0.3)
    for _ in range(2):
        os.killpg(process.pid, number)
        time.sleep(0.1)
    _, said = process.communicate(timeout=40)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "interrupted" in said
    no_process_is_left_of(process.pid)
    assert list(scratch.iterdir()) == []


def test_a_drain_ends_with_its_grace_and_tells_what_was_finished() -> None:
    client, told = MadeClient(["w"]), list[Event]()
    shards = [Shard(index, index, index + 1) for index in range(4)]
    dispatch = Dispatch(client, Crew(client, ClusterConfig(), told.append), shards, Finished, told.append, None)
    list(dispatch._crew.look())
    dispatch._refill()
    finished_one, stuck = client.submitted
    client.processing = lambda: {"w": (finished_one.key, stuck.key)}  # type: ignore[attr-defined]
    finished_one.end("finished", Finished(shards[0], 1, 0))
    began = time.monotonic()
    dispatch.drain(0.3)
    assert 0.3 <= time.monotonic() - began < 15
    assert told == [Noted("interrupted: finishing 2 running shards (0 s at most)"), Advanced(1)]


def test_a_drain_waits_for_shards_of_workers_whose_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.run.workers.crew.LOOK_EVERY_S", 0.0)
    client, told, shard = MadeClient(["w"]), list[Event](), Shard(0, 0, 4)
    dispatch = Dispatch(client, Crew(client, ClusterConfig(), told.append), [shard], Finished, told.append, None)
    list(dispatch._crew.look())
    dispatch._refill()
    (future,) = client.submitted
    client.processing = lambda: {"w": (future.key,)}  # type: ignore[attr-defined]
    client.threads, client.executing = {}, 1
    list(dispatch._crew.look())
    Timer(0.3, future.end, ("finished", Finished(shard, 4, 0))).start()
    dispatch.drain(20)
    assert told[1:] == [Advanced(4)]


@pytest.mark.parametrize("lost", ["before", "meanwhile"])
def test_a_scheduler_lost_around_an_interrupt_leaves_it_an_interrupt(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.run.workers.crew.LOOK_EVERY_S", 0.0)
    client = MadeClient(["w"])

    def refuse() -> None:
        raise OSError("connection closed")

    def processing() -> dict[str, tuple[str, ...]]:
        return {"w": (client.submitted[0].key,)} if lost == "meanwhile" else refuse() or {}

    def interrupt(_future: MadeFuture) -> None:
        client.scheduler = SimpleNamespace(ncores_running=refuse)
        raise KeyboardInterrupt

    client.processing, client.react = processing, interrupt  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        submit_all(client, [Shard(0, 0, 4)], Finished)  # type: ignore[arg-type]


def test_a_signal_of_before_does_not_decide_how_a_later_command_ends() -> None:
    with pytest.raises(interrupts.Terminated), interrupts.listening() as heard:
        heard.hear(signal.SIGTERM, None)
    assert heard.exit_code == 143
    with interrupts.listening() as heard:
        assert heard.exit_code == 130
