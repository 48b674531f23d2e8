"""What is done with a shard whose worker died, and with the sample that killed it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import make_run

from audit.errors import RunError
from audit.models import ModelSpec
from audit.progress import Event, Noted, silent
from audit.store import Run, Shard
from pipelines.run.config import RunConfig
from pipelines.run.shards.shard import Task, tried_path
from pipelines.run.workers.crew import Loss
from pipelines.run.workers.quarantine import Quarantine


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(make_run(tmp_path, flagged=False))


def task_of(run: Run) -> Task:
    return Task(str(run.path), ModelSpec("drawn"), RunConfig(), compiled=True)


def note(run: Run, shard: Shard, row: int, worker: str = "w", attempt: str = "a") -> Path:
    path = tried_path(run, shard, attempt)
    path.write_text(json.dumps({"row": row, "worker": worker}))
    return path


def die(quarantine: Quarantine, shard: Shard, told: list[Event] | None = None, beside: Iterable[str] = ()) -> None:
    """The worker dies that has the shard."""
    loss = Loss("w", frozenset({"key", *beside}))
    quarantine.lost(shard, "key", loss, silent if told is None else told.append)


def looked_closer(run: Run, shard: Shard) -> Quarantine:
    quarantine = Quarantine(run, task_of(run))
    for _ in range(2):
        die(quarantine, shard)
    return quarantine


def test_a_shard_that_lost_its_worker_twice_is_taken_one_by_one_and_without_compiling(run: Run) -> None:
    quarantine, told, shard = Quarantine(run, task_of(run)), list[Event](), run.shards[1]
    die(quarantine, shard, told)
    assert quarantine.task(shard) == task_of(run)
    die(quarantine, shard, told)
    assert quarantine.task(shard) == replace(task_of(run), compiled=False, careful=True)
    assert told == [Noted("samples 2 to 3 lost their worker 2 times: taken one by one")]


def test_a_sample_is_left_out_when_it_killed_alone_twice(run: Run) -> None:
    shard, told = run.shards[1], list[Event]()
    quarantine = looked_closer(run, shard)
    for row in (2, 3):
        for left_out in (False, True):
            path = note(run, shard, row)
            die(quarantine, shard, told)
            assert not path.exists()
            assert (row in quarantine.task(shard).quarantined) == left_out
    assert quarantine.rows(shard) == {2, 3}
    assert told == [Noted(f"sample {row} keeps killing its worker: quarantined") for row in (2, 3)]


def test_a_sample_beside_which_something_else_ran_is_not_blamed(run: Run) -> None:
    shard = run.shards[1]
    quarantine = looked_closer(run, shard)
    for _ in range(4):
        note(run, shard, 2)
        die(quarantine, shard, beside=["of someone else"])
    assert quarantine.rows(shard) == frozenset()


def test_an_attempt_that_still_runs_elsewhere_is_not_blamed_for_the_death_of_another(run: Run) -> None:
    shard = run.shards[1]
    quarantine = looked_closer(run, shard)
    running = note(run, shard, 3, worker="elsewhere", attempt="b")
    for _ in range(2):
        note(run, shard, 2)
        die(quarantine, shard)
    assert quarantine.rows(shard) == {2}
    assert running.exists()


def test_workers_that_die_before_they_touch_a_sample_blame_none_and_end_the_run(run: Run) -> None:
    quarantine = looked_closer(run, run.shards[0])
    die(quarantine, run.shards[0])
    assert quarantine.rows(run.shards[0]) == frozenset()
    with pytest.raises(RunError, match="Workers die before the first of samples 0 to 1"):
        die(quarantine, run.shards[0])


def test_a_shard_that_loses_its_workers_without_end_ends_the_run(run: Run) -> None:
    quarantine = looked_closer(run, run.shards[0])
    for _ in range(10):
        note(run, run.shards[0], 1)
        die(quarantine, run.shards[0], beside=["of someone else"])
    with pytest.raises(RunError, match="no sample is to blame; what is finished is kept"):
        die(quarantine, run.shards[0], beside=["of someone else"])


def test_shards_do_not_share_what_was_seen_of_one(run: Run) -> None:
    quarantine = looked_closer(run, run.shards[0])
    for _ in range(2):
        note(run, run.shards[0], 1)
        die(quarantine, run.shards[0])
    assert (quarantine.rows(run.shards[0]), quarantine.rows(run.shards[1])) == ({1}, frozenset())
    assert quarantine.task(run.shards[1]) == task_of(run)


def test_the_notes_of_a_killed_run_are_forgotten(run: Run) -> None:
    path = note(run, run.shards[0], 1)
    Quarantine(run, task_of(run))
    assert not path.exists()
