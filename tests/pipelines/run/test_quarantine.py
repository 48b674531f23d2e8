"""What is done with a shard whose worker died, and with the sample that killed it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_run import make_run

from audit.models import ModelSpec
from audit.progress import Event, Noted
from audit.store import Run
from pipelines.run.config import RunConfig
from pipelines.run.quarantine import Quarantine
from pipelines.run.shard import Task, tried_path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(make_run(tmp_path, flagged=False))


def task_of(run: Run) -> Task:
    return Task(str(run.path), ModelSpec("drawn"), RunConfig(), compiled=True)


def test_a_shard_is_first_taken_one_by_one_and_without_compiling(run: Run) -> None:
    quarantine, told = Quarantine(run, task_of(run)), list[Event]()
    task = quarantine.next_task(run.shards[1], told.append)
    assert task == replace(task_of(run), compiled=False, careful=True)
    assert told == [Noted("samples 2 to 3 keep killing their worker: taken one by one")]


def test_each_sample_that_was_noted_when_a_worker_died_is_left_out_from_then_on(run: Run) -> None:
    quarantine, told, shard = Quarantine(run, task_of(run)), list[Event](), run.shards[1]
    quarantine.next_task(shard)
    for row in (2, 3):
        tried_path(run, shard).write_text(str(row))
        task = quarantine.next_task(shard, told.append)
        assert not tried_path(run, shard).exists()
    assert task.quarantined == quarantine.rows(shard) == {2, 3}
    assert told == [Noted(f"sample {row} keeps killing its worker: quarantined") for row in (2, 3)]


def test_a_worker_that_dies_before_it_touches_a_sample_blames_none(run: Run) -> None:
    quarantine = Quarantine(run, task_of(run))
    quarantine.next_task(run.shards[0])
    assert quarantine.next_task(run.shards[0]).quarantined == frozenset()


def test_shards_do_not_share_what_was_seen_of_one(run: Run) -> None:
    quarantine = Quarantine(run, task_of(run))
    for shard in run.shards[:2]:
        quarantine.next_task(shard)
    tried_path(run, run.shards[0]).write_text("1")
    quarantine.next_task(run.shards[0])
    assert (quarantine.rows(run.shards[0]), quarantine.rows(run.shards[1])) == ({1}, frozenset())
