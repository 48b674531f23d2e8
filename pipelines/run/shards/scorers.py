"""Processes beside a worker that score what it explained, for the threads of one share one interpreter.

One process scores some 400 images a second, where a GPU explains a thousand. So a worker of a GPU hands its batches to
processes: each over a pipe of its own, as bytes, large arrays uncopied. What comes back are the same tables. A process
ends when its pipe does, however the worker ended. One that is lost is noticed, its batch scored by the worker itself:
a mask that kills whoever reads it is then sought as every sample is that kills its worker. Where several are lost in a
row, as where none can start, the worker scores from then on.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from queue import LifoQueue
from typing import Any, Generic, NoReturn, TypeVar

from pipelines.run.cores import usable_cores
from pipelines.run.shards.memory import keep_freed_memory
from pipelines.run.shards.scoring import Batch, ScoredBatch, score_batch

MOST = 4
"""Processes a worker unless more are asked for: they score 1,600 images a second."""
_AHEAD = 2
"""Batches a process that wait or are scored."""
_LOSSES = 3
"""In a row, after which no more processes are started."""
_LINGER_S, _END_S = 60.0, 10.0
_LARGE = 1 << 16
_CHILD = "from pipelines.run.shards.scorers import _serve; _serve()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_Tag = TypeVar("_Tag")


def usual_count(device: str, workers: int = 1) -> int:
    """Processes a worker: none on a CPU, which they would only share; on a GPU half of its cores, `MOST` at most.

    Args:
        device: type of the worker's.
        workers: that share this machine's cores.
    """
    return 0 if device != "cuda" else max(min(usable_cores() // (2 * workers), MOST), 1)


class Scorers:
    """A worker's processes, for all of its threads; each is started when it first has something to do.

    Attributes:
        most: batches that wait or are scored at once.
    """

    def __init__(self, count: int) -> None:
        self._count, self.most = count, _AHEAD * count
        self._losses, self._counting = 0, threading.Lock()
        self._threads = ThreadPoolExecutor(count, "scorer")
        self._room = threading.BoundedSemaphore(self.most)
        self._idle: LifoQueue[_Process] = LifoQueue()
        for _ in range(count):
            self._idle.put(_Process())

    def submit(self, batch: Batch) -> Future[ScoredBatch]:
        """Have a batch scored; waits while there is more to do than the processes can soon."""
        self._room.acquire()
        future = self._threads.submit(self._score, batch)
        future.add_done_callback(lambda _future: self._room.release())
        return future

    def start(self) -> list[Future[ScoredBatch]]:
        """Have all processes started, which takes seconds; done once they are there."""
        return [self.submit(Batch([], None, None, 0)) for _ in range(self._count)]

    def close(self) -> None:
        """End the processes, after what they have to do."""
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get().end()

    def _score(self, batch: Batch) -> ScoredBatch:
        if self._losses >= _LOSSES:
            return score_batch(batch)
        process = self._idle.get()
        try:
            scored = process.score(batch)
            self._count_losses(None)
            return scored
        except (EOFError, OSError) as error:
            self._count_losses(process.end() or f"not started: {error}")
        finally:
            self._idle.put(process)
        return score_batch(batch)

    def _count_losses(self, reason: str | None) -> None:
        """Count processes lost in a row, and say what becomes of their batches; one that scored ends the row."""
        with self._counting:
            if self._losses >= _LOSSES:
                return
            self._losses = 0 if reason is None else self._losses + 1
            given_up = self._losses == _LOSSES
        if reason is not None:
            then = "the worker scores its batch"
            if given_up:
                then = "scoring in the worker from now on; --scorers 0 does so from the start"
            warnings.warn(f"A process that scores ended ({reason}): {then}", RuntimeWarning, 3)


class _Process:
    """One process, started anew where it is gone; of one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None

    def score(self, batch: Batch) -> ScoredBatch:
        """What it makes of a batch.

        Raises:
            RunError: a sample stopped it.
            EOFError, OSError: it is gone.
        """
        connection = self._connection or self._start()
        _send(connection, batch)
        answer = _receive(connection)
        if isinstance(answer, Exception):
            raise answer
        scored: ScoredBatch = answer
        return scored

    def end(self) -> str | None:
        """See to it that it is gone; how it went, None where it was not there."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        try:
            code = process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _start(self) -> Connection[Any, Any]:
        ours, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | dict.fromkeys(_THREADS, "1") | {"PYTHONPATH": _search_path()},
                process_group=0,  # Ctrl-C is for the command to hear
            )
        self._connection = ours
        return ours


class InOrder(Generic[_Tag]):
    """Batches on the way to their scores: each at once, or by processes; kept in the order in which they came.

    Args:
        keep: takes what was put beside a batch, the batch, and what its scores are.
        scorers: None for none.
    """

    def __init__(self, keep: Callable[[_Tag, Batch, ScoredBatch], None], scorers: Scorers | None = None) -> None:
        self._keep, self._scorers = keep, scorers
        self._waiting: deque[tuple[_Tag, Batch, Future[ScoredBatch]]] = deque()

    def put(self, tag: _Tag, batch: Batch) -> None:
        """Take a batch, and keep what is done of those before; waits for the first where too many are behind it."""
        if self._scorers is None:
            self._keep(tag, batch, score_batch(batch))
            return
        while self._waiting and (self._waiting[0][2].done() or len(self._waiting) >= self._scorers.most):
            self._take()
        self._waiting.append((tag, batch, self._scorers.submit(batch)))

    def finish(self) -> None:
        """Keep all."""
        while self._waiting:
            self._take()

    def _take(self) -> None:
        tag, batch, scored = self._waiting.popleft()
        self._keep(tag, batch, scored.result())


class _Shared:
    """This process's scorers, as long as a thread uses them and a while longer: they take seconds to start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scorers: dict[int, Scorers] = {}
        self._users = 0
        self._end: threading.Timer | None = None

    @contextmanager
    def using(self, count: int) -> Iterator[Scorers]:
        with self._lock:
            if count not in self._scorers:
                self._scorers[count] = Scorers(count)
                self._scorers[count].start()
            scorers = self._scorers[count]
            if self._end is not None:
                self._end.cancel()
                self._end = None
            self._users += 1
        try:
            yield scorers
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._end = threading.Timer(_LINGER_S, self._end_unused)
                    self._end.daemon = True
                    self._end.start()

    def _end_unused(self) -> None:
        with self._lock:
            if self._end is not threading.current_thread():  # used again meanwhile
                return
            unused, self._scorers = self._scorers, {}
        for scorers in unused.values():
            scorers.close()


