"""Shards out to the workers, bounded, and what becomes of each."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from itertools import count

from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm.core import CommClosedError

from audit.errors import RunError
from audit.progress import Advanced, Noted, Passed, Progress, silent, stretch
from audit.store import Run, Shard
from pipelines.run.plan import Plan
from pipelines.run.quarantine import Quarantine
from pipelines.run.shard import PASSES, Finished, Stopped, audit_shard, is_pending

ShardEnd = Finished | Stopped
ShardWork = Callable[[Shard], ShardEnd]
"""What a worker does with a shard."""

_QUEUED_PER_WORKER = 2
_LOST = "what is finished is kept, run the same command again"


def audit(plan: Plan, client: Client, progress: Progress = silent) -> None:
    """Attribute and score all pending shards. Shards with passing failures are taken again.

    Raises:
        RunError: a worker cannot go on (no model, disk full), or the scheduler is lost.
    """
    run, shards = plan.run, pending(plan.run)
    todo = sum(map(len, shards))
    client.subscribe_topic(PASSES, lambda event: progress(Passed(event[1])))
    with stretch(progress, "auditing", run.samples, run.samples - todo, _passes(run, todo)):
        submit_all(client, shards, partial(audit_shard, plan.task), progress, Quarantine(run, plan.task))


def pending(run: Run) -> list[Shard]:
    """Shards to do: those not in the ledger, and those with failures that may pass."""
    return [shard for shard in run.shards if is_pending(run.entry(shard))]


def submit_all(
    client: Client,
    shards: list[Shard],
    work: ShardWork,
    progress: Progress = silent,
    quarantine: Quarantine | None = None,
) -> None:
    """Run `work` on every shard, a bounded number submitted at a time.

    Args:
        progress: told of every shard that is finished.
        quarantine: says how to audit a shard whose worker died; without, its death ends the run.

    On KeyboardInterrupt the shards that run are waited for, the others dropped.
    """
    queue = iter(shards)
    running: dict[Future[ShardEnd], Shard] = {}
    completed = as_completed(loop=client.loop, raise_errors=False)

    def submit(shard: Shard, job: ShardWork) -> None:
        future = client.submit(job, shard, pure=False, key=f"shard-{shard.index:05d}-{next(_serial)}")
        running[future] = shard
        completed.add(future)

    def submit_next() -> None:
        for shard in queue:
            submit(shard, work)
            return

    try:
        for _ in range(_QUEUED_PER_WORKER * max(len(client.nthreads()), 1)):
            submit_next()
        for future in completed:
            shard = running.pop(future)
            again = _take(future, shard, progress, quarantine)
            submit(shard, again) if again else submit_next()
            future.release()
    except KeyboardInterrupt:
        _drain(client, running, progress)
        raise
    except CommClosedError as error:
        raise RunError(f"Lost the scheduler ({error}); {_LOST}") from None


def _take(
    future: Future[ShardEnd], shard: Shard, progress: Progress, quarantine: Quarantine | None
) -> ShardWork | None:
    """Tell of a finished shard, or say what to do next with one whose worker died."""
    if future.status == "cancelled":
        raise RunError(f"Lost the scheduler; {_LOST}")
    if future.status == "error":
        error = future.exception()
        if not isinstance(error, KilledWorker):
            raise RunError(_unexpected(error, future, shard))
        if quarantine is None:
            raise RunError(f"Samples {shard.start} to {shard.stop - 1} keep killing their worker")
        return partial(audit_shard, quarantine.next_task(shard, progress))
    end: ShardEnd = future.result()
    if isinstance(end, Stopped):
        raise RunError(end.reason)
    progress(Advanced(len(shard), end.failed))
    return None


def _unexpected(error: BaseException, future: Future[ShardEnd], shard: Shard) -> str:
    """One line about an error that no sample's status covers, such as one raised by the model's own code."""
    last = traceback.extract_tb(future.traceback())[-1]
    reason = " ".join(str(error).split())[:300]
    where = f"{last.filename}:{last.lineno}"
    return f"Samples {shard.start} to {shard.stop - 1} stopped with {type(error).__name__}: {reason} ({where})"


def _drain(client: Client, running: dict[Future[ShardEnd], Shard], progress: Progress) -> None:
    """Wait for the shards that workers have begun, drop the others."""
    begun = {key for keys in client.processing().values() for key in keys}
    waited = [future for future in running if future.key in begun]
    client.cancel([future for future in running if future not in waited], force=True)
    if not waited:
        return
    progress(Noted(f"interrupted: finishing {len(waited)} running shards (again Ctrl-C to drop them)"))
    for future in as_completed(waited, loop=client.loop, raise_errors=False):
        end = future.result() if future.status == "finished" else None
        if isinstance(end, Finished):
            progress(Advanced(len(end.shard), end.failed))


def _passes(run: Run, samples: int) -> int:
    """Forward passes that so many samples take; 0 where each takes one, which is not worth telling."""
    each: int = run.record["cost"]["forward"]
    return each * samples if each > 1 else 0


_serial = count()
