"""Shards committed by writers that can be told apart by what they wrote."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np

from audit.store import Run, Shard, layout
from audit.store.ledger import Entry


def write(run: Run, shard: Shard, writer: int, before: Entry | None = None) -> Entry:
    """Commit a shard whose maps and targets both say who wrote them."""
    maps = np.full((len(shard), 1, 2, 2), writer + 1, np.float16)
    targets: dict[str, Any] = {name: [None] * len(shard) for name in layout.TARGETS.names}
    targets |= {"sample": list(range(shard.start, shard.stop)), "slot": [0] * len(shard), "rank": [writer] * len(shard)}
    counts = {"processed": len(shard), "failed": 0, "transient": 0}
    return run.commit(shard, maps, {"targets": targets}, counts, before)


def writer_of(run: Run, shard: Shard) -> int:
    """Who wrote the shard, after seeing that all of it says the same."""
    (rank,) = set(run.read("targets", shard, ["rank"])["rank"].to_pylist())
    assert (run.maps(shard.start, shard.stop) == rank + 1).all()
    return int(rank)


def write_together(run: Run, writers: int) -> list[list[Entry]]:
    """Let so many writers commit every shard, each at the same moment; what each was told of them."""
    together = Barrier(writers)

    def write_all(writer: int) -> list[Entry]:
        entries = []
        for shard in run.shards:
            together.wait()
            entries.append(write(run, shard, writer))
        return entries

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(write_all, range(writers)))
