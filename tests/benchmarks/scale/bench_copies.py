"""Grouping a million difference hashes into copies: seconds, and the process's peak memory.

Of images that owe nothing to one another; with a tenth of them copies; with a quarter flat and a quarter nearly so.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
from numpy.typing import NDArray

from audit.images import near_copies
from tests.benchmarks.scale.bench_findings import memory_mb
from tests.benchmarks.timing import Row, apart

HASHES = 1_000_000


def measure(rounds: int) -> list[Row]:
    """A row for each collection."""
    return [apart(_measure, name, rounds) for name in ("different", "a tenth copies", "half nearly flat")]


def _measure(name: str, rounds: int) -> Row:
    hashes, seconds = _drawn(name), []
    for _ in range(rounds):
        began = time.perf_counter()
        group = near_copies(hashes.view(np.int64))
        seconds.append(time.perf_counter() - began)
    return {
        "candidate": name,
        "hashes": HASHES,
        "seconds": seconds,
        "median_s": round(median(seconds), 1),
        "peak_mb": round(memory_mb("VmHWM")),
        "groups": int(group.max()) + 1,
    }


def _drawn(name: str) -> NDArray[np.uint64]:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, HASHES, dtype=np.uint64)
    if name == "a tenth copies":
        hashes[: HASHES // 10] = _flipped(hashes[-HASHES // 10 :], 4, rng)
    if name == "half nearly flat":
        hashes[: HASHES // 2] = 0
        hashes[: HASHES // 4] = _flipped(hashes[: HASHES // 4], 3, rng)
    return hashes


def _flipped(hashes: NDArray[np.uint64], bits: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    for _ in range(bits):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, len(hashes), dtype=np.uint64))
    return hashes
