"""The terminal: where lines go, and bars for the events of long work."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from typing import assert_never

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from audit.progress import Advanced, Began, Ended, Event, Noted, Passed

_TERMINAL_WIDTH, _PIPE_WIDTH = 80, 120
_BRIEF_S = 2.0

notices = Console(stderr=True)
"""Where bars and notices go."""


def columns() -> int:
    """Characters that a line of results has room for: what `COLUMNS` says, else the terminal's, else a pipe's 120."""
    unknown = _TERMINAL_WIDTH if sys.stdout.isatty() else _PIPE_WIDTH
    return shutil.get_terminal_size((unknown, 24)).columns


def results(width: int | None = None) -> Console:
    """Where results go, lines as wide as `columns` unless told."""
    return Console(width=width or columns())


def say(text: str, to: Console = notices) -> None:
    """Print a line as it is: no markup in it means anything, and no wrapping breaks a command that it names."""
    to.print(Text(text), soft_wrap=True)


def command_line() -> str:
    """The command that this process was called by."""
    return shlex.join(["camaudit", *sys.argv[1:]])


class TerminalProgress:
    """Draws a bar for each stretch of work, with rate, failures and remaining time; prints notes above it.

    The bar of a brief stretch goes when it is over. Where there is no terminal, a log say, a stretch that was not brief
    is told in one line at its end.
    """

    def __init__(self, console: Console = notices) -> None:
        self._console = console
        self._bars: _RatedBars | None = None
        self._task = TaskID(0)
        self._failed = self._made = self._passes = 0

    def __call__(self, event: Event, /) -> None:
        """Draw an event."""
        match event:
            case Began():
                self._begin(event)
            case Advanced():
                self._advance(event)
            case Passed():
                self._pass(event)
            case Noted():
                say(event.text, self._console)
            case Ended():
                self._end()
            case _:
                assert_never(event)

    def _begin(self, event: Began) -> None:
        self._end()
        self._failed, self._made, self._passes = 0, 0, event.passes
        self._bars = _RatedBars(*_COLUMNS, console=self._console)
        if self._console.is_terminal:
            self._bars.start()
        self._task = self._bars.add_task(
            event.task, total=event.total, completed=event.done, rate="", failed="", passes=""
        )

    def _advance(self, event: Advanced) -> None:
        if self._bars is not None:
            self._failed += event.failed
            failed = f"{self._failed} failed" if self._failed else ""
            self._bars.update(self._task, advance=event.done, failed=failed)

    def _pass(self, event: Passed) -> None:
        bars = self._bars  # passes are told by another thread, perhaps while the stretch ends
        if bars is not None and self._passes:
            self._made = min(self._made + event.images, self._passes)
            bars.update(self._task, passes=f"{self._made:,} of {self._passes:,} passes")

    def _end(self) -> None:
        if self._bars is None:
            return
        task = self._bars.tasks[0]
        brief = (task.elapsed or 0.0) < _BRIEF_S
        if self._console.is_terminal:
            self._bars.live.transient = brief
            self._bars.stop()
        elif not brief:
            say(_in_one_line(task), self._console)
        self._bars = None


def _in_one_line(task: Task) -> str:
    """What became of a stretch of work."""
    count = f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else "")
    words = (f"{task.description}: {count}", task.fields["failed"], task.fields["passes"], f"{task.elapsed:.0f} s")
    return ", ".join(filter(None, words))


_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[rate]}"),
    TextColumn("{task.fields[failed]}"),
    TextColumn("{task.fields[passes]}"),
    TimeRemainingColumn(),
)


class _RatedBars(Bars):
    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            task.fields["rate"] = f"{task.speed:.1f} /s" if task.speed else ""
        yield from super().get_renderables()
