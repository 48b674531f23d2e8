"""What one scheduler and one driver cost a shard, what a commit asks of the file system, and how far that goes.

The parts are measured: a scheduler in a process of its own, workers in another that do nothing, the driver here. From
them a simulation (`simulated_cluster`) says how many shards go through as workers of 1,000 images a second grow. What
heartbeats take of the scheduler is measured apart. Costs of more workers than were measured lie on a line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from distributed import Client
from PIL import Image

from audit.datasets.manifest import Manifest, Sample
from audit.export import PseudoMasks, export_labels
from audit.export.labels.writing import Work
from audit.progress import Progress
from audit.store import Run, Shard
from audit.store.layout import PARTS
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.export import write_part
from pipelines.run.plan import prepare
from pipelines.run.shards.shard import Finished, audit_shard
from pipelines.run.workers.client import connect
from pipelines.run.workers.probe import Needs
from pipelines.run.workers.schedule import pending, submit_all
from tests.benchmarks.runs import bench_commits
from tests.benchmarks.runs.bench_commits import IMAGES_A_SECOND, SHARD
from tests.benchmarks.scale.simulated_cluster import Costs, simulate
from tests.benchmarks.timing import Row
from tests.faults.attached import attached
from tests.faults.collection import CLASSES, planned, write_model

WORKERS = (10, 100, 300, 1000)
TASKS = 600
LEDGERS = (40, 400, 4000)
"""Shards of runs of ten thousand, a hundred thousand and a million samples."""

CREW = """
import asyncio, sys
from distributed import Worker

async def main(file, count):
    workers = [Worker(scheduler_file=file, nthreads=1, host="127.0.0.1", dashboard=False) for _ in range(count)]
    await asyncio.gather(*workers)
    await workers[0].finished()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
_IDLE_S = 5.0
_EXPORTED, _SIZE = 1200, (375, 500)
_COUNTED = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.scandir", "os.listdir")


def measure(rounds: int) -> list[Row]:
    """What a shard costs scheduler and driver, by workers; what its commit costs; then the simulation."""
    with tempfile.TemporaryDirectory() as folder:
        dispatched = [_dispatch(Path(folder), workers, rounds) for workers in (10, 100)]
        exported = _exports(Path(folder), rounds)
        commit = _commit(Path(folder))
        ledgers = [_ledger(Path(folder), shards) for shards in LEDGERS]
    whole, *_ = bench_commits.measure(1)
    simulated = [_simulated(dispatched, commit, whole, workers) for workers in WORKERS]
    return [*dispatched, exported, commit, whole, *ledgers, *simulated]


def _dispatch(folder: Path, workers: int, rounds: int) -> Row:
    """Seconds of the scheduler's and of the driver's process a task that does nothing."""
    plan = planned(folder / f"dispatch-{workers}", 4)
    shards = [Shard(index, index, index + 1) for index in range(TASKS)]
    ours, theirs, wall = list[float](), list[float](), list[float]()
    with _idle_workers(folder / f"cluster-{workers}", workers) as (file, scheduler):
        config = ClusterConfig(scheduler_file=str(file), min_workers=workers)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            began = _cpu(scheduler)
            time.sleep(_IDLE_S)
            beats = (_cpu(scheduler) - began) / _IDLE_S
            for turn in range(rounds + 1):
                before = _cpu(scheduler), time.process_time(), time.perf_counter()
                submit_all(client, shards, _nothing, cluster=config, needs=Needs(str(plan.run.path)))
                after = _cpu(scheduler), time.process_time(), time.perf_counter()
                if turn:  # the first one loads
                    for values, end, begin in zip((theirs, ours, wall), after, before, strict=True):
                        values.append((end - begin) / TASKS)
    return {
        "candidate": "dispatch",
        "workers": workers,
        "tasks": TASKS,
        "scheduler_ms": round(1e3 * median(theirs) - 1e3 * median(wall) * beats, 2),
        "heartbeats_busy": round(beats, 4),
        "driver_ms": round(1e3 * median(ours), 2),
        "wall_ms": round(1e3 * median(wall), 2),
    }


def _nothing(shard: Shard) -> Finished:
    return Finished(shard, len(shard), 0)


@contextmanager
def _idle_workers(folder: Path, count: int) -> Iterator[tuple[Path, psutil.Process]]:
    with attached(folder) as cluster:
        crew = subprocess.Popen([sys.executable, "-c", CREW, str(cluster.file), str(count)], start_new_session=True)
        try:
            cluster.wait_for(count)
            yield cluster.file, psutil.Process(cluster.processes[0].pid)
        finally:
            crew.kill()
            crew.wait()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _commit(folder: Path) -> Row:
    """Calls to the file system within the run that a shard makes, and the seconds of its commit; and of the ledger."""
    plan = planned(folder / "commit", 4 * 512)
    root, counts = str(plan.run.path), Counter[str]()

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event in _COUNTED and arguments and str(arguments[0]).startswith(root):
            counts[event] += 1

    audit_shard(plan.task, plan.run.shards[0])  # loads the model
    shards = plan.run.shards[1:257]
    sys.addaudithook(count)
    counts.clear()
    seconds = []
    real = Run.commit

    def timed(self: Run, *given: object, **named: object) -> object:
        began = time.perf_counter()
        entry = real(self, *given, **named)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - began)
        return entry

    Run.commit = timed  # type: ignore[assignment, method-assign]
    try:
        for shard in shards:
            audit_shard(plan.task, shard)
    finally:
        Run.commit = real  # type: ignore[method-assign]
    calls = {name: round(number / len(shards), 1) for name, number in counts.items()}
    listing = _seconds(partial(pending, plan.run)) / len(plan.run.shards)
    return {
        "candidate": "commit of 4 samples",
        "calls": json.dumps(calls),
        "calls_in_all": round(sum(counts.values()) / len(shards), 1),
        "commit_ms": round(1e3 * median(seconds), 2),
        "pending_us_a_shard": round(1e6 * listing, 1),
        "files": round(sum(len(files) for _, _, files in os.walk(root)) / (len(shards) + 1), 1),
    }


