"""Shards out to the workers, bounded, and what becomes of each."""

from __future__ import annotations

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from uuid import uuid4

from distributed import CancelledError, Client, Future, KilledWorker
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError
from distributed.scheduler import NoWorkerError

from audit.errors import RunError
from audit.progress import Advanced, Noted, Passed, Progress, silent, stretch
from audit.store import Run, Shard
from pipelines.interrupts import grace
from pipelines.run.config import ClusterConfig
from pipelines.run.plan import Plan
from pipelines.run.shards.shard import PASSES, Finished, Stopped, audit_shard, is_pending
from pipelines.run.workers.crew import KEPT, LOOK_EVERY_S, LOST, Crew, Loss
from pipelines.run.workers.probe import Needs, Probe, question_about
from pipelines.run.workers.quarantine import DEATHS, Quarantine

ShardEnd = Finished | Stopped
ShardWork = Callable[[Shard], ShardEnd]
"""What a worker does with a shard."""

_QUEUED_PER_THREAD = 2
_DOUBTFUL_PER_WORKER = 2
_LONE_LOSSES = 2
_FETCH_S = 10.0
_ROLLED_UP_AFTER = 500
"""Finished shards."""


def audit(plan: Plan, client: Client, progress: Progress = silent, cluster: ClusterConfig | None = None) -> None:
    """Attribute and score all pending shards. Shards with passing failures are taken again.

    Raises:
        RunError: a worker cannot go on (no model, disk full), all are gone, or the scheduler is lost.
    """
    run, shards = plan.run, pending(plan.run)
    todo = sum(map(len, shards))
    client.subscribe_topic(PASSES, lambda event: progress(Passed(event[1])))
    with stretch(progress, "auditing", run.samples, run.samples - todo, _passes(run, todo)):
        work, needs = partial(audit_shard, plan.task), Needs(plan.task.run, into_run=True)
        submit_all(client, shards, work, progress, Quarantine(run, plan.task), cluster, needs, _rolling_up(run))


def _rolling_up(run: Run) -> Callable[[Finished], None]:
    """What takes finished shards and rolls the ledger up now and then, for whoever asks how far the run is."""
    finished = count(1)

    def roll_up(_: Finished) -> None:
        if next(finished) % _ROLLED_UP_AFTER == 0:
            run.ledger.roll_up()

    return roll_up


def pending(run: Run) -> list[Shard]:
    """Shards to do: not in the ledger, with failures that may pass, or with samples to be tried once more."""
    entered = run.entered()
    return [shard for shard in run.shards if is_pending(entered.get(shard))]


def submit_all(
    client: Client,
    shards: list[Shard],
    work: ShardWork,
    progress: Progress = silent,
    quarantine: Quarantine | None = None,
    cluster: ClusterConfig | None = None,
    needs: Needs | None = None,
    keep: Callable[[Finished], object] | None = None,
) -> None:
    """Run `work` on every shard, a bounded number submitted at a time.

    Args:
        progress: told of every shard that is finished.
        quarantine: says how to audit a shard; without, one that kills its worker twice, alone, ends the run.
        cluster: how many workers to begin with, and how long to wait where there are too few.
        needs: what workers of an existing scheduler have to see; they are asked before they are given work.
        keep: takes what is finished, in the order that it ends.

    On KeyboardInterrupt the shards that run are waited for, after SIGTERM for a while, the others dropped.
    """
    with _crew(client, cluster or ClusterConfig(), progress, needs) as crew:
        dispatch = Dispatch(client, crew, shards, work, progress, quarantine, keep)
        try:
            dispatch.finish()
        except KeyboardInterrupt as interrupt:
            with suppress(RunError, OSError, CancelledError, ClosedClientError):  # who interrupts is told nothing else
                dispatch.drain(grace(interrupt))
            raise
        except (CommClosedError, CancelledError, ClosedClientError):
            raise RunError(LOST) from None


@contextmanager
def _crew(client: Client, cluster: ClusterConfig, progress: Progress, needs: Needs | None) -> Iterator[Crew]:
    """The workers; those that this run did not start are asked whether they can do the work."""
    if needs is None or cluster.is_local:
        yield Crew(client, cluster, progress)
        return
    with question_about(needs) as question:
        yield Crew(client, cluster, progress, probe=Probe(client, question, progress))


