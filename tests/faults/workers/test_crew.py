"""Workers that come late, go, or never come: what a run does, without a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.scheduler import NoWorkerError
from made_cluster import Clock, MadeClient, MadeFuture
from small_run import make_run

from audit.errors import RunError
from audit.models import ModelSpec
from audit.progress import Advanced, Event, Noted, silent
from audit.store import Run, Shard
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.shards.shard import Finished, Stopped, Task
from pipelines.run.workers.crew import Crew, Loss, loss_from
from pipelines.run.workers.quarantine import Quarantine
from pipelines.run.workers.schedule import Dispatch, submit_all

ATTACHED = ClusterConfig(scheduler="tcp://elsewhere:8786", wait_s=60)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks as often as it can."""
    monkeypatch.setattr("pipelines.run.workers.crew.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("pipelines.run.workers.schedule.LOOK_EVERY_S", 0.001)


def shards_of(count: int) -> list[Shard]:
    return [Shard(index, 4 * index, 4 * index + 4) for index in range(count)]


def work(shard: Shard) -> Finished:
    return Finished(shard, len(shard), 0)


def finish(future: MadeFuture) -> None:
    future.end("finished", work(future.shard))


def crew_of(client: Any, cluster: ClusterConfig = ATTACHED, progress: Any = silent, clock: Any = None) -> Crew:
    return Crew(client, cluster, progress, *([clock] if clock else []))


def dispatch_of(client: Any, shards: list[Shard], quarantine: Quarantine | None = None) -> Dispatch:
    return Dispatch(client, crew_of(client), shards, work, silent, quarantine)


def test_without_workers_a_run_says_that_it_waits_then_goes_on_with_those_that_come_back() -> None:
    client, clock, told = MadeClient(), Clock(), list[Event]()
    crew = crew_of(client, progress=told.append, clock=clock)
    for clock.now in (0.0, 9.0):
        list(crew.look())
    assert told == []
    for clock.now in (10.0, 30.0):
        list(crew.look())
    assert told == [Noted("no workers, waiting for 60 s at most")]
    client.threads["w"], clock.now = 1, 59.0
    list(crew.look())
    assert told[1:] == [Noted("workers are back: going on")]
    client.threads.clear()
    for clock.now in (60.0, 119.0):
        assert list(crew.look()) == []


@pytest.mark.parametrize(
    ("cluster", "remedy"),
    [(ATTACHED, "--wait"), (ClusterConfig(memory="450MB"), "more memory than 450MB; give each more with --memory")],
    ids=["attached", "local"],
)
def test_patience_ends_with_one_line_that_names_the_option_and_keeps_what_is_finished(
    cluster: ClusterConfig, remedy: str
) -> None:
    clock = Clock()
    crew = crew_of(MadeClient(), cluster, clock=clock)
    list(crew.look())
    clock.now = 60.0
    with pytest.raises(RunError, match=r"No worker takes work since 60 s.*what is finished is kept") as ended:
        list(crew.look())
    assert remedy in str(ended.value)


def test_a_worker_whose_memory_is_full_is_waited_for_while_it_is_at_work() -> None:
    client, clock = MadeClient(), Clock()
    client.executing = 1
    crew = crew_of(client, clock=clock)
    for clock.now in (0.0, 1e6):
        list(crew.look())


def test_workers_that_come_late_get_their_share_of_shards() -> None:
    client = MadeClient(["w0"])
    dispatch = dispatch_of(client, shards_of(100))
    list(dispatch._crew.look())
    dispatch._refill()
    assert len(client.submitted) == 2
    client.threads = {f"w{index}": 1 for index in range(20)}
    list(dispatch._crew.look())
    dispatch._refill()
    assert len(client.submitted) == 40
    client.react = finish
    for future in list(client.submitted):
        finish(future)
    dispatch.finish()
    assert len(client.submitted) == 100


def test_shards_go_to_workers_alone_that_were_found_able_and_are_given_again_where_all_of_those_have_gone() -> None:
    client = MadeClient()
    crew = Crew(
        client, ATTACHED, probe=lambda came: {name: "no" if name == "strange" else None for name in sorted(came)}
    )  # type: ignore[arg-type]
    dispatch = Dispatch(client, crew, shards_of(3), work, silent, None)  # type: ignore[arg-type]
    client.threads = {"able": 1}
    list(crew.look())
    client.threads["strange"] = 1
    list(crew.look())
    dispatch._refill()
    assert [future.workers for future in client.submitted] == [["able"], ["able"]]
    assert crew.threads == {"able": 1}
    client.threads = {"strange": 1, "later": 1}
    client.events["able"] = [(0.0, {"action": "remove-worker", "processing-tasks": {}, "expected": True})]
    client.react = finish
    dispatch.finish()
    assert [future.status for future in client.submitted] == ["cancelled"] * 2 + ["finished"] * 3
    assert {tuple(future.workers or ()) for future in client.submitted[2:]} == {("later",)}


def test_an_error_without_a_traceback_is_one_line() -> None:
    client = MadeClient(["w"])
    client.react = lambda future: future.end("error", RuntimeError("gone"))
    with pytest.raises(RunError, match=r"Samples 0 to 3 stopped with RuntimeError: gone$"):
        submit_all(client, shards_of(1), work)  # type: ignore[arg-type]


def test_a_scheduler_with_less_patience_than_the_run_is_asked_again() -> None:
    client = MadeClient(["w"])
    client.react = lambda future: finish(future) if client.submitted[1:] else future.end("error", NoWorkerError("k", 1))
    submit_all(client, shards_of(1), work)  # type: ignore[arg-type]
    assert len(client.submitted) == 2


def test_a_shard_whose_worker_went_before_its_end_was_fetched_is_given_again_and_keeps_no_other_waiting() -> None:
    client = MadeClient(["w"])

    class Unreachable:
        def __call__(self, future: MadeFuture) -> None:
            if len(client.submitted) == 1:
                future.result = self.gone  # type: ignore[method-assign]
            finish(future)

        def gone(self, timeout: float | None = None) -> None:
            raise TimeoutError

    client.react = Unreachable()
    told: list[Event] = []
    submit_all(client, shards_of(2), work, told.append)  # type: ignore[arg-type]
    assert [future.shard.index for future in client.submitted] == [0, 1, 0]
    assert [future.status for future in client.submitted] == ["cancelled", "finished", "finished"]
    assert told == [Advanced(4)] * 2


def quarantine_of(folder: Path) -> tuple[Quarantine, Run]:
    run = Run.open(make_run(folder, flagged=False))
    return Quarantine(run, Task(str(run.path), ModelSpec("drawn"), RunConfig())), run


def test_workers_that_die_before_they_touch_a_sample_end_the_run_soon_with_one_line(tmp_path: Path) -> None:
    quarantine, run = quarantine_of(tmp_path)
    client = MadeClient(["w"])
    client.react = client.kill
    with pytest.raises(RunError, match=r"Workers die before the first of samples \d to \d.*--memory.*what is finished"):
        submit_all(client, run.shards, work, silent, quarantine)  # type: ignore[arg-type]
    assert len(client.submitted) < 12


@pytest.mark.parametrize("count", [4, 200])
def test_a_model_that_kills_every_worker_ends_the_run_after_as_few_deaths_however_many_shards_there_are(
    count: int, tmp_path: Path
) -> None:
    quarantine, _ = quarantine_of(tmp_path)
    client = MadeClient(["w0", "w1"])
    client.react = lambda future: client.kill(future, f"w{len(client.submitted) % 2}")
    with pytest.raises(RunError, match="Workers die before the first of"):
        submit_all(client, shards_of(count), work, silent, quarantine)  # type: ignore[arg-type]
    assert len(client.submitted) <= 14


def test_once_a_shard_is_finished_suspects_come_last_again(tmp_path: Path) -> None:
    quarantine, _ = quarantine_of(tmp_path)
    client = MadeClient(["w"])
    client.react = lambda future: finish(future) if client.submitted[4:] else client.kill(future)
    submit_all(client, shards_of(20), work, silent, quarantine)  # type: ignore[arg-type]
    order = [future.shard.index for future in client.submitted]
    assert len(order) == 24
    assert len(set(order[:4])) < 4  # in doubt a suspect came before others
    assert set(order[-2:]) < set(order[:4])


def test_workers_that_said_they_would_close_leave_no_suspicion(tmp_path: Path) -> None:
    quarantine, run = quarantine_of(tmp_path)
    client = MadeClient(["w"])
    client.react = lambda future: finish(future) if client.submitted[30:] else client.kill(future, announced=True)
    submit_all(client, run.shards, work, silent, quarantine)  # type: ignore[arg-type]
    assert len(client.submitted) == 30 + len(run.shards)
    assert not any(future.work.args[0].careful for future in client.submitted)


def test_what_a_lost_worker_had_is_taken_back_though_its_scheduler_would_give_it_out_for_ever() -> None:
    client = MadeClient(["w0", "w1"])
    dispatch = dispatch_of(client, shards_of(1))
    list(dispatch._crew.look())
    dispatch._refill()
    (future,) = client.submitted
    gone = {"action": "remove-worker", "processing-tasks": {future.key}, "expected": False}
    client.events["w0"] = [(0.0, {"action": "add-worker"}), (1.0, gone)]
    del client.threads["w0"]
    client.react = finish
    dispatch.finish()
    assert future.status == "cancelled"
    assert [again.shard for again in client.submitted] == [future.shard] * 2


def test_suspects_come_last_and_alone_on_workers_of_more_than_one_thread(tmp_path: Path) -> None:
    quarantine, run = quarantine_of(tmp_path)
    client = MadeClient()
    client.threads = {"w": 4}
    deaths = iter([True])
    beside: list[int] = []
    dispatch = dispatch_of(client, run.shards, quarantine)

    def react(future: MadeFuture) -> None:
        beside.append(len(dispatch._running) - 1)
        client.kill(future) if next(deaths, False) else finish(future)

    client.react = react
    dispatch.finish()
    assert client.submitted[-1].shard == client.submitted[0].shard
    assert beside[-1] == 0


def test_a_shard_that_keeps_losing_its_worker_without_a_quarantine_ends_the_run() -> None:
    client = MadeClient(["w"])
    client.react = client.kill
    with pytest.raises(RunError, match="Samples 0 to 3 keep killing their worker"):
        submit_all(client, shards_of(1), lambda shard: Stopped(shard, ""))  # type: ignore[arg-type]
    assert len(client.submitted) == 2


def test_a_shard_that_lost_workers_beside_others_is_not_blamed_without_a_quarantine_but_a_dozen_times() -> None:
    client = MadeClient(["w"])
    client.react = lambda future: finish(future) if client.submitted[6:] else client.kill(future, beside=["another"])
    submit_all(client, shards_of(1), work)  # type: ignore[arg-type]
    assert len(client.submitted) == 7

    client = MadeClient(["w"])
    client.react = lambda future: client.kill(future, beside=["another"])
    with pytest.raises(RunError, match="Samples 0 to 3 keep killing their worker"):
        submit_all(client, shards_of(1), work)  # type: ignore[arg-type]
    assert len(client.submitted) == 13


def test_two_drivers_never_give_a_scheduler_equal_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MadeClient(["w"])
    client.react = finish
    for driver in ("one", "two"):
        monkeypatch.setattr("pipelines.run.workers.schedule._DRIVER", driver)
        submit_all(client, shards_of(3), work)  # type: ignore[arg-type]
    assert len({future.key for future in client.submitted}) == 6


ADDED = {"action": "add-worker"}
REMOVED = {"action": "remove-worker", "processing-tasks": {"a"}, "expected": False}
LOST = Loss("w", frozenset({"a"}))


@pytest.mark.parametrize(
    ("events", "loss"),
    [
        ([ADDED], None),
        ([ADDED, REMOVED], LOST),
        ([ADDED, {**REMOVED, "expected": True}], replace(LOST, announced=True)),
        ([ADDED, {"action": "closing-worker"}, REMOVED], replace(LOST, announced=True)),
        ([ADDED, {"action": "worker-status-change", "status": "closing"}, REMOVED], replace(LOST, announced=True)),
        ([ADDED, {"action": "closing-worker"}, REMOVED, ADDED, REMOVED], LOST),
        ([ADDED, REMOVED, ADDED], None),
    ],
    ids=["there", "died", "retired", "closed", "closing", "died at a port used before", "there at such a port"],
)
def test_a_loss_is_read_from_what_the_scheduler_saw(events: list[dict[str, Any]], loss: Loss | None) -> None:
    assert loss_from("w", events) == loss


def test_a_lost_scheduler_is_one_line() -> None:
    client = MadeClient()

    def refuse() -> None:
        raise OSError("connection closed")

    client.scheduler = SimpleNamespace(ncores_running=refuse)
    with pytest.raises(RunError, match="Lost the scheduler"):
        list(crew_of(client).look())
