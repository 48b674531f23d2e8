"""The workers: how many there are, which were lost and how, and what to say where there are none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client

from audit.errors import RunError
from audit.progress import Noted, Progress, silent
from pipelines.run.config import ClusterConfig

LOOK_EVERY_S = 1.0
TELL_AFTER_S = 10.0
KEPT = "what is finished is kept, run the same command again"
LOST = f"Lost the scheduler; {KEPT}"

_ANSWER_S = 10.0
_CLOSING = ("closing", "closing_gracefully")


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker that is gone.

    Attributes:
        worker: its address.
        tasks: keys of what it had been given, by anyone.
        announced: whether it had said that it would close, as one does that is retired or gets SIGTERM.
    """

    worker: str
    tasks: frozenset[str]
    announced: bool = False


class Crew:
    """The workers of a scheduler, looked at once a second.

    Args:
        cluster: says how long to wait where no worker takes work, and what the user can change.
        clock: seconds.

    Attributes:
        threads: of every worker that takes work, by address.
    """

    def __init__(
        self,
        client: Client,
        cluster: ClusterConfig,
        progress: Progress = silent,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads: dict[str, int] = {}
        self._client, self._cluster, self._progress, self._clock = client, cluster, progress, clock
        self._known: set[str] = set()
        self._looked = float("-inf")
        self._alone_since: float | None = None
        self._told = False

    def look(self) -> Iterator[Loss]:
        """The workers lost since the last look.

        Raises:
            RunError: the scheduler is lost, or no worker has taken work for as long as the user has patience.
        """
        now = self._clock()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        try:
            self.threads = self._ask("ncores_running")
            self._known |= self.threads.keys()
            for loss in filter(None, map(self.loss, self._known - self.threads.keys())):
                self._known.discard(loss.worker)
                yield loss
            self._wait(now)
        except TimeoutError:  # a busy scheduler; one that is lost cancels what it was given
            return

    @property
    def known(self) -> frozenset[str]:
        """Addresses of the workers that are not lost, also of those that take no work now, for their memory is full."""
        return frozenset(self._known)

    def loss(self, worker: str) -> Loss | None:
        """How a worker was lost; None while it is there.

        Raises:
            RunError: the scheduler is lost.
            TimeoutError: it does not answer.
        """
        loss = loss_from(worker, [event for _, event in self._ask("events", topic=worker)])
        if loss is not None:
            self.threads.pop(worker, None)
        return loss

    def _wait(self, now: float) -> None:
        """Keep count of how long there has been no worker that takes work, and say so."""
        if self.threads or self._executing():
            if self._told:
                self._progress(Noted("workers are back: going on"))
            self._alone_since, self._told = None, False
            return
        self._alone_since = now if self._alone_since is None else self._alone_since
        waited = now - self._alone_since
        if waited >= self._cluster.patience:
            raise RunError(f"No worker takes work since {waited:.0f} s: {self._remedy()}; {KEPT}")
        if waited >= TELL_AFTER_S and not self._told:
            self._told = True
            self._progress(Noted(f"no workers, waiting for {self._cluster.patience:.0f} s at most"))

    def _executing(self) -> bool:
        """Whether workers that take no more work, for their memory is full, are still at what they have."""
        workers = self._ask("identity", n_workers=-1)["workers"].values()
        return any(worker["metrics"].get("task_counts", {}).get("executing") for worker in workers)

    def _remedy(self) -> str:
        if not self._cluster.is_local:
            return "start workers, or wait longer with --patience"
        limit = self._cluster.memory or "their share of the machine's memory"
        return f"the model may need more memory than {limit}; give each more with --memory, or fewer --workers"

    def _ask(self, question: str, **about: Any) -> Any:
        try:
            return self._client.sync(getattr(self._client.scheduler, question), callback_timeout=_ANSWER_S, **about)
        except TimeoutError:
            raise
        except OSError:
            raise RunError(LOST) from None


def loss_from(worker: str, events: Sequence[Mapping[str, Any]]) -> Loss | None:
    """What a scheduler's events about one address say of its loss; None where the last worker there is not lost."""
    tasks, expected, announced = None, False, False
    for event in events:
        action = event.get("action")
        if action == "add-worker":  # a port is used again
            tasks, expected, announced = None, False, False
        elif action == "remove-worker":
            tasks, expected = event["processing-tasks"], event["expected"]
        elif action == "closing-worker" or event.get("status") in _CLOSING:
            announced = True
    return None if tasks is None else Loss(worker, frozenset(map(str, tasks)), announced or expected)
