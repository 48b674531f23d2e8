"""Batches of what goes through a network together: as many as it takes, all of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


def batches(items: Iterable[_Item], size: int, kind: Callable[[_Item], object]) -> Iterator[list[_Item]]:
    """Lists of up to `size` items of one kind: each as soon as it is full, the rest at the end.

    >>> list(batches([1, 3, 2, 5], 2, lambda number: number % 2))
    [[1, 3], [2], [5]]
    """
    waiting: dict[object, list[_Item]] = {}
    for item in items:
        batch = waiting.setdefault(kind(item), [])
        batch.append(item)
        if len(batch) == size:
            yield waiting.pop(kind(item))
    yield from waiting.values()
