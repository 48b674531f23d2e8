"""Work done by threads before its result is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_LEFT = TypeVar("_LEFT")
_RIGHT = TypeVar("_RIGHT")


def map_ahead(
    work: Callable[[_LEFT], _RIGHT], items: Iterable[_LEFT], ahead: int, threads: int = 1
) -> Iterator[_RIGHT]:
    """`map`, with up to `ahead` items worked on by threads before they are asked for; 0 for none."""
    if not ahead:
        yield from map(work, items)
        return
    queue: deque[Future[_RIGHT]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                queue.append(pool.submit(work, item))
                if len(queue) > ahead:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
