"""What a run tells whoever watches it, with workers of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from distributed import Client

from audit.errors import RunError
from audit.progress import Advanced, Began, Ended, Event
from audit.store import Shard
from faults.collection import CONFIG, finished, planned
from pipelines.run.shards.shard import Finished, Stopped, audit_shard, rescore_shard
from pipelines.run.workers import schedule
from pipelines.run.workers.schedule import audit, pending, submit_all


def test_a_run_tells_its_samples_as_their_shards_are_finished(client: Client, tmp_path: Path) -> None:
    plan, told = planned(tmp_path), list[Event]()
    (tmp_path / "007.png").write_bytes(b"")
    assert isinstance(audit_shard(plan.task, plan.run.shards[0]), Finished)
    audit(plan, client, told.append)
    assert (told[0], told[-1]) == (Began("auditing", 10, done=4), Ended())
    assert sorted(told[1:-1], key=str) == [Advanced(2), Advanced(4, failed=1)]
    assert pending(plan.run) == []


def test_passes_are_announced_for_a_method_of_many(client: Client, tmp_path: Path) -> None:
    plan, told = planned(tmp_path, 4, replace(CONFIG, method="rise", options=(("masks", 8),))), list[Event]()
    audit(plan, client, told.append)
    assert told[0] == Began("auditing", 4, passes=4 * plan.run.record["cost"]["forward"])


def test_an_entry_that_is_damaged_meanwhile_ends_no_audit_that_rolls_its_ledger_up(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_ROLLED_UP_AFTER", 1)
    plan = planned(tmp_path)
    assert isinstance(audit_shard(plan.task, plan.run.shards[0]), Finished)

    def damage(event: Event) -> None:
        if isinstance(event, Advanced):
            plan.run.ledger.path(0).write_text("{}")

    audit(plan, client, damage)
    assert all(plan.run.entry(shard) for shard in plan.run.shards[1:])
    with pytest.raises(RunError, match="Damaged ledger entry"):
        plan.run.account()


def test_shards_of_any_work_are_told_and_one_that_stopped_ends_the_run(client: Client, tmp_path: Path) -> None:
    plan, told = finished(tmp_path), list[Event]()
    submit_all(client, plan.run.shards, partial(rescore_shard, str(plan.run.path)), told.append)
    assert sorted(told, key=str) == [Advanced(2), Advanced(4), Advanced(4)]
    with pytest.raises(RunError, match="no such device"):
        submit_all(client, plan.run.shards, _stop)


def _stop(shard: Shard) -> Stopped:
    return Stopped(shard, "no such device")
