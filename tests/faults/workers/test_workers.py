"""Images that kill their worker, workers that cannot load the model, schedulers that do not answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client

from audit.errors import RunError
from audit.store import Run
from faults.attached import Attached, attached
from faults.collection import (
    BAD,
    HOARD,
    KILL,
    RAISE,
    account,
    camaudit,
    command,
    connected,
    draw_collection,
    launch,
    paint,
    planned,
    slowly,
    statuses,
    wait_until,
    write_model,
)
from pipelines.run.config import ClusterConfig
from pipelines.run.shards.shard import _explainer, audit_shard
from pipelines.run.workers.client import connect


@pytest.fixture
def hasty(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A cluster whose runs look closer at once: each death costs seconds."""
    monkeypatch.setattr("pipelines.run.workers.quarantine._TO_LOOK_CLOSER", 1)
    return client


def test_an_image_that_takes_all_memory_is_quarantined_and_all_others_complete(
    hasty: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.run.workers.quarantine._TO_LEAVE_OUT", 1)
    draw_collection(tmp_path, 8)
    paint(tmp_path / "005.png", BAD)
    write_model(tmp_path, HOARD)
    with connected(hasty, monkeypatch):
        assert camaudit(command(tmp_path, "--max-failed", "0.2"), monkeypatch) == 0
    assert statuses(Run.open(tmp_path / "run"))["005"] == "killed the worker that read it"
    assert account(tmp_path / "run", monkeypatch, capsys)["processed"] == 7


def test_an_image_that_kills_alone_twice_is_quarantined_tried_once_more_and_then_when_asked(
    hasty: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path, 8)
    paint(tmp_path / "005.png", BAD)
    write_model(tmp_path, KILL)
    run, told = tmp_path / "run", "sample 5 keeps killing its worker: quarantined"
    entry = run / "ledger/00001.json"
    with connected(hasty, monkeypatch):
        for again, retried in ((True, False), (True, True), (False, True)):
            assert camaudit(command(tmp_path, "--max-failed", "0.2"), monkeypatch) == 0
            assert (told in capsys.readouterr().err) == again
            counts = json.loads(entry.read_text())
            assert (counts["quarantined"], counts["retried"], counts["failed"]) == (1, retried, 1)
        reasons = statuses(Run.open(run))
        assert reasons.pop("005") == "killed the worker that read it"
        assert set(reasons.values()) == {None}
        record = account(run, monkeypatch, capsys)
        assert (record["processed"], record["failed"], record["quarantined"]) == (7, 1, 1)
        assert not list((run / "ledger").glob("*.trying"))

        write_model(tmp_path)
        hasty.run(_explainer.cache_clear)
        assert camaudit(["repair", str(run), "--quarantined"], monkeypatch) == 0
        assert "1 samples in quarantine to be tried again" in capsys.readouterr().out
        assert account(run, monkeypatch, capsys)["pending"] == 4
        assert camaudit(command(tmp_path), monkeypatch) == 0
    assert account(run, monkeypatch, capsys)["processed"] == 8


def test_a_sample_that_was_left_out_though_innocent_is_brought_back_by_the_same_command(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, 8)
    task = replace(plan.task, careful=True, quarantined=frozenset({5}))
    assert [audit_shard(task, shard) for shard in plan.run.shards][1].failed == 1
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    record = account(plan.run.path, monkeypatch, capsys)
    assert (record["processed"], record["quarantined"]) == (8, 0)


def test_a_model_that_ends_every_worker_that_loads_it_ends_the_run_with_one_line(
    hasty: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path, 4)
    write_model(tmp_path, on_build="if multiprocessing.parent_process(): os.kill(os.getpid(), signal.SIGKILL)")
    with connected(hasty, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("camaudit: Workers die before the first of samples 0 to 3")
    assert "--memory" in message
    assert account(tmp_path / "run", monkeypatch, capsys)["pending"] == 4


@pytest.mark.parametrize(
    ("trap", "on_build", "reason"),
    [
        ("pass", "if multiprocessing.parent_process(): raise OSError('no such device')", "no such device"),
        (RAISE, "pass", "KeyError: 'bad colour' "),
    ],
    ids=["does not load on a worker", "raises on an image"],
)
def test_a_model_that_fails_on_a_worker_ends_the_run_early_with_the_reason(
    trap: str,
    on_build: str,
    reason: str,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw_collection(tmp_path, 12)
    paint(tmp_path / "001.png", BAD)
    write_model(tmp_path, trap, on_build=on_build)
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("camaudit: ")
    assert reason in message
    assert account(tmp_path / "run", monkeypatch, capsys)["pending"] > 0

    write_model(tmp_path)
    client.run(_explainer.cache_clear)
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    assert account(tmp_path / "run", monkeypatch, capsys)["processed"] == 12


@pytest.mark.parametrize("place", ["tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1:9"])
def test_a_scheduler_that_does_not_answer_is_an_error_within_the_timeout(place: str) -> None:
    with (
        pytest.raises(RunError, match="No scheduler answers at"),
        connect(ClusterConfig(scheduler=place, timeout_s=1)),
    ):
        pass


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Attached]:
    """A scheduler and one worker that are processes of their own."""
    with attached(tmp_path / "cluster") as cluster:
        cluster.worker()
        cluster.wait_for(1)
        yield cluster


def test_a_run_that_loses_its_scheduler_ends_soon_with_one_line_and_the_same_command_completes_it(
    elsewhere: Attached,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw_collection(tmp_path, 60)
    write_model(tmp_path, slowly(0.3))
    process = launch(command(tmp_path, "--scheduler-file", str(elsewhere.file)))
    wait_until(lambda: any((tmp_path / "run/ledger").glob("*.json")), 60, "a first shard")
    elsewhere.end()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("camaudit: Lost the scheduler")
    assert 0 < account(tmp_path / "run", monkeypatch, capsys)["processed"] < 60
    write_model(tmp_path)
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    assert account(tmp_path / "run", monkeypatch, capsys)["processed"] == 60


def test_a_scheduler_file_that_is_missing_is_an_error_not_a_hang(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match="No connection file"),
        connect(ClusterConfig(scheduler_file=str(tmp_path / "none.json"), timeout_s=1)),
    ):
        pass


def test_a_run_whose_workers_are_all_gone_says_so_and_uses_those_that_come_back(
    elsewhere: Attached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path, 40)
    write_model(tmp_path, f"time.sleep(0 if os.path.exists({str(tmp_path / 'hurry')!r}) else 0.5)")
    told = command(tmp_path, "--scheduler-file", str(elsewhere.file), "--wait", "120")
    process = launch(told, first="import pipelines.run.workers.crew as crew; crew.TELL_AFTER_S = 1.0")
    assert process.stderr is not None
    wait_until(lambda: any((tmp_path / "run/ledger").glob("*.json")), 60, "a first shard")
    elsewhere.processes[-1].kill()
    while "no workers, waiting for 120 s at most" not in (line := process.stderr.readline()):
        assert line, "it was never said"
    (tmp_path / "hurry").touch()
    elsewhere.worker()
    _, said = process.communicate(timeout=90)
    assert process.returncode == 0, said
    assert "workers are back: going on" in said
    assert account(tmp_path / "run", monkeypatch, capsys)["processed"] == 40
