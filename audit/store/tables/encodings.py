"""How the columns of tables are encoded in Parquet: what repeats by a dictionary, the rest by what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

_LEVEL = 6
"""Of zstd, for parts: a hundredth less room than the default's, for 0.02 ms a target."""
_RISING = ("sample", "map_level")
_UNLIKE = ("id", "digest", "look", "count_steps")
"""Columns of parts whose values rise row by row, and that hardly repeat one."""
_ELEMENT = ".list.element"
"""Of the name that Parquet gives to the values of a column of lists."""


def options(schema: pa.Schema) -> dict[str, Any]:
    """Arguments of `pyarrow.parquet.write_table`.

    Floats hardly repeat: without dictionaries they take less room, and half the time to read. Pages have checksums,
    which every reader of Parquet may check.
    """
    repeating = [path for path, kind in _leaves(schema) if not pa.types.is_floating(kind)]
    return {"compression": "zstd", "write_page_checksum": True, "use_dictionary": repeating}


def part_options(schema: pa.Schema) -> dict[str, Any]:
    """The same of parts.

    Whoever reads one reads all its rows, so the least and highest values are not noted. Nor is the schema a second
    time, as Arrow would have it: `audit.store.layout` says what columns are.
    """
    encodings = {path: encoding for path, kind in _leaves(schema) if (encoding := _encoding(path, kind))}
    repeating = [path for path in options(schema)["use_dictionary"] if path not in encodings]
    encoded = {"use_dictionary": repeating, "column_encoding": encodings}
    left_out = {"write_statistics": False, "store_schema": False}
    return options(schema) | encoded | left_out | {"compression_level": _LEVEL}


def _encoding(path: str, kind: pa.DataType) -> str | None:
    """By which a column of a part takes least; None for what it has anyway. Split by byte, high bytes are all alike."""
    if path in _RISING:
        return "DELTA_BINARY_PACKED"
    if pa.types.is_binary(kind) or (pa.types.is_string(kind) and path in _UNLIKE):
        return "DELTA_LENGTH_BYTE_ARRAY"
    if pa.types.is_fixed_size_binary(kind):
        return "PLAIN"
    split = path in _UNLIKE or path.endswith(_ELEMENT) or pa.types.is_uint32(kind)
    return "BYTE_STREAM_SPLIT" if split and pa.types.is_integer(kind) else None


def _leaves(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """Columns as Parquet names them, and the types of their values."""
    for field in schema:
        nested = isinstance(field.type, pa.ListType | pa.FixedSizeListType)
        yield (f"{field.name}{_ELEMENT}", field.type.value_type) if nested else (field.name, field.type)
