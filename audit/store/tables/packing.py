"""How bulky columns of a run's parts are kept: packed where a part is written, unpacked where it is read, only here.

What a column is, its type in `layout` says; how it is kept follows from that alone:

- counts by level: the differences from level to level, those below zero between those above (0, -1, 1, -2 ... are
  0, 1, 2, 3 ...), so that high bytes are zero. Nothing is lost.
- pooled counts, whose rows are in the order of levels: differences from row to row, the same way.
- shares by cell of the frame: a byte a cell, in steps of the largest share's 100th; what a step is worth stands beside
  them, NaN where the shares are. Their running sum is rounded, not each: a sum over cells would else lose all that is
  less than half a step. So a cell is off by a step at most, and all of them together by half a step.
- vectors of unit length: a byte a number, in steps of the largest number's 45th. Their length is 1 again when they are
  read; the direction of 128 numbers is off by 1 degree, by 1.5 at most. Twice as many steps take a bit a number more.

Both are compressed, so fewer steps take less room. How many there are stands nowhere: parts of any number read alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.store import layout

_CELLS = layout.CELLS**2
_MOST, _MOST_SIGNED = 100, 45
"""Steps of the largest value; the running sum may bring one more."""


class Packing(ABC):
    """How columns of one type are kept."""

    kind: ClassVar[pa.DataType]

    @abstractmethod
    def fields(self, name: str) -> list[pa.Field]:
        """The columns that one is kept as."""

    @abstractmethod
    def pack(self, values: pa.Array) -> list[pa.Array]:
        """Their values, in that order."""

    @abstractmethod
    def unpack(self, kept: Sequence[pa.Array]) -> pa.Array:
        """The values of the column again."""


class Counts(Packing):
    """Counts by level, as differences from level to level."""

    kind = layout.COUNTS

    def fields(self, name: str) -> list[pa.Field]:
        return [pa.field(name, pa.list_(pa.uint32(), layout.LEVELS))]

    def pack(self, values: pa.Array) -> list[pa.Array]:
        counts = np.asarray(values.flatten(), np.int64).reshape(-1, layout.LEVELS)
        steps = np.diff(counts, axis=1, prepend=0)
        folded = ((steps << 1) ^ (steps >> 63)).astype(np.uint32)
        return [_lists(folded, pa.list_(pa.uint32(), layout.LEVELS))]

    def unpack(self, kept: Sequence[pa.Array]) -> pa.Array:
        folded = np.asarray(kept[0].flatten()).reshape(-1, layout.LEVELS)
        steps = (folded >> 1).view(np.int32) ^ -(folded & 1).view(np.int32)
        return _lists(np.cumsum(steps, axis=1, dtype=np.int32), self.kind)


class Pooled(Packing):
    """Counts of which the next is about as large, row by row, as differences; older parts keep them as they are."""

    kind = pa.int64()

    def fields(self, name: str) -> list[pa.Field]:
        return [pa.field(f"{name}_steps", pa.uint64())]

    def pack(self, values: pa.Array) -> list[pa.Array]:
        counts = np.asarray(values, np.int64)
        steps = counts - np.append(np.int64(0), counts[:-1])
        return [pa.array(((steps << 1) ^ (steps >> 63)).view(np.uint64))]

    def unpack(self, kept: Sequence[pa.Array]) -> pa.Array:
        folded = np.asarray(kept[0], np.uint64)
        return pa.array(np.cumsum((folded >> np.uint64(1)).view(np.int64) ^ -(folded & np.uint64(1)).view(np.int64)))


class Shares(Packing):
    """Shares by cell of the frame, in steps of the largest one's 100th."""

    kind = layout.FRAME

    def fields(self, name: str) -> list[pa.Field]:
        return [pa.field(name, pa.binary(_CELLS)), pa.field(f"{name}_step", pa.float32())]

    def pack(self, values: pa.Array) -> list[pa.Array]:
        shares = np.asarray(values.flatten(), np.float32).reshape(-1, _CELLS)
        step = shares.max(axis=1, initial=0) / _MOST
        summed = np.rint(np.cumsum(shares / np.where(step > 0, step, 1)[:, None], axis=1))
        steps = np.diff(summed, axis=1, prepend=0)
        return [_bytes(np.nan_to_num(steps).astype(np.uint8)), pa.array(step, pa.float32())]

    def unpack(self, kept: Sequence[pa.Array]) -> pa.Array:
        steps, step = _matrix(kept[0], np.uint8), np.asarray(kept[1].to_numpy(zero_copy_only=False), np.float32)
        return _lists((steps * step[:, None]).astype(np.float16), self.kind)


