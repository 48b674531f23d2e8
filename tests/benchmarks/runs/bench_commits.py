"""What a full shard takes beside its network, and how much of it threads and processes of a worker hide.

The network sleeps a millisecond an image, as a GPU of 1,000 images a second would, and its layer has 512 channels.
Pictures are tiny, so that two cores can feed it. `scorers`: processes that score. `handed_over`: the next shard begins
when the last image of one is on its way, as a worker of a GPU does. `network_busy`: the share of the wall in which a
batch is explained. `worker_ms`: of an image, CPU time of the worker's own process, the network's among it.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from audit.attribution import Method
from audit.datasets.manifest import Manifest
from audit.models import ModelSpec
from audit.store import Run, Shard
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards import shard
from pipelines.run.shards.attribute import ShardMaps
from pipelines.run.shards.scorers import scorers_of
from pipelines.run.shards.shard import Finished, audit_shard, explainer
from tests.benchmarks.timing import Row
from tests.faults.collection import CLASSES, draw_sample, write_model

SHARD, SHARDS = 4096, 3
IMAGES_A_SECOND = 1000
CANDIDATES = ((1, 0, False), (3, 0, False), (1, 1, False), (1, 2, False), (1, 2, True), (3, 2, False))
"""Threads of the worker, scorers, whether shards are handed over."""
_DRAWN = 64
_WIDE = {"nn.ReLU())": "nn.ReLU(), nn.Conv2d(3, 512, 1, bias=False))", "nn.Linear(3, 3)": "nn.Linear(512, 3)"}


def measure(rounds: int) -> list[Row]:
    """A row for each candidate; medians over shards and rounds."""
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        manifest, spec = _collection(Path(folder)), _network(Path(folder))
        taken: dict[tuple[int, int, bool], list[Row]] = {candidate: [] for candidate in CANDIDATES}
        for turn in range(rounds + 1):
            for candidate, rows in taken.items():
                row = _run(Path(folder) / f"run-{turn}-{len(rows)}-{candidate}", manifest, spec, *candidate)
                rows += [row] if turn else []  # the first one loads
        return [_medians(candidate, rows) for candidate, rows in taken.items()]


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


def _run(folder: Path, manifest: Path, spec: ModelSpec, threads: int, scorers: int, handed_over: bool) -> Row:
    plan = prepare(str(manifest), str(folder), spec, RunConfig(shard_size=SHARD, batch_size=64))
    explain = explainer(plan.task, plan.run.classes, plan.run.record["model"]["fingerprint"])
    in_hand = _InHand(threads)
    task = replace(plan.task, scorers=scorers)
    with (
        scorers_of(scorers) as started,
        _timing(explain, "explain_batch") as busy,
        _timing(Run, "commit") as commits,
        _timing(ShardMaps, "tables") as tables,
        patch.object(shard, "_hand_over", in_hand.hand_over if handed_over else lambda *_given: None),
        ThreadPoolExecutor(2 * threads) as pool,
    ):
        if started is not None:
            wait(started.start())
        began, own = time.perf_counter(), time.process_time()
        ends = list(pool.map(partial(in_hand.do, partial(audit_shard, task)), plan.run.shards))
        seconds, worker = time.perf_counter() - began, time.process_time() - own
    assert all(isinstance(end, Finished) for end in ends), ends
    return {
        "open_ms": 1e3 * _opened(plan),
        "tables_ms": 1e3 * median(tables),
        "commit_ms": 1e3 * median(commits),
        "worker_ms": 1e3 * worker / (SHARD * SHARDS),
        "images_per_s": SHARD * SHARDS / seconds,
        "network_busy": sum(busy) / seconds,
    }


class _InHand:
    """So many shards at a time, each until it is done or hands over."""

    def __init__(self, most: int) -> None:
        self._room, self._own = threading.Semaphore(most), threading.local()

    def do(self, work: Callable[[Shard], object], shard: Shard) -> object:
        self._room.acquire()
        self._own.holds = True
        try:
            return work(shard)
        finally:
            self.hand_over()

    def hand_over(self, *_given: object) -> None:
        if self._own.holds:
            self._own.holds = False
            self._room.release()


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


def _medians(candidate: tuple[int, int, bool], rows: list[Row]) -> Row:
    threads, scorers, handed_over = candidate
    parts = {name: round(median(float(str(row[name])) for row in rows), 3) for name in rows[0]}
    beside = sum(parts[name] for name in ("open_ms", "tables_ms", "commit_ms")) / (1e3 * SHARD / IMAGES_A_SECOND)
    what: Row = {"candidate": f"shards of {SHARD}", "threads": threads, "scorers": scorers, "handed_over": handed_over}
    return what | parts | {"of_compute": round(beside, 3)}
