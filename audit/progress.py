"""What long work tells whoever watches it: typed events to one listener.

A function that may take long has an argument `progress: Progress = silent` and calls it with events. It never prints.

    began -> advanced, passed, noted, in any number -> ended; one stretch of work after another, never two at once
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Began:
    """A stretch of work begins.

    Attributes:
        task: what is done, as `auditing`.
        total: things to do, those `done` already among them; None where their number is not known.
        passes: forward passes to come, worth telling where each thing takes more than one; else 0.
    """

    task: str
    total: int | None = None
    done: int = 0
    passes: int = 0


@dataclass(frozen=True, slots=True)
class Advanced:
    """Things are done, `failed` of them without success."""

    done: int = 1
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Passed:
    """Images went through the network, once more."""

    images: int


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that a person should read, in one line."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The stretch of work is over, finished or not."""


Event = Began | Advanced | Passed | Noted | Ended


class Progress(Protocol):
    """A listener."""

    def __call__(self, event: Event, /) -> None:
        """Take an event."""


def silent(event: Event, /) -> None:
    """Nobody watches."""


@contextmanager
def stretch(
    progress: Progress, task: str, total: int | None = None, done: int = 0, passes: int = 0
) -> Iterator[Progress]:
    """Tell that a stretch of work begins, and, whatever happens in between, that it is over."""
    progress(Began(task, total, done, passes))
    try:
        yield progress
    finally:
        progress(Ended())


def tracked(progress: Progress, task: str, items: Iterable[_Item], total: int | None = None) -> Iterator[_Item]:
    """The items, each told as done when the next is asked for.

    >>> told = []
    >>> list(tracked(told.append, "reading", "ab"))
    ['a', 'b']
    >>> told
    [Began(task='reading', total=2, done=0, passes=0), Advanced(done=1, failed=0), Advanced(done=1, failed=0), Ended()]
    """
    known = len(items) if total is None and isinstance(items, Sized) else total
    with stretch(progress, task, known):
        for item in items:
            yield item
            progress(Advanced())
