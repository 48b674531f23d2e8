"""Make the label set of a run: begin it or go on with it, over workers, to its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from audit.errors import RunError
from audit.progress import Noted, Progress, silent, stretch
from audit.store import Run
from audit.store.label_store import LabelStore
from audit.store.storage.objects import Place
from audit.trusted import absolute_name
from pipelines.asked import Labelling
from pipelines.experiments.source import source_of_run
from pipelines.labels.learn import learn_head
from pipelines.labels.shard import HEAD, STRONG, Task, label_shard, takes_part
from pipelines.run.config import ClusterConfig
from pipelines.run.workers.client import connect
from pipelines.run.workers.probe import Needs
from pipelines.run.workers.schedule import submit_all


def make_labels(
    path: Place, name: str, asked: Labelling, cluster: ClusterConfig, progress: Progress = silent
) -> LabelStore:
    """The label set of the name, whole as far as the run is.

    Raises:
        RunError: the run has no finished shard, the name was given to labels made otherwise, or a worker cannot go on.
        ModelError: a step needs the network, and that is code that was not named again.
    """
    run = Run.open(path)
    done = run.done()
    if not done:
        raise RunError(f"{run.path} has no finished shard to make labels of; finish it with `camaudit run`")
    if asked.needs_model:
        source_of_run(run, asked.model)  # refused here, not by each worker
    with run.locked():
        store = LabelStore.make(run, name, asked.record(), lambda: {STRONG: strong_peak(run, asked)})
        store.sweep()
        shards = [shard for shard in done if not store.is_current(shard)]
        total, todo = sum(map(len, done)), sum(map(len, shards))
        if todo < total:
            progress(Noted(f"going on with {store.path}: {len(done) - len(shards)} of {len(done)} shards are done"))
        if shards:
            if asked.learn_from and not (store.path / HEAD).exists():
                learn_head(asked, store.path / HEAD, progress)
            model = absolute_name(asked.model) if asked.model else None  # workers start elsewhere
            task = Task(run.address, name, replace(asked, model=model))
            with connect(cluster) as client, stretch(progress, "labelling", total, total - todo):
                needs = Needs(task.run, into_run=True)
                submit_all(client, shards, partial(label_shard, task), progress, cluster=cluster, needs=needs)
        store.sweep()
    return store


def strong_peak(run: Run, asked: Labelling) -> float:
    """Raw peak that three in ten of the maps that make labels exceed; 0 where peaks do not count."""
    if not asked.evidence:
        return 0.0
    columns = ["role", "status", "probability", "peak"]
    rows = (row for shard in run.done() for row in run.read("targets", shard, columns).to_pylist())
    peaks = [row["peak"] for row in rows if takes_part(row, asked)]
    return float(np.quantile(peaks, _IN_FULL)) if peaks else 0.0


def account(store: LabelStore) -> dict[str, Any]:
    """How many samples of the run have a label image, failed or are pending, and why the first ones failed."""
    status: Counter[str] = Counter()
    failures: list[dict[str, str]] = []
    for shard in store.done():
        rows = store.read("images", shard, ["sample", "status", "reason"]).to_pylist()
        status.update(row["status"] for row in rows)
        failures += [row for row in rows if row["status"] == "failed"][: _MOST - len(failures)]
    pending = store.run.samples - sum(status.values())
    return {"processed": status["processed"], "failed": status["failed"], "pending": pending, "failures": failures}


_MOST = 5
_IN_FULL = 0.7
