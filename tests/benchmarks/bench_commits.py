"""What a full shard takes beside its network: opening, tables, commit; and how much of it threads of a worker hide.

The network sleeps a millisecond an image, as a GPU of 1,000 images a second would, and its layer has 512 channels.
Pictures are tiny, so that two cores can feed it. `network_busy`: the share of the wall in which a batch is explained.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from audit.attribution import Method
from audit.datasets.manifest import Manifest
from audit.models import ModelSpec
from audit.store import Run
from pipelines.run.attribute import ShardMaps
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shard import Finished, audit_shard, explainer
from tests.benchmarks.timing import Row
from tests.faults.collection import CLASSES, draw_sample, write_model

SHARD, SHARDS = 4096, 3
IMAGES_A_SECOND = 1000
THREADS = (1, 3)
_DRAWN = 64
_WIDE = {"nn.ReLU())": "nn.ReLU(), nn.Conv2d(3, 512, 1, bias=False))", "nn.Linear(3, 3)": "nn.Linear(512, 3)"}


def measure(rounds: int) -> list[Row]:
    """A row for each count of threads; the parts are medians over shards and rounds."""
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        manifest, spec = _collection(Path(folder)), _network(Path(folder))
        taken: dict[int, list[Row]] = {threads: [] for threads in THREADS}
        for turn in range(rounds + 1):
            for threads, rows in taken.items():
                row = _run(Path(folder) / f"run-{turn}-{threads}", manifest, spec, threads)
                rows += [row] if turn else []  # the first one loads
        return [_medians(threads, rows) for threads, rows in taken.items()]


def _collection(folder: Path) -> Path:
    """As many samples as the shards hold, of few pictures."""
    rng = np.random.default_rng(0)
    drawn = [draw_sample(folder, f"{index:03d}", rng) for index in range(_DRAWN)]
    samples = (replace(drawn[row % _DRAWN], id=f"{row:06d}") for row in range(SHARD * SHARDS))
    return Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")


def _network(folder: Path) -> ModelSpec:
    """The tiny model of the fault campaign, slow and wide, with a head that was drawn."""
    spec = write_model(folder, f"time.sleep(len(x) / {IMAGES_A_SECOND})")
    path = folder / "model.py"
    text = path.read_text()
    for narrow, wide in _WIDE.items():
        text = text.replace(narrow, wide)
    lines = [line for line in text.splitlines() if "self.head.weight.copy_" not in line]
    path.write_text("\n".join(lines) + "\n")
    return spec


def _run(folder: Path, manifest: Path, spec: ModelSpec, threads: int) -> Row:
    plan = prepare(str(manifest), str(folder), spec, RunConfig(shard_size=SHARD, batch_size=64))
    explain = explainer(plan.task, plan.run.classes, plan.run.record["model"]["fingerprint"])
    with (
        _timing(explain, "explain_batch") as busy,
        _timing(Run, "commit") as commits,
        _timing(ShardMaps, "tables") as tables,
        ThreadPoolExecutor(threads) as pool,
    ):
        began = time.perf_counter()
        ends = list(pool.map(partial(audit_shard, plan.task), plan.run.shards))
        seconds = time.perf_counter() - began
    assert all(isinstance(end, Finished) for end in ends), ends
    return {
        "open_ms": 1e3 * _opened(plan),
        "tables_ms": 1e3 * median(tables),
        "commit_ms": 1e3 * median(commits),
        "network_busy": sum(busy) / seconds,
    }


def _opened(plan: Plan) -> float:
    """Seconds until a worker has a shard's samples."""
    began = time.perf_counter()
    shard = plan.run.shards[0]
    list(Run.open(plan.run.path).manifest(shard.start, shard.stop))
    return time.perf_counter() - began


@contextmanager
def _timing(holder: type[Any] | Method, name: str) -> Iterator[list[float]]:
    """The seconds of each call of a method, of a class's or of one object's."""
    real: Callable[..., object] = getattr(holder, name)
    seconds: list[float] = []

    def timed(*given: object, **named: object) -> object:
        began = time.perf_counter()
        try:
            return real(*given, **named)
        finally:
            seconds.append(time.perf_counter() - began)

    setattr(holder, name, timed)
    try:
        yield seconds
    finally:
        setattr(holder, name, real)


def _medians(threads: int, rows: list[Row]) -> Row:
    parts = {name: round(median(float(str(row[name])) for row in rows), 3) for name in rows[0]}
    beside = sum(parts[name] for name in ("open_ms", "tables_ms", "commit_ms")) / (1e3 * SHARD / IMAGES_A_SECOND)
    return {"candidate": f"shards of {SHARD}", "threads": threads, **parts, "of_compute": round(beside, 3)}
