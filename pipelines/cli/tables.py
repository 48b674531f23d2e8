"""Tables for people: one that is too wide shows fewer columns; a name is cut at 1000 characters, never to fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from audit.wording import shorten
from pipelines.terminal import columns as room_for_columns
from pipelines.terminal import results, say

_LONGEST_NAME = 1000
_FOLDED_FROM = 24
"""Characters of names that a table keeps in one line before it leaves out columns."""
_NARROWEST = 8


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its head.
        cells: one a row; each may have several lines.
        justify: where its cells stand.
        rank: columns of the highest rank go first where there is no room, all of one rank together; 0 stays.
        named: whether its cells are names that people gave; these go on in a next line where there is no room.
    """

    title: str
    cells: Sequence[str]
    justify: Literal["left", "right"] = "right"
    rank: int = 0
    named: bool = False

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(cell_len(line) for text in (self.title, *self.cells) for line in text.split("\n"))

    def least(self, folded_from: int) -> int:
        """Characters that it needs at the least."""
        return min(self.width, max(folded_from, cell_len(self.title))) if self.named else self.width


def numbers(title: str, cells: Iterable[object], rank: int = 0) -> Column:
    """A column of numbers."""
    return Column(title, [str(cell) for cell in cells], rank=rank)


def words(title: str, cells: Iterable[str], rank: int = 0) -> Column:
    """A column of camaudit's own words."""
    return Column(title, list(cells), "left", rank)


def named(title: str, cells: Iterable[object]) -> Column:
    """A column of names that people gave: ids, classes, layers."""
    return Column(title, [whole(cell) for cell in cells], "left", named=True)


def whole(name: object) -> str:
    """A name in one line, cut at `_LONGEST_NAME` characters."""
    return shorten(name, _LONGEST_NAME)


def print_table(title: str, columns: Sequence[Column], wide: bool = False) -> None:
    """Print a table in the width there is, or, if `wide`, all of it."""
    room = room_for_columns()
    shown = list(columns) if wide else fitting(columns, room)
    table = Table(title=Text(title, style="italic"))
    for column in shown:
        table.add_column(Text(column.title), justify=column.justify, overflow="fold", no_wrap=not column.named)
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*map(Text, row))
    least = needed(shown, _LONGEST_NAME if wide else _NARROWEST)
    results(max(room, least)).print(table)
    _say_left_out([column.title for column in columns if column not in shown])


def fitting(columns: Sequence[Column], room: int) -> list[Column]:
    """The columns that have room, in their order."""
    shown = list(columns)
    for rank in sorted({column.rank for column in columns} - {0}, reverse=True):
        if needed(shown, _FOLDED_FROM) <= room:
            break
        shown = [column for column in shown if column.rank != rank]
    return shown


def needed(columns: Sequence[Column], folded_from: int) -> int:
    """Characters that a table takes at the least, with its lines between the columns."""
    return sum(column.least(folded_from) + 3 for column in columns) + 1


def _say_left_out(titles: Sequence[str]) -> None:
    if titles:
        names = ", ".join(title.replace("\n", " ") for title in titles)
        say(f"not shown at this width: {names}; --wide shows all", results())
