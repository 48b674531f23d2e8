"""Bytes a target in the tables of a run over the 280 VOC images, in one shard, and what packing costs.

Columns are told as Parquet keeps them, compressed; the rest of a file is its footer. Without the photographs, which lie
beside the project, there is nothing to measure.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from audit.store import Run, layout
from audit.store.tables.packing import pack, unpack
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from tests.benchmarks.runs.bench_precision import voc
from tests.benchmarks.timing import Row


def measure(rounds: int) -> list[Row]:
    """A row a table, and one of all. Bytes do not vary with the round."""
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        for collection in voc(Path(folder))[:1]:
            request = (collection.manifest, Path(folder) / "run", collection.spec, RunConfig(shard_size=280))
            run = start(Request(*request, ClusterConfig(1, compiling="never"))).run
            return _rows(run)
    return []


def _rows(run: Run) -> list[Row]:
    (shard,) = run.shards
    targets = run.read("targets", shard, ["sample"]).num_rows
    rows = list[Row]()
    for name in layout.PARTS:
        path = run.part(name, shard)
        if isinstance(path, Path):
            columns, file = _bytes(path)
            rows.append(
                {"table": name, "columns": columns / targets, "with footer": file / targets, **_cost(run, name)}
            )
    sums = {key: sum(float(str(row[key])) for row in rows) for key in rows[0] if key != "table"}
    return [*rows, {"table": f"all, of {targets} targets", **sums}]


def _bytes(path: Path) -> tuple[int, int]:
    """Of the columns of a file, and of the file."""
    footer = pq.read_metadata(path)
    groups = (footer.row_group(group) for group in range(footer.num_row_groups))
    sizes = (group.column(place).total_compressed_size for group in groups for place in range(group.num_columns))
    return sum(sizes), path.stat().st_size


def _cost(run: Run, name: str) -> Row:
    """Milliseconds of a core to pack the shard's table, and to unpack it."""
    schema, table = layout.PARTS[name], run.read(name, run.shards[0])
    began = time.process_time()
    packed = pack(table)
    middle = time.process_time()
    unpack(packed, schema)
    return {"pack, ms": 1e3 * (middle - began), "unpack, ms": 1e3 * (time.process_time() - middle)}
