"""Typed rows: a frozen dataclass whose fields say name, type, bounds and meaning of a table's columns, once.

From it follow the table's schema, rows read and written, plain values for other programs, and a JSON Schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Self, get_args, get_type_hints

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """A column of a table of records.

    Attributes:
        name: in the table; that of the field, unless it is a word of Python.
        kind: its type in the table.
        says: what it means, for readers of the record.
        nullable: whether it may be unknown.
        choices: the values that it has, if they are few.
        least, most: bounds.
        stored: whether it stands in the table; else it is joined on reading.
        packed: whether it is an object, kept as JSON text.
    """

    name: str
    kind: pa.DataType
    says: str
    nullable: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    stored: bool = True
    packed: bool = False

    def schema(self) -> dict[str, Any]:
        """As a property of a JSON Schema."""
        kinds = [self._json_type(), *(["null"] if self.nullable else [])]
        choices: dict[str, Any] = {"enum": [*self.choices, *([None] if self.nullable else [])]}
        described = choices if self.choices else {"type": kinds if self.nullable else kinds[0]}
        bounds = {"minimum": self.least, "maximum": self.most}
        known = {key: value for key, value in bounds.items() if value is not None}
        return described | known | {"description": self.says}

    def _json_type(self) -> str:
        if self.packed:
            return "object"
        if pa.types.is_boolean(self.kind):
            return "boolean"
        if pa.types.is_integer(self.kind):
            return "integer"
        return "number" if pa.types.is_floating(self.kind) else "string"


def column(kind: pa.DataType, says: str, *, default: Any = ..., **more: Any) -> Any:
    """A dataclass field that is a column; `more` as of `Column`."""
    known = {} if default is ... else {"default": default}
    return field(metadata={"column": {"kind": kind, "says": says, **more}}, **known)


class Record:
    """Base of frozen dataclasses whose fields are all made by `column`."""

    __slots__ = ()

    @classmethod
    @cache
    def columns(cls) -> dict[str, Column]:
        """Field name -> column."""
        hints = get_type_hints(cls)
        described = {}
        for entry in fields(cls):  # type: ignore[arg-type]
            options = {"name": entry.name, **entry.metadata["column"]}
            described[entry.name] = Column(nullable=type(None) in get_args(hints[entry.name]), **options)
        return described

    @classmethod
    @cache
    def schema(cls) -> pa.Schema:
        """Of the table."""
        return pa.schema([(place.name, place.kind) for place in cls.columns().values() if place.stored])

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a table's row, or one with joined columns too."""
        values = {}
        for name, place in cls.columns().items():
            if place.name in row:
                value = row[place.name]
                values[name] = json.loads(value or "{}") if place.packed else value
        return cls(**values)

    def to_row(self) -> dict[str, Any]:
        """As the table keeps it."""
        row = {}
        for name, place in self.columns().items():
            if place.stored:
                value = getattr(self, name)
                row[place.name] = json.dumps(value) if place.packed else value
        return row

    def plain(self) -> dict[str, Any]:
        """All columns as values that JSON has: what is not finite is None."""
        return {place.name: finite(getattr(self, name)) for name, place in self.columns().items()}


def columns_of(kind: type[Record], records: Iterable[Record]) -> dict[str, list[Any]]:
    """Records as the columns of their table."""
    rows = [record.to_row() for record in records]
    return {name: [row[name] for row in rows] for name in kind.schema().names}


def json_schema(kind: type[Record], says: str) -> dict[str, Any]:
    """The JSON Schema of `Record.plain`."""
    properties = {place.name: place.schema() for place in kind.columns().values()}
    shape = {"type": "object", "description": says, "properties": properties}
    return shape | {"required": list(properties), "additionalProperties": False}


def finite(value: Any) -> Any:
    """The value with what is not finite, at any depth, as None: JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(part) for part in value]
    return value