class UnitVectors(Packing):
    """Vectors of unit length and one width, or null, in steps of the largest number's 45th."""

    kind = layout.UNIT_VECTOR

    def fields(self, name: str) -> list[pa.Field]:
        return [pa.field(name, pa.binary())]

    def pack(self, values: pa.Array) -> list[pa.Array]:
        there = np.asarray(values.is_valid())
        vectors = _by_row(np.asarray(values.drop_null().flatten(), np.float32), int(there.sum()))
        largest = np.abs(vectors).max(axis=1, initial=np.finfo(np.float32).tiny, keepdims=True)
        steps = np.rint(_MOST_SIGNED * vectors / largest).astype(np.int8)
        return [pa.array([row.tobytes() for row in steps], pa.binary()).take(_places(there))]

    def unpack(self, kept: Sequence[pa.Array]) -> pa.Array:
        there = np.asarray(kept[0].is_valid())
        rows = kept[0].drop_null()
        steps = _by_row(np.frombuffer(b"".join(rows.to_pylist()), np.int8), len(rows)).astype(np.float32)
        lengths = np.linalg.norm(steps, axis=1, keepdims=True)
        vectors = (steps / np.maximum(lengths, 1)).astype(np.float16)
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * vectors.shape[1]
        return pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)), type=self.kind).take(_places(there))


PACKINGS: dict[pa.DataType, Packing] = {packing.kind: packing for packing in (Counts(), Shares(), UnitVectors())}
"""Type of a column -> how it is kept; other columns are kept as they are."""
_POOLED = {"count": Pooled()}
"""The same of a column that is one of many of its type, by its name."""


def packed_names(schema: pa.Schema, columns: Sequence[str] | None = None) -> list[str]:
    """The columns that a part has for some of a table's, or for all of them."""
    chosen = schema.names if columns is None else columns
    return [field.name for name in chosen for field in _kept_as(schema.field(name))]


def older_names(schema: pa.Schema, columns: Sequence[str] | None = None) -> list[str]:
    """Those that a part of an earlier camaudit has instead."""
    return [name for name in (schema.names if columns is None else columns) if name in _POOLED]


def pack(table: pa.Table) -> pa.Table:
    """A table under its schema of `layout`, as a part keeps it."""
    fields, arrays = list[pa.Field](), list[pa.Array]()
    for field in table.schema:
        values, packing = table[field.name].combine_chunks(), _packing(field)
        fields += _kept_as(field)
        arrays += packing.pack(values) if packing else [values]
    return pa.table(arrays, schema=pa.schema(fields))


def unpack(part: pa.Table, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Some of a table's columns, or all of them, from a part as it is kept."""
    fields = [schema.field(name) for name in (schema.names if columns is None else columns)]
    arrays = []
    for field in fields:
        packing = None if field.name in part.column_names and field.name in _POOLED else _packing(field)
        kept_as = packing.fields(field.name) if packing else [field]
        kept = [_typed(part[own.name].combine_chunks(), own.type) for own in kept_as]
        arrays.append(packing.unpack(kept) if packing else kept[0])
    return pa.table(arrays, schema=pa.schema(fields))


def _packing(field: pa.Field) -> Packing | None:
    return PACKINGS.get(field.type) or _POOLED.get(field.name)


def _kept_as(field: pa.Field) -> list[pa.Field]:
    packing = _packing(field)
    return packing.fields(field.name) if packing else [field]


def _typed(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """What Parquet gives back, of the type that was written: of lists it does not say that all have one length."""
    if pa.types.is_fixed_size_list(kind) and not pa.types.is_fixed_size_list(values.type):
        return pa.FixedSizeListArray.from_arrays(values.flatten(), type=kind)
    return values if values.type == kind else values.cast(kind)


def _lists(values: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind)


def _bytes(values: NDArray[np.uint8]) -> pa.Array:
    buffers = [None, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(values.shape[1]), len(values), buffers)


def _matrix(values: pa.Array, kind: type[np.uint8]) -> NDArray[np.uint8]:
    """Fixed-size binary values [n, width], without a copy."""
    width = values.type.byte_width
    flat = np.frombuffer(values.buffers()[1], kind) if len(values) else np.zeros(0, kind)
    return flat[values.offset * width :][: len(values) * width].reshape(-1, width)


def _by_row(values: NDArray[Any], rows: int) -> NDArray[Any]:
    return values.reshape(rows, -1 if rows else 0)


def _places(there: NDArray[np.bool_]) -> pa.Array:
    """Of each row among those that are not null; null where it is."""
    return pa.array(np.cumsum(there) - 1, pa.int64(), mask=~there)
