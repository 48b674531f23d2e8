"""What `camaudit status` asks of a run in a bucket, with the copy of all ledger entries and without.

The bucket is moto's, in this process, and every answer comes 20 ms late, as an object store's does. Each question is
that of a new process. Entries name eleven files that are not there: `status` reads none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import sha256

import pytest

import audit.store.ledger as ledger
from audit.datasets import Manifest, Sample
from audit.store import Run, layout
from audit.store.ledger import ROLLED_UP
from pipelines.run.account import status_record
from tests.benchmarks.timing import Row
from tests.support.bucket import Faults, new_bucket, served

SHARDS = (1000, 4000)
LATE_S = 0.02
_WRITERS = 8


def measure(rounds: int) -> list[Row]:
    """A row for each number of shards. One round: what counts are requests."""
    with pytest.MonkeyPatch.context() as patch, served(patch) as faults:
        return [row for shards in SHARDS for row in _rows(faults, shards)]


def _rows(faults: Faults, shards: int) -> Iterator[Row]:
    run = _drawn(f"{new_bucket(faults).url}/run", shards)
    with _late(faults):
        for copied in (False, True):
            rolled_up = _asked(faults, run.ledger.roll_up if copied else _nothing)
            for name, question in {"account": run.account, "status": partial(status_record, run, check=False)}.items():
                row: Row = {"shards": shards, "copy": copied, "question": name}
                yield row | _asked(faults, question) | {"to write, s": rolled_up["seconds"] if copied else ""}
        (run.path / layout.LEDGER / ROLLED_UP).unlink()


def _drawn(url: str, shards: int) -> Run:
    listed = Manifest.from_samples((Sample(f"{row}", f"{row}.png") for row in range(shards)), ("a",))
    maps = {"grid": [2, 2], "slots": 1, "encoding": "float16", "shard_size": 1}
    run = Run.create(url, listed, {"config": {}, "model": {}, **maps})
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(lambda shard: _enter(run, shard), range(shards)))
    return run


def _enter(run: Run, shard: int) -> None:
    digests = {name: sha256(f"{name} {shard}".encode()).hexdigest() for name in (layout.MAPS, *layout.PARTS)}
    files = {f"{name}/part-{shard:05d}.{digest[:12]}.parquet": digest for name, digest in digests.items()}
    counts = {"processed": 1, "failed": 0, "transient": 0, "scoring": 0, "seconds": {"attribute": 1.25, "score": 0.5}}
    run.ledger.enter(shard, {**counts, "shard": {"index": shard}, "artefacts": files}, None)


def _asked(faults: Faults, question: Callable[[], object]) -> Row:
    """Requests and seconds of a question that a new process asks."""
    ledger._read.cache_clear()
    ledger._rolled_up.cache_clear()
    faults.requests.clear()
    began = time.perf_counter()
    question()
    return {"requests": sum(faults.requests.values()), "seconds": time.perf_counter() - began}


@contextmanager
def _late(faults: Faults) -> Iterator[None]:
    """Every answer comes late."""
    meet = faults.meet

    def meet_late(method: str, path: str) -> object:
        time.sleep(LATE_S)
        return meet(method, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "meet", meet_late)
        yield


def _nothing() -> None: ...
