"""Processes that score beside a worker: the same tables, one line for an error, and nothing left behind."""

from __future__ import annotations

import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faults.collection import CONFIG, draw_collection, wait_until, write_model

from audit.datasets import Objects, Sample
from audit.errors import RunError
from audit.images import View
from audit.scores.scorer import Targets
from pipelines.run.config import ClusterConfig
from pipelines.run.plan import prepare
from pipelines.run.shards import scorers as processes
from pipelines.run.shards import shard as shard_module
from pipelines.run.shards.scorers import InOrder, Scorers, scorers_of, usual_count
from pipelines.run.shards.scoring import Batch, ObjectsReader, ScoredBatch, Subject, score_batch
from pipelines.run.shards.shard import Finished, audit_shard

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # a process that is lost is made up for
SIZE = (40, 50)


@pytest.fixture(scope="module")
def one() -> Iterator[Scorers]:
    """A process, which takes seconds to start."""
    made = Scorers(1)
    yield made
    made.close()


def subject(row: int, objects: Objects | None = None, sample: Sample | None = None) -> Subject:
    maps = np.random.default_rng(row).random((2, 7, 7)).astype(np.float16)
    targets = Targets(np.arange(2), np.array([0, 1]), np.ones(2, bool), np.array([True, False]))
    known = Objects(np.repeat(np.array([[1, 2]], np.int16), [20, 30], axis=1).repeat(40, axis=0), "mask")
    return Subject(
        row,
        sample or Sample(f"sample {row}", "none.png"),
        SIZE,
        View(0.0, 0.0, 50.0, 40.0),
        224,
        targets,
        np.array([0.9, 0.2], np.float32),
        maps,
        objects or known,
    )


def batch(*rows: int) -> Batch:
    rng = np.random.default_rng(sum(rows))
    weights = rng.standard_normal((len(rows), 2, 600, 1, 1)).astype(np.float32)
    activation = rng.random((len(rows), 600, 7, 7)).astype(np.float32)  # large enough to travel uncopied
    return Batch([subject(row) for row in rows], weights, activation, 3, checked=True)


def content(scored: ScoredBatch) -> dict[str, object]:
    tables = scored.scorer.result()
    tables |= {name: getattr(scored, name).columns() for name in ("detections", "features", "channels")}
    rows = {
        f"{table}.{name}": list(map(str, column))
        for table, columns in tables.items()
        for name, column in columns.items()
    }
    return rows | {"transient": scored.transient, "suspects": [str(suspect) for suspect in scored.suspects]}


def broken(row: int) -> Batch:
    """One whose second sample has fewer maps than targets."""
    wrong = replace(subject(row), maps=np.ones((1, 7, 7), np.float16))
    return replace(batch(1, 2), subjects=[subject(1), wrong])


def test_a_process_gives_what_the_worker_gives(one: Scorers) -> None:
    for rows in ((3, 4, 5), (6,)):
        assert content(one.submit(batch(*rows)).result()) == content(score_batch(batch(*rows)))


def test_what_stops_a_sample_is_one_line_about_it_and_the_process_goes_on(one: Scorers) -> None:
    line = r"^Scoring sample 8 \('sample 8'\) stopped with \w+: .*\(.*\.py:\d+\)$"
    for score in (score_batch, lambda what: one.submit(what).result()):
        with pytest.raises(RunError, match=line) as error:
            score(broken(8))
        assert "\n" not in str(error.value)
    assert content(one.submit(batch(3)).result()) == content(score_batch(batch(3)))


def test_masks_are_read_by_the_process_and_what_may_pass_is_told(one: Scorers, tmp_path: Path) -> None:
    unread = replace(subject(1, sample=Sample("a", "none.png", (0,), str(tmp_path / "no.png"))), objects=None)
    asked = replace(batch(1), subjects=[unread], read=ObjectsReader("index", 3))
    scored = one.submit(asked).result()
    assert set(scored.scorer.result()["scores"]["status"]) == {"bad_mask"}
    assert "No such file" in str(scored.scorer.result()["scores"]["reason"][0])
    assert content(scored) == content(score_batch(asked))


def test_batches_wait_for_room_and_are_kept_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    going, may_go, kept = [], threading.Event(), []

    def slow(_process: object, what: Batch) -> ScoredBatch:
        going.append(what)
        may_go.wait(10)
        time.sleep(0.05 if len(going) % 2 else 0)
        return ScoredBatch()

    monkeypatch.setattr(processes._Process, "score", slow)
    two = Scorers(2)
    order = InOrder(lambda tag, _batch, _scored: kept.append(tag), two)
    full = threading.Thread(target=lambda: [order.put(tag, batch(tag)) for tag in range(7)])
    full.start()
    wait_until(lambda: len(going) >= 2, 10, "two processes to be at work")
    time.sleep(0.05)
    assert full.is_alive()  # four are in hand, two of them with a process
    assert (len(going), kept) == (2, [])
    may_go.set()
    full.join(10)
    order.finish()
    assert kept == list(range(7))
    two.close()


