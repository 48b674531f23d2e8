"""Findings of a million targets, from the tables of a run on the disk: seconds of `camaudit flag`, and peak memory.

Seconds of all cores stand beside: where other work is done at the same time, they say more.

The tables are drawn (`tests.drawn_run`): 20 classes, an attribute, 64 numbers under each target's heat, and a spot
planted in one class, in half of its images.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.store import Run
from pipelines.run.config import default_shard_size
from tests.benchmarks.scale.bench_findings import memory_mb
from tests.benchmarks.timing import Row, apart
from tests.support.drawn_run import CLASSES, MARKED, draw_run

TARGETS = 1_000_000


def measure(rounds: int) -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory() as folder:
        draw_run(Path(folder) / "run", TARGETS, shard_size=default_shard_size(TARGETS, 1, 49))
        return [apart(_measure, folder, rounds)]


def _measure(folder: str, rounds: int) -> Row:
    run = Run.open(Path(folder) / "run")
    seconds, worked = [], []
    for _ in range(rounds):
        began, idle = time.perf_counter(), time.process_time()
        flag(run, Rules())
        seconds.append(time.perf_counter() - began)
        worked.append(time.process_time() - idle)
    found = {claim.class_name for claim in Findings(run).standing_claims()}
    return {
        "candidate": "camaudit flag",
        "targets": TARGETS,
        "seconds": seconds,
        "median_s": round(median(seconds), 1),
        "median_cpu_s": round(median(worked), 1),
        "peak_mb": round(memory_mb("VmHWM")),
        "marked_found": CLASSES[MARKED] in found,
        "others_found": len(found - {CLASSES[MARKED]}),
    }
