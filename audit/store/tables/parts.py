"""Tables of a run: rows gathered under a schema, and Parquet parts, one a shard, each written whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from audit.errors import RunError
from audit.store import layout
from audit.store.storage.files import check_digest, read_checked, write_atomically, write_by_content
from audit.store.storage.objects import Location, ObjectPath
from audit.store.tables.encodings import options, part_options
from audit.store.tables.packing import pack

Column = Sequence[Any] | NDArray[Any]
"""Values of a column, one a row; arrays [n, length] for lists of one length."""

_MADE_BY = {layout.EFFECTS: "verify", layout.CAUSES: "verify"}
"""File of the findings -> the verb that writes it; `flag` writes the others."""


class Rows:
    """Rows of a table, gathered under its schema: one at a time, or in blocks of arrays.

    >>> rows = Rows(pa.schema([("sample", pa.int64()), ("area", pa.float32())]))
    >>> rows.add(sample=3, area=0.5)
    >>> rows.extend({"sample": [4, 5], "area": [0.1, 0.2]})
    >>> len(rows), rows.column("sample")
    (3, [3, 4, 5])
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._names = dict.fromkeys(schema.names)  # asked of the schema they would be made anew every time
        self._blocks: list[Mapping[str, Column]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        """Travels between processes as one block: a thousand small arrays would take longer than their content."""
        return vars(self) | {"_blocks": [self.columns()] if self._length else []}

    def add(self, **values: object) -> None:
        """Add a row.

        Raises:
            ValueError: a column of the schema is missing, or there is another.
        """
        self.extend({name: [value] for name, value in values.items()})

    def extend(self, columns: Mapping[str, Column]) -> None:
        """Add a block of rows.

        Raises:
            ValueError: a column of the schema is missing, there is another, or they differ in length.
        """
        self._check(columns)
        self._blocks.append(columns)
        self._length += len(next(iter(columns.values())))

    def merge(self, other: Rows) -> None:
        """Add all rows of another table of the same schema."""
        for block in other._blocks:
            self.extend(block)

    def column(self, name: str) -> Column:
        """Values of one column: an array where all blocks were arrays, empty of the schema's type without rows."""
        parts = [block[name] for block in self._blocks]
        if not parts:
            return _empty(self.schema.field(name).type)
        if all(isinstance(part, np.ndarray) for part in parts):
            return np.concatenate(parts)
        return list(chain.from_iterable(parts))

    def columns(self) -> dict[str, Column]:
        """All columns, as `write_table` takes them."""
        return {name: self.column(name) for name in self._names}

    def _check(self, columns: Mapping[str, Column]) -> None:
        if columns.keys() != self._names.keys():
            missing = [name for name in self._names if name not in columns]
            unknown = [name for name in columns if name not in self._names]
            wrong = [*(f"no {name}" for name in missing), *unknown]
            raise ValueError(f"Expected the columns {', '.join(self._names)}, got {', '.join(wrong)}")
        if len({len(column) for column in columns.values()}) > 1:
            lengths = {name: len(column) for name, column in columns.items()}
            raise ValueError(f"Expected columns of one length, got {lengths}")


def in_order(columns: Mapping[str, Column], by: str) -> dict[str, Column]:
    """Rows in ascending order of a column, as they came where it is the same; the columns as they are if they are so.

    >>> in_order({"sample": [2, 1, 2], "slot": [0, 0, 1]}, "sample")
    {'sample': [1, 2, 2], 'slot': [0, 0, 1]}
    """
    order = np.argsort(np.asarray(columns[by]), kind="stable")
    if np.array_equal(order, np.arange(len(order))):
        return dict(columns)
    return {
        name: column[order] if isinstance(column, np.ndarray) else [column[place] for place in order.tolist()]
        for name, column in columns.items()
    }


def write_table(path: Location, columns: Mapping[str, Column], schema: pa.Schema, durable: bool = True) -> None:
    """Write columns under a schema; the same columns give the same bytes.

    Args:
        durable: wait until it is on the disk, which takes ten times as long.
    """
    table = arrow_table(columns, schema)
    write_atomically(path, lambda partial: write_parquet(table, partial), durable)


def write_part(path: Location, columns: Mapping[str, Column], schema: pa.Schema) -> tuple[Location, str]:
    """Write columns under a schema, packed, to a file named by its content; returns where it lies, and its sha256."""
    table = pack(arrow_table(columns, schema))
    return write_by_content(path, lambda partial: pq.write_table(table, partial, **part_options(table.schema)))


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet whose pages have checksums, which every reader of Parquet may check."""
    pq.write_table(table, path, **options(table.schema))


def write_groups(tables: Iterable[pa.Table], path: Path) -> None:
    """The same of tables of one schema, at least one, each a row group; one at a time is held."""
    coming = iter(tables)
    first = next(coming)
    with pq.ParquetWriter(path, first.schema, **options(first.schema)) as writer:
        for table in chain([first], coming):
            writer.write_table(table, row_group_size=max(len(table), 1))


def read_table(path: Location, columns: Sequence[str] | None = None, digest: str | None = None) -> pa.Table:
    """Read one part.

    Args:
        digest: sha256 of the file, where it is known: checksums of pages leave headers and footer out.

    Raises:
        RunError: it is missing or damaged.
    """
    advice = made_by(path)
    source = _checked(path, digest, advice)
    try:
        # In half the time of `read_table`, which looks for a data set first.
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            return file.read(columns=list(columns) if columns else None)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"Cannot read {path}: {reason}; {advice}") from None


def _checked(path: Location, digest: str | None, advice: str) -> Path | pa.BufferReader:
    """What Parquet is read from: a file, or the content of an object, which is fetched once to be checked and read."""
    if isinstance(path, ObjectPath):
        return pa.BufferReader(read_checked(path, digest, advice))
    if digest is not None:
        check_digest(path, digest, advice)
    return path


def read_rows(path: Path, start: int, stop: int, columns: Sequence[str]) -> pa.Table:
    """Rows `start:stop` of a table, for which the row groups that hold them are read.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            ends = np.cumsum([0, *sizes])
            groups = [group for group in range(len(sizes)) if ends[group] < stop and ends[group + 1] > start]
            first = int(ends[groups[0]]) if groups else start
            return file.read_row_groups(groups, columns=list(columns)).slice(start - first, max(stop - start, 0))
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"Cannot read {path}: {str(error).splitlines()[0]}; {made_by(path)}") from None


def made_by(path: Location) -> str:
    """What to do where a table of a run is damaged: the command that writes it again."""
    verb = _MADE_BY.get(path.name, "flag" if path.parent.name == layout.FINDINGS else "repair")
    return f"again: `camaudit {verb} {path.parent.parent}`"


def arrow_table(columns: Mapping[str, Column], schema: pa.Schema) -> pa.Table:
    """Columns under a schema."""
    return pa.table({field.name: _column(columns[field.name], field.type) for field in schema}, schema=schema)


def _column(values: Column, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(values).reshape(-1), kind.value_type), type=kind)
    return pa.array(values, kind, from_pandas=True)


def _empty(kind: pa.DataType) -> NDArray[Any]:
    if pa.types.is_fixed_size_list(kind):
        return np.empty((0, kind.list_size), kind.value_type.to_pandas_dtype())
    return np.empty(0, kind.to_pandas_dtype())
