"""Many small files into a bucket: several puts under way at once, for each takes the time of a request."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from audit.store.storage.files import READERS
from audit.store.storage.objects import ObjectPath

_WAITING = 4 * READERS
"""Contents that are held in memory at most."""


class Uploads:
    """Puts that are under way; leaving the context waits for all of them.

    Raises:
        OSError: one failed, of whichever place it was.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(READERS)
        self._under_way: deque[Future[None]] = deque()

    def put(self, path: ObjectPath, content: bytes) -> None:
        """Begin to write an object, whatever was there, once there is room."""
        if len(self._under_way) >= _WAITING:
            self._under_way.popleft().result()
        self._under_way.append(self._pool.submit(path.put, content))

    def __enter__(self) -> Uploads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            for put in self._under_way:
                put.result()
