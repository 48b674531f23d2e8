"""Tables of a run: Parquet parts, one a shard, each written whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audit.errors import RunError
from audit.store.files import write_atomically


def write_table(path: Path, columns: Mapping[str, Any], schema: pa.Schema, durable: bool = True) -> None:
    """Write columns under a schema; the same columns give the same bytes.

    Args:
        durable: wait until it is on the disk, which takes ten times as long.
    """
    table = pa.table({field.name: _column(columns[field.name], field.type) for field in schema}, schema=schema)
    write_atomically(path, lambda partial: pq.write_table(table, partial, compression="zstd"), durable)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one part.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:  # in half the time of `read_table`, which looks for a data set first
            return file.read(columns=list(columns) if columns else None)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"Cannot read {path}: {reason}; recompute it with `camaudit repair {path.parent.parent}`"
        ) from None


def read_parts(
    folder: Path, shards: Sequence[int], part_name: Any, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The parts of the given shards, one after another."""
    for shard in shards:
        yield read_table(folder / part_name(shard), columns)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind.value_type), type=kind)
    return pa.array(values, kind, from_pandas=True)