def test_what_is_done_behind_a_slow_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    done, may_go = list[int](), threading.Event()

    def slow_first(_process: object, what: Batch) -> ScoredBatch:
        if what.subjects[0].row == 0:
            may_go.wait(10)
        done.append(what.subjects[0].row)
        return ScoredBatch()

    monkeypatch.setattr(processes._Process, "score", slow_first)
    two, kept = Scorers(2), list[int]()
    order = InOrder(lambda tag, _batch, _scored: kept.append(tag), two)
    full = threading.Thread(target=lambda: [order.put(tag, batch(tag)) for tag in range(9)])
    full.start()
    wait_until(lambda: len(done) >= 3, 10, "the others to be scored")
    time.sleep(0.1)
    assert (sorted(done), kept) == ([1, 2, 3], [])  # with the first, four are in hand
    may_go.set()
    full.join(10)
    order.finish()
    assert kept == list(range(9))
    two.close()


@pytest.mark.parametrize("child", ["raise SystemExit(3)", None])
def test_after_three_losses_in_a_row_the_worker_scores_and_says_why_once(
    child: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, start = list[int](), processes._Process._start

    def counted(process: processes._Process) -> object:
        started.append(1)
        if child is None:
            raise OSError("no room for another process")
        return start(process)

    monkeypatch.setattr(processes._Process, "_start", counted)
    monkeypatch.setattr(processes, "_CHILD", child)
    scorers = Scorers(1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for row in range(5):
            assert content(scorers.submit(batch(row)).result()) == content(score_batch(batch(row)))
    scorers.close()
    reason = "not started: no room for another process" if child is None else "exit code 3"
    ended = f"A process that scores ended ({reason}): "
    once, given_up = (
        "the worker scores its batch",
        "scoring in the worker from now on; --scorers 0 does so from the start",
    )
    assert [str(warning.message) for warning in told] == [ended + once, ended + once, ended + given_up]
    assert len(started) == 3


def test_a_batch_that_is_scored_ends_the_row_of_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()

    def often_lost(_process: object, what: Batch) -> ScoredBatch:
        asked.append(len(asked))
        if len(asked) % 3:
            raise EOFError
        return score_batch(what)

    monkeypatch.setattr(processes._Process, "score", often_lost)
    scorers = Scorers(1)
    with pytest.warns(RuntimeWarning, match="the worker scores its batch$"):
        wait([scorers.submit(batch(row)) for row in range(9)])
    scorers.close()
    assert len(asked) == 9


def test_one_thread_at_most_waits_to_end_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    made, shared, timer = list[threading.Timer](), processes._Shared(), threading.Timer
    monkeypatch.setattr(Scorers, "start", lambda _scorers: None)
    monkeypatch.setattr(threading, "Timer", lambda *given: made.append(timer(*given)) or made[-1])
    with shared.using(1):
        for _ in range(3):
            with shared.using(1):
                pass
        assert not made
    for _ in range(3):
        with shared.using(1):
            assert all(one.finished.is_set() for one in made)
    assert [one.finished.is_set() for one in made] == [True, True, True, False]
    made[0].function()  # too late to hear that it was called off
    assert shared._scorers
    made[-1].cancel()


def test_processes_are_shared_and_end_a_while_after_their_last_user(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, started = list[Scorers](), list[Scorers]()
    monkeypatch.setattr(processes, "_LINGER_S", 0.05)
    monkeypatch.setattr(Scorers, "start", lambda scorers: started.append(scorers))
    monkeypatch.setattr(Scorers, "close", lambda scorers: ended.append(scorers))
    with scorers_of(0) as none:
        assert none is None
    with scorers_of(3) as first:
        with scorers_of(3) as second:
            assert first is second
        time.sleep(0.2)
        assert not ended
    wait_until(lambda: bool(ended), 10, "the processes to end")
    assert started == ended == [first]


def test_a_gpu_has_up_to_four_of_half_its_cores_and_a_cpu_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask.system.cpu_count", lambda: 16)
    assert [usual_count("cuda", workers) for workers in (1, 2, 4, 16)] == [4, 4, 2, 1]
    assert usual_count("cpu") == 0
    with pytest.raises(ValueError, match="--scorers of at least 0"):
        ClusterConfig(scorers=-1)


def test_a_run_has_the_same_files_with_and_without(
    one: Scorers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_collection(tmp_path, 10)
    manifest, spec = str(tmp_path / "manifest.parquet"), write_model(tmp_path)
    files = []
    for scorers in (None, one):
        monkeypatch.setattr(shard_module, "scorers_of", lambda _count, scorers=scorers: nullcontext(scorers))
        plan = prepare(manifest, str(tmp_path / f"run{len(files)}"), spec, CONFIG)
        for shard in plan.run.shards:
            assert isinstance(audit_shard(plan.task, shard), Finished)
        files.append([entry["artefacts"] for entry in plan.run.ledger.entries().values()])
    assert files[0] == files[1]


def test_a_process_that_is_killed_is_noticed_its_batch_scored_and_another_takes_its_place(one: Scorers) -> None:
    one.submit(batch(3)).result()
    killed = process_of(one)
    killed.kill()
    killed.wait(10)
    with pytest.warns(RuntimeWarning, match=r"^A process that scores ended \(signal 9\): the worker scores its batch$"):
        assert content(one.submit(batch(4)).result()) == content(score_batch(batch(4)))
    one.submit(batch(5)).result()
    assert process_of(one).pid != killed.pid


def test_a_process_ends_when_its_pipe_does_as_where_its_worker_is_killed(one: Scorers) -> None:
    left = process_of(one)
    one._idle.queue[0]._connection.close()
    assert left.wait(10) == 0


def process_of(one: Scorers) -> subprocess.Popen[bytes]:
    return one._idle.queue[0]._process
