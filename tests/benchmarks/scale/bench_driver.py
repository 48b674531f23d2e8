"""What the process that drives a run holds, from a table of a million images to the last shard: peaks over its start.

Workers commit empty tables, so a shard takes them hardly any time, and the driver goes through all of them. Findings
are not made: what they take is `bench_million`'s to say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from audit.datasets import ManifestFile, list_table
from audit.datasets.manifest_file import most_labels
from audit.store import Run, Shard
from audit.store.layout import PARTS
from pipelines.run.account import status_record
from pipelines.run.config import ClusterConfig, default_shard_size
from pipelines.run.shards.shard import Finished
from pipelines.run.workers.client import connect
from pipelines.run.workers.schedule import pending, submit_all
from tests.benchmarks.scale.bench_findings import memory_mb
from tests.benchmarks.timing import Row

IMAGES = 1_000_000
CLASSES = 20
FOLDERS = 1000
_GRID = (7, 7)


def measure(rounds: int) -> list[Row]:
    """A row a phase. Memory does not vary as time does: one round."""
    with tempfile.TemporaryDirectory() as folder:
        _write_table(Path(folder) / "images.csv")
        # Not `apart`, whose process may start no others.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(_drive, folder).result()


def _write_table(path: Path) -> None:
    """Paths in folders, whose stems clash from folder to folder, a label and a camera each."""
    with path.open("w") as file:
        file.write("path,label,camera\n")
        for row in range(IMAGES):
            place, number = row % FOLDERS, row // FOLDERS
            file.write(f"site-{place:04d}/frame-{number:06d}.jpg,class {row % CLASSES},camera {row % 7}\n")


def _drive(folder: str) -> list[Row]:
    """What `camaudit index table` and `camaudit run` do in the driver, but for the model."""
    root, rows = Path(folder), list[Row]()
    start = memory_mb("VmRSS")

    def phase(name: str, work: Callable[[], object]) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        work()
        rows.append({"candidate": name, "peak_over_start_mb": round(memory_mb("VmHWM") - start)})

    phase("index", lambda: list_table(root / "images.csv").save(root / "manifest.parquet"))
    phase("lay out", lambda: _lay_out(root))
    phase("give out shards", lambda: _give_out(str(root / "run")))
    phase("account", lambda: status_record(Run.open(root / "run"), check=True))
    return [row | {"images": IMAGES, "shards": len(Run.open(root / "run").shards)} for row in rows]


def _lay_out(root: Path) -> None:
    manifest = ManifestFile.open(root / "manifest.parquet")
    labels = most_labels(manifest.tables(["labels"]))
    record = {
        "config": {"scored": True, "roles": ["label"], "method": "gradcam"},
        "model": {"fingerprint": "0", "layer": "none"},
        "source": {"model": "none"},
        "grid": list(_GRID),
        "slots": labels,
        "encoding": "float16",
        "shard_size": default_shard_size(IMAGES, 1, _GRID[0] * _GRID[1] * labels),
    }
    Run.create(root / "run", manifest, record)


def _give_out(path: str) -> None:
    run = Run.open(path)
    with connect(ClusterConfig(workers=1)) as client:
        submit_all(client, pending(run), partial(_commit_nothing, path))


def _commit_nothing(path: str, shard: Shard) -> Finished:
    run = Run.open(path)
    tables = {name: {column: [] for column in schema.names} for name, schema in PARTS.items()}
    counts = {"processed": len(shard), "failed": 0, "transient": 0, "seconds": 0.0}
    run.commit(shard, None, tables, counts, run.entry(shard))
    return Finished(shard, len(shard), 0)
