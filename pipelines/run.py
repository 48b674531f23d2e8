"""Begin or resume a run: shards out to the workers, bounded, and every sample accounted for."""

from __future__ import annotations

import math
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm.core import CommClosedError

from audit.attribution import Method, make_method
from audit.attribution.targets import slot_count
from audit.datasets.manifest import Manifest, manifest_length
from audit.errors import RunError
from audit.models import Classifier, ModelSpec, load_classifier, weights_fingerprint
from audit.store import Run, Shard
from pipelines.attribute import encoding_of
from pipelines.config import ClusterConfig, RunConfig, default_shard_size
from pipelines.progress import SampleBar
from pipelines.shards import PASSES, Finished, Stopped, Task, audit_shard, tried_path

ShardEnd = Finished | Stopped
ShardWork = Callable[[Shard], ShardEnd]
"""What a worker does with a shard."""

_QUEUED_PER_WORKER = 2


@dataclass(frozen=True)
class Plan:
    """A run that was begun or found, what its workers are told, and the model that they will load."""

    run: Run
    task: Task
    resumed: bool
    classifier: Classifier


def prepare(manifest_path: str, out: str, spec: ModelSpec, config: RunConfig, set_aside: bool = False) -> Plan:
    """Lay out a new run, or check that an existing one can go on as asked.

    Args:
        set_aside: rename an existing run that differs and begin anew, instead of refusing.

    Raises:
        RunError: the run at `out` has another configuration, model or manifest.
    """
    manifest = Manifest.open(manifest_path, 0, 0)  # its head: the rows may be many
    classifier = load_classifier(spec, classes=manifest.classes)
    try:
        explain = make_method(config.method, classifier, options=dict(config.options))
    except ValueError as error:  # an option's value
        raise RunError(str(error)) from None
    slots = slot_count(config.roles, _most_labels(manifest_path))
    fresh = _with_shard_size(config, manifest_length(manifest_path), explain, slots)
    resumed = (Path(out) / "run.json").exists()
    if resumed:
        run = Run.open(out)
        kept = replace(config, shard_size=config.shard_size or run.record["shard_size"])
        changed = run.differences(_record(kept, spec, explain, slots), manifest.fingerprint)
        if changed and not set_aside:
            raise RunError(
                f"{out} was begun differently ({'; '.join(changed)}); choose another --out, or --set-aside to rename it"
            )
        resumed = not changed
        if changed:
            with run.locked():
                pass  # a run in use stays where it is
            _set_aside(Path(out))
    if not resumed:
        run = Run.create(out, Manifest.open(manifest_path), _record(fresh, spec, explain, slots))
    return Plan(run, Task(os.path.abspath(out), spec, config), resumed, classifier)


def audit(plan: Plan, client: Client, bar: SampleBar) -> None:
    """Attribute and score all pending shards. Shards with passing failures are taken again.

    Raises:
        RunError: a worker cannot go on (no model, disk full), or the scheduler is lost.
    """
    shards = pending(plan.run)
    work = partial(audit_shard, plan.task)
    retry = partial(_look_closer, plan, {})
    client.subscribe_topic(PASSES, lambda event: bar.passed(event[1]))
    submit_all(client, shards, work, bar, retry)


def pending(run: Run) -> list[Shard]:
    """Shards to do: those not in the ledger, and those with failures that may pass."""
    again = [shard for shard in run.done() if (run.entry(shard) or {"transient": 0})["transient"]]
    return sorted([*run.pending(), *again], key=lambda shard: shard.index)