class Dispatch:
    """Shards on their way: those to do, those that workers have, and suspects, which lost a worker.

    Suspects come last, no more at a time than there are workers, so that none is taken for what another did. Once
    workers die and nothing is finished, suspects come first, the last of them at once: if every shard kills, a few
    deaths say so, however many shards there are.
    """

    def __init__(
        self,
        client: Client,
        crew: Crew,
        shards: list[Shard],
        work: ShardWork,
        progress: Progress,
        quarantine: Quarantine | None,
        keep: Callable[[Finished], object] | None = None,
    ) -> None:
        self._client, self._crew, self._progress = client, crew, progress
        self._work, self._quarantine, self._keep = work, quarantine, keep
        self._meant: dict[Future[ShardEnd], frozenset[str]] = {}  # workers that are able to do it
        self._todo, self._suspects = deque(shards), deque[Shard]()
        self._running: dict[Future[ShardEnd], Shard] = {}
        self._ended: SimpleQueue[Future[ShardEnd]] = SimpleQueue()
        self._losses: Counter[Shard] = Counter()
        self._lone_losses: Counter[Shard] = Counter()
        self._deaths: set[Loss] = set()  # since a shard was last finished

    def finish(self) -> None:
        """Do them all."""
        while self._running or self._todo or self._suspects:
            for loss in self._crew.look():
                self._take_back(loss)
            self._take_back_stranded()
            self._refill()
            with suppress(Empty):
                self._take(self._ended.get(timeout=LOOK_EVERY_S))

    def drain(self, seconds: float | None) -> None:
        """Wait for the shards that workers have begun, so long at most, and drop the others.

        Raises:
            RunError: the scheduler is lost, or there is no worker to wait for.
            OSError: the scheduler is lost.
        """
        begun = {key for keys in self._client.processing().values() for key in keys}
        dropped = [future for future in self._running if future.key not in begun]
        self._client.cancel(dropped, force=True)
        for future in dropped:
            del self._running[future]
        if self._running:
            wait = "again Ctrl-C to drop them" if seconds is None else f"{seconds:.0f} s at most"
            self._progress(Noted(f"interrupted: finishing {len(self._running)} running shards ({wait})"))
        deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
        while self._running and self._crew.known and time.monotonic() < deadline:
            list(self._crew.look())
            with suppress(Empty):
                self._tell_ended(self._ended.get(timeout=min(LOOK_EVERY_S, max(deadline - time.monotonic(), 0))))

    def _refill(self) -> None:
        """Give out shards, to twice the threads present: workers that come late get theirs."""
        threads, doubtful = self._crew.threads.values(), self._doubtful()
        while self._todo and not doubtful and len(self._running) < _QUEUED_PER_THREAD * sum(threads):
            self._submit(self._todo.popleft())
        # Beside another thread's task nobody could tell which of them killed the worker.
        most = len(threads) if set(threads) == {1} else 1
        while self._suspects and (doubtful or not self._todo) and len(self._running) < most and threads:
            self._submit(self._suspects.pop() if doubtful else self._suspects.popleft())

    def _doubtful(self) -> bool:
        """Whether so many workers died since a shard was last finished that all shards may kill."""
        return bool(self._deaths) and len(self._deaths) >= _DOUBTFUL_PER_WORKER * len(self._crew.threads)

    def _submit(self, shard: Shard) -> None:
        work = self._work
        if self._quarantine is not None:
            work = partial(audit_shard, self._quarantine.task(shard))
        key, chosen = f"shard-{shard.index:05d}-{_DRIVER}-{next(_serial)}", self._crew.chosen
        only = {} if chosen is None else {"workers": sorted(chosen)}
        future = self._client.submit(work, shard, pure=False, key=key, **only)
        self._running[future] = shard
        if chosen is not None:
            self._meant[future] = chosen
        future.add_done_callback(self._ended.put)

    def _take(self, future: Future[ShardEnd]) -> None:
        """Tell of a finished shard, or see to it that it is done again."""
        shard = self._running.pop(future, None)
        if shard is None:  # it was taken back meanwhile
            return
        if future.status == "cancelled":
            raise RunError(LOST)
        if future.status == "error":
            self._take_failed(future, shard)
        else:
            self._take_finished(future, shard)

    def _take_finished(self, future: Future[ShardEnd], shard: Shard) -> None:
        try:
            end: ShardEnd = future.result(timeout=_FETCH_S)
        except TimeoutError:
            # The worker that has it is gone. Its scheduler would have the shard done again by none but those that were
            # meant for it, and each try to fetch it would keep all others waiting.
            self._client.cancel([future], force=True)
            self._give_again(shard)
            return
        if isinstance(end, Stopped):
            raise RunError(end.reason)
        self._deaths.clear()
        if self._keep is not None:
            self._keep(end)
        self._progress(Advanced(len(shard), end.failed))
        future.release()

    def _take_failed(self, future: Future[ShardEnd], shard: Shard) -> None:
        error = future.exception()
        if isinstance(error, KilledWorker):
            self._lost(shard, str(future.key), self._loss(error.last_worker.address))
        elif isinstance(error, NoWorkerError):  # an existing scheduler has less patience than the run
            self._give_again(shard)
        else:
            raise RunError(_unexpected(error, future, shard))
        future.release()

    def _take_back(self, loss: Loss) -> None:
        """Take back what a lost worker had: its scheduler may give it out again and again."""
        if loss.announced:
            return
        for future, shard in list(self._running.items()):
            if future.key in loss.tasks and future.status == "pending":
                del self._running[future]
                self._client.cancel([future], force=True)
                self._lost(shard, str(future.key), loss)

    def _take_back_stranded(self) -> None:
        """Give shards again whose workers have all gone, each announced: their scheduler gives them to no others."""
        self._meant = {future: workers for future, workers in self._meant.items() if future in self._running}
        for future, workers in self._meant.items():
            if future.status == "pending" and workers.isdisjoint(self._crew.known):
                shard = self._running.pop(future)
                self._client.cancel([future], force=True)
                self._give_again(shard)

    def _loss(self, worker: str) -> Loss:
        with suppress(TimeoutError):
            return self._crew.loss(worker) or Loss(worker, frozenset())
        return Loss(worker, frozenset())

    def _lost(self, shard: Shard, key: str, loss: Loss) -> None:
        """Have a shard done again that lost its worker: it is suspect, unless the worker had said that it would go."""
        if not loss.announced:
            self._deaths.add(loss)
            self._losses[shard] += 1
            self._lone_losses[shard] += loss.tasks == {key}
            if self._quarantine is not None:
                self._quarantine.lost(shard, key, loss, self._progress)
            elif self._lone_losses[shard] >= _LONE_LOSSES or self._losses[shard] > DEATHS:
                raise RunError(f"Samples {shard.start} to {shard.stop - 1} keep killing their worker; {KEPT}")
        self._give_again(shard)

    def _give_again(self, shard: Shard) -> None:
        (self._suspects if self._losses[shard] else self._todo).append(shard)

    def _tell_ended(self, future: Future[ShardEnd]) -> None:
        shard = self._running.pop(future, None)
        with suppress(TimeoutError):
            end = future.result(timeout=_FETCH_S) if shard and future.status == "finished" else None
            if isinstance(end, Finished):
                self._progress(Advanced(len(end.shard), end.failed))


def _unexpected(error: BaseException, future: Future[ShardEnd], shard: Shard) -> str:
    """One line about an error that no sample's status covers, such as one raised by the model's own code."""
    frames = traceback.extract_tb(future.traceback())
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    reason = " ".join(str(error).split())[:300]
    return f"Samples {shard.start} to {shard.stop - 1} stopped with {type(error).__name__}: {reason}{where}"


def _passes(run: Run, samples: int) -> int:
    """Forward passes that so many samples take; 0 where each takes one, which is not worth telling."""
    each: int = run.record["cost"]["forward"]
    return each * samples if each > 1 else 0


_DRIVER = uuid4().hex[:8]
"""Part of every key: two runs may share a scheduler, which takes equal keys for one task."""
_serial = count()