def _ledger(folder: Path, shards: int) -> Row:
    """Seconds of the questions that every command begins with, of a ledger of so many entries."""
    run = _run_of_entries(folder / f"ledger-{shards}", shards)
    questions = {"done_s": run.done, "pending_s": partial(pending, run), "account_s": run.account}
    began = time.process_time()
    taken = {name: round(_seconds(ask), 4) for name, ask in questions.items()}
    return {"candidate": "ledger", "shards": shards, **taken, "cpu_s": round(time.process_time() - began, 4)}


def _run_of_entries(path: Path, shards: int) -> Run:
    """A run whose ledger alone is full."""
    samples = (Sample(str(row), f"{row}.jpg", (0,)) for row in range(shards))
    record = {"grid": [7, 7], "slots": 2, "encoding": "float16", "shard_size": 1, "config": {}, "model": {}}
    run = Run.create(path, Manifest.from_samples(samples, CLASSES), record)
    counts = {"processed": 1, "failed": 0, "transient": 0, "scoring": 0}
    named = {f"{table}/part-{'0' * 5}.{'0' * 12}.parquet": "0" * 64 for table in PARTS}
    for shard in run.shards:
        run.ledger.enter(shard.index, {**counts, "shard": asdict(shard), "artefacts": named}, None)
    return run


def _exports(folder: Path, rounds: int) -> Row:
    """Seconds of an export as VOC PNGs by one worker and by two, in turn, workers started before."""
    run = _run_of_photographs(folder / "export")
    source = PseudoMasks(0.5).of(run)
    wall: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    with ExitStack() as stack:
        clients = {count: stack.enter_context(connect(ClusterConfig(count))) for count in wall}
        for turn in range(rounds + 1):
            for count, client in clients.items():
                out = folder / f"masks-{turn}-{count}"
                began, worked = time.perf_counter(), sum(client.run(time.process_time).values())
                export_labels(source, "voc-png", out, spread=partial(_spread, client))
                wall[count].append(time.perf_counter() - began)
                cpu[count].append(sum(client.run(time.process_time).values()) - worked)
                shutil.rmtree(out)
    wall, cpu = ({count: values[1:] for count, values in taken.items()} for taken in (wall, cpu))
    return {
        "candidate": f"voc-png of {_EXPORTED} images",
        "one_s": round(median(wall[1]), 2),
        "two_s": round(median(wall[2]), 2),
        "of_linear": round(median(one / two for one, two in zip(wall[1], wall[2], strict=True)) / 2, 3),
        "one_cpu_s": round(median(cpu[1]), 2),
        "two_cpu_s": round(median(cpu[2]), 2),
    }


def _spread(client: Client, shards: list[Shard], work: Work, progress: Progress) -> None:
    submit_all(client, shards, partial(write_part, work), progress)


def _run_of_photographs(folder: Path) -> Run:
    """A finished run over drawn images as large as photographs."""
    folder.mkdir()
    rng, samples = np.random.default_rng(0), []
    for index in range(_EXPORTED):
        pixels = np.full((*_SIZE, 3), 60, np.uint8)
        top, left, label = int(rng.integers(200)), int(rng.integers(300)), int(rng.integers(3))
        pixels[top : top + 150, left : left + 150, label] += 120
        Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=80)
        samples.append(Sample(str(index), f"{index}.jpg", (label,)))
    manifest = Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")
    config = RunConfig(shard_size=32, scored=False)
    plan = prepare(str(manifest), str(folder / "run"), write_model(folder), config)
    for shard in plan.run.shards:
        assert isinstance(audit_shard(plan.task, shard), Finished)
    return Run.open(plan.run.path)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _simulated(dispatched: Sequence[Row], commit: Row, whole: Row, workers: int) -> Row:
    """A run of workers of one thread, which do nothing else while they open, gather and commit a shard."""
    scheduler, driver, beats = (
        _at(dispatched, name, workers) for name in ("scheduler_ms", "driver_ms", "heartbeats_busy")
    )
    if beats >= 1:
        return {"candidate": "simulated", "workers": workers, "says": "heartbeats alone fill the scheduler"}
    compute = SHARD / IMAGES_A_SECOND
    write = sum(float(str(whole[part])) for part in ("open_ms", "tables_ms", "commit_ms")) / 1e3
    costs = Costs(scheduler / 1e3 / (1 - beats), driver / 1e3, compute, write)
    course = simulate(costs, workers, 20 * workers)
    return {
        "candidate": f"simulated, shards of {SHARD}",
        "workers": workers,
        "shards_a_second": round(course.shards_a_second, 2),
        "images_a_second": round(course.shards_a_second * SHARD),
        "of_linear": round(course.shards_a_second * compute / workers, 3),
        "calls_a_second": round(course.shards_a_second * float(str(commit["calls_in_all"]))),
        **{f"{station}_busy": round(share, 3) for station, share in course.busy.items()},
    }


def _at(rows: Sequence[Row], name: str, workers: int) -> float:
    """A cost for so many workers, on the line through the fewest and the most that were measured."""
    (low, first), (high, last) = ((float(str(row["workers"])), float(str(row[name]))) for row in (rows[0], rows[-1]))
    return max(first + (last - first) * (workers - low) / (high - low), 0.0)