_SHARED = _Shared()


@contextmanager
def scorers_of(count: int) -> Iterator[Scorers | None]:
    """So many processes, which all threads of this one share; None for none."""
    if not count:
        yield None
        return
    with _SHARED.using(count) as scorers:
        yield scorers


def _serve() -> NoReturn:
    """Score what comes, until nothing can come any more."""
    keep_freed_memory()
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    with suppress(EOFError, OSError):
        while True:
            _send(connection, _answer(_receive(connection)))
    os._exit(0)  # there is nothing to put in order


def _answer(batch: Batch) -> ScoredBatch | Exception:
    try:
        return score_batch(batch)
    except Exception as error:  # names its sample
        return error


def _search_path() -> str:
    """Where this process finds what it imports."""
    return os.pathsep.join(os.path.abspath(place) for place in sys.path)


def _send(connection: Connection[Any, Any], what: object) -> None:
    """Send an object: its pickle, then large arrays as they lie in memory."""
    large: list[memoryview] = []

    def keeps(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _LARGE:
            return True
        large.append(raw)
        return False

    pickled = pickle.dumps(what, 5, buffer_callback=keeps)
    connection.send_bytes(len(large).to_bytes(4))
    for raw in large:
        connection.send_bytes(raw)
    connection.send_bytes(pickled)


def _receive(connection: Connection[Any, Any]) -> Any:
    """Raises EOFError where nothing can come any more."""
    count = int.from_bytes(connection.recv_bytes())
    large = [connection.recv_bytes() for _ in range(count)]
    return pickle.loads(connection.recv_bytes(), buffers=large)
