"""A cluster that a test makes up: its workers come and go as told, its futures end when told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from distributed import KilledWorker


class MadeFuture:
    """A future whose end the test decides."""

    def __init__(
        self, key: str, work: Any, shard: Any, react: Callable[[MadeFuture], None], workers: list[str] | None = None
    ) -> None:
        self.key, self.work, self.shard, self.workers = key, work, shard, workers
        self._react = react
        self.status = "pending"
        self._value: Any = None
        self._tell: Callable[[MadeFuture], None] = lambda _: None

    def add_done_callback(self, tell: Callable[[MadeFuture], None]) -> None:
        self._tell = tell
        self._react(self)

    def end(self, status: str, value: Any = None) -> None:
        self.status, self._value = status, value
        self._tell(self)

    def result(self, timeout: float | None = None) -> Any:
        return self._value

    def exception(self) -> Any:
        return self._value

    def traceback(self) -> None:
        return None

    def release(self) -> None:
        pass


class MadeClient:
    """What the scheduling of shards asks of a Dask client."""

    def __init__(self, workers: Iterable[str] = ()) -> None:
        self.threads = dict.fromkeys(workers, 1)
        self.events: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        self.submitted: list[MadeFuture] = []
        self.executing = 0
        self.scheduler = SimpleNamespace(
            ncores_running=lambda: dict(self.threads),
            events=lambda topic: self.events.get(topic, []),
            identity=lambda n_workers: {"workers": {"w": {"metrics": {"task_counts": {"executing": self.executing}}}}},
        )
        self.react: Callable[[MadeFuture], None] = lambda _: None
        """What becomes of a future as soon as it is submitted."""

    def sync(self, question: Callable[..., Any], callback_timeout: float, **about: Any) -> Any:
        return question(**about)

    def submit(self, work: Any, shard: Any, pure: bool, key: str, workers: list[str] | None = None) -> MadeFuture:
        self.submitted.append(MadeFuture(key, work, shard, self.react, workers))
        return self.submitted[-1]

    def cancel(self, futures: list[MadeFuture], force: bool) -> None:
        for future in futures:
            future.end("cancelled")

    def kill(self, future: MadeFuture, worker: str = "w", announced: bool = False, beside: Iterable[str] = ()) -> None:
        """End a future as a scheduler does whose worker died with it, and with the keys `beside`."""
        said = [{"action": "closing-worker"}] if announced else []
        gone = {"action": "remove-worker", "processing-tasks": {future.key, *beside}, "expected": False}
        self.events[worker] = [(0.0, event) for event in ({"action": "add-worker"}, *said, gone)]
        future.end("error", KilledWorker(future.key, SimpleNamespace(address=worker), 0))


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