def submit_all(
    client: Client,
    shards: list[Shard],
    work: ShardWork,
    bar: SampleBar,
    retry: Callable[[Shard, SampleBar], ShardWork | None] | None = None,
) -> None:
    """Run `work` on every shard, a bounded number submitted at a time.

    Args:
        retry: for a shard whose worker died: the work to do instead.

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
            again = _take(future, shard, bar, retry)
            submit(shard, again) if again else submit_next()
            future.release()
    except KeyboardInterrupt:
        _drain(client, running, bar)
        raise
    except CommClosedError as error:
        raise RunError(f"Lost the scheduler ({error}); what is finished is kept, run the same command again") from None


def _take(
    future: Future[ShardEnd],
    shard: Shard,
    bar: SampleBar,
    retry: Callable[[Shard, SampleBar], ShardWork | None] | None,
) -> ShardWork | None:
    """Note a finished shard, or say what to do instead for one whose worker died."""
    if future.status == "cancelled":
        raise RunError("Lost the scheduler; what is finished is kept, run the same command again")
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker) and retry is not None:
            return retry(shard, bar)
        if isinstance(error, KilledWorker):
            raise RunError(f"Samples {shard.start} to {shard.stop - 1} keep killing their worker") from None
        raise RunError(_unexpected(error, future, shard))
    end: ShardEnd = future.result()
    if isinstance(end, Stopped):
        raise RunError(end.reason)
    bar.advance(len(shard), end.failed)
    return None


def _unexpected(error: BaseException, future: Future[ShardEnd], shard: Shard) -> str:
    """One line about an error that no sample's status covers, such as one raised by the model's own code."""
    last = traceback.extract_tb(future.traceback())[-1]
    reason = " ".join(str(error).split())[:300]
    where = f"{last.filename}:{last.lineno}"
    return f"Samples {shard.start} to {shard.stop - 1} stopped with {type(error).__name__}: {reason} ({where})"


def _look_closer(plan: Plan, guilty: dict[Shard, frozenset[int]], shard: Shard, bar: SampleBar) -> ShardWork:
    """Work for a shard that killed its workers: one sample at a time, without those already seen to kill.

    Args:
        guilty: rows seen to kill, by shard; a shard that is not in it was not looked at closely yet.
    """
    path = tried_path(plan.run, shard)
    if shard not in guilty:
        path.unlink(missing_ok=True)  # of a run that was itself killed: it says nothing about the sample
        guilty[shard] = frozenset()
        bar.note(f"samples {shard.start} to {shard.stop - 1} keep killing their worker: taken one by one")
    elif path.exists():
        row = int(path.read_text())
        path.unlink()
        guilty[shard] |= {row}
        bar.note(f"sample {row} keeps killing its worker: quarantined")
    return partial(audit_shard, replace(plan.task, compiled=False, careful=True, quarantined=guilty[shard]))


def _drain(client: Client, running: dict[Future[ShardEnd], Shard], bar: SampleBar) -> None:
    """Wait for the shards that workers have begun, drop the others."""
    begun = {key for keys in client.processing().values() for key in keys}
    waited = [future for future in running if future.key in begun]
    client.cancel([future for future in running if future not in waited], force=True)
    if waited:
        bar.note(f"interrupted: finishing {len(waited)} running shards (again Ctrl-C to drop them)")
        for future in as_completed(waited, loop=client.loop, raise_errors=False):
            shard = running[future]
            end = future.result() if future.status == "finished" else None
            if isinstance(end, Finished):
                bar.advance(len(shard), end.failed)


def _with_shard_size(config: RunConfig, samples: int, explain: Method, slots: int) -> RunConfig:
    """The configuration of a new run, its shard size chosen where the user left it open."""
    size = default_shard_size(samples, sum(explain.cost(slots)), slots * math.prod(explain.grid))
    return replace(config, shard_size=config.shard_size or size)


def _record(config: RunConfig, spec: ModelSpec, explain: Method, slots: int) -> dict[str, Any]:
    """What run.json says of a run, beside what `Run.create` adds."""
    return {
        "config": config.record(),
        "model": _describe_model(explain.classifier, explain.head),
        "source": asdict(spec),
        "grid": list(explain.grid),
        "slots": slots,
        "encoding": encoding_of(explain),
        "cost": explain.cost(slots)._asdict(),
        "shard_size": config.shard_size,
    }


def _describe_model(classifier: Classifier, head: str | None) -> dict[str, Any]:
    preprocessing = classifier.preprocessing
    return {
        "fingerprint": weights_fingerprint(classifier.module),
        "layer": classifier.layer,
        "head": head,
        "activation": classifier.activation,
        "fit": asdict(preprocessing.fit),
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "outputs": [list(outputs) for outputs in classifier.mapping.outputs],
    }


def _most_labels(manifest_path: str) -> int:
    labels = pq.read_table(manifest_path, columns=["labels"], partitioning=None)["labels"]
    return pc.max(pc.list_value_length(labels)).as_py() or 0


def _set_aside(path: Path) -> None:
    """Rename a run to the first free PATH.1, PATH.2 ..."""
    free = next(name for name in _numbered(path) if not name.exists())
    shutil.move(path, free)


def _numbered(path: Path) -> Iterator[Path]:
    return (path.with_name(f"{path.name}.{number}") for number in count(1))


_serial = count()

__all__ = ["ClusterConfig", "Plan", "audit", "pending", "prepare", "submit_all"]
