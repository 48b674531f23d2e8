"""Progress bars of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, track
from rich.text import Text

console = Console(stderr=True)


def say(text: str, to: Console = console) -> None:
    """Print a line as it is: no markup in it means anything, and no wrapping breaks a command that it names."""
    to.print(Text(text), soft_wrap=True)


def tracked(label: str) -> Any:
    """A wrapper that shows a bar, `label` before it, over what is iterated."""

    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        return track(items, label, console=console, transient=True)

    return wrap


class SampleBar:
    """A bar over samples with rate, failures and remaining time."""

    def __init__(self, bar: Progress, task: TaskID, passes: int) -> None:
        self._bar, self._task = bar, task
        self._failed = 0
        self._made, self._passes = 0, passes

    def advance(self, samples: int, failed: int) -> None:
        """Count a finished shard."""
        self._failed += failed
        self._bar.update(self._task, advance=samples, failed=self._failed)

    def passed(self, images: int) -> None:
        """Count forward passes of a method of many."""
        if self._passes:
            self._made = min(self._made + images, self._passes)
            self._bar.update(self._task, passes=f"{self._made:,} of {self._passes:,} passes")

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        say(message, self._bar.console)


@contextmanager
def sample_bar(label: str, total: int, done: int = 0, passes: int = 0) -> Iterator[SampleBar]:
    """Show a bar over `total` samples, of which `done` are done already.

    Args:
        passes: to come through the network, to be shown beside the samples; 0 where a sample takes only one.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[failed]} failed"),
        TextColumn("{task.fields[passes]}"),
        TimeRemainingColumn(),
    )
    with _RatedProgress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total, completed=done, failed=0, rate="", passes="")
        yield SampleBar(bar, task, passes)


class _RatedProgress(Progress):
    def get_renderables(self) -> Iterator[Any]:
        for task in self.tasks:
            task.fields["rate"] = f"{task.speed:.1f} samples/s" if task.speed else ""
        yield from super().get_renderables()
