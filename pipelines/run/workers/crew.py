"""The workers: how many there are, which were lost and how, and what to say where there are none."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
        cluster: says how many have to be there first, how long to wait where there are too few, and what the user can
            change.
        clock: seconds.
        probe: says why each of the workers that came cannot be given work, None of one that can; without it all can.

    Attributes:
        threads: of every worker that takes work, by address; none before enough are there.
    """

    def __init__(
        self,
        client: Client,
        cluster: ClusterConfig,
        progress: Progress = silent,
        clock: Callable[[], float] = time.monotonic,
        probe: Callable[[Collection[str]], Mapping[str, str | None]] | None = None,
    ) -> None:
        self.threads: dict[str, int] = {}
        self._probe, self._admitted, self._refused = probe, set[str](), set[str]()
        self._begun, self._given = cluster.min_workers <= 1, False
        self._client, self._cluster, self._progress, self._clock = client, cluster, progress, clock
        self._known: set[str] = set()
        self._looked = float("-inf")
        self._alone_since: float | None = None
        self._told = False

    def look(self) -> Iterator[Loss]:
        """The workers lost since the last look.

        Raises:
            RunError: the scheduler is lost, no worker has taken work for as long as the user has patience, or one
                cannot do it and none was given work yet.
        """
        now = self._clock()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        try:
            running = self._ask("ncores_running")
            self._known |= running.keys()
            self.threads = self._usable(running)
            for loss in filter(None, map(self.loss, self._known - running.keys())):
                self._known.discard(loss.worker)
                self._admitted.discard(loss.worker)
                self._refused.discard(loss.worker)
                yield loss
            self._wait(now)
        except TimeoutError:  # a busy scheduler; one that is lost cancels what it was given
            return

    @property
    def known(self) -> frozenset[str]:
        """Addresses of the workers that are not lost, also of those that take no work now, for their memory is full."""
        return frozenset(self._known)

    @property
    def chosen(self) -> frozenset[str] | None:
        """The workers that work may be given to; None where any will do."""
        return None if self._probe is None else frozenset(self.threads)

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

    def _usable(self, running: dict[str, int]) -> dict[str, int]:
        """Threads of the workers that were found able to do the work, once there are enough of them."""
        came = running.keys() - self._admitted - self._refused
        for worker, fault in (self._probe(came) if self._probe and came else dict.fromkeys(came)).items():
            (self._refused if fault else self._admitted).add(worker)
            if fault and not self._given:
                raise RunError(fault)
            if fault:  # a run that goes well is not ended by a worker more
                self._progress(Noted(f"left out: {fault}"))
        usable = {worker: threads for worker, threads in running.items() if worker in self._admitted}
        self._begun = self._begun or len(usable) >= self._cluster.min_workers
        self._given = self._given or bool(self._begun and usable)
        return usable if self._begun else {}

    def _wait(self, now: float) -> None:
        """Keep count of how long there have been too few workers that take work, and say so."""
        if self.threads or (self._begun and self._executing()):
            if self._told:
                self._progress(Noted("workers are back: going on"))
            self._alone_since, self._told = None, False
            return
        self._alone_since = now if self._alone_since is None else self._alone_since
        waited = now - self._alone_since
        if waited >= self._cluster.patience:
            raise RunError(f"{self._lack()} since {waited:.0f} s: {self._remedy()}; {KEPT}")
        if waited >= TELL_AFTER_S and not self._told:
            self._told = True
            there = "no workers" if self._begun or not self._admitted else f"workers: {self._share()}"
            self._progress(Noted(f"{there}, waiting for {self._cluster.patience:.0f} s at most"))

    def _executing(self) -> bool:
        """Whether workers that take no more work, for their memory is full, are still at what they have."""
        workers = self._ask("identity", n_workers=-1)["workers"].values()
        return any(worker["metrics"].get("task_counts", {}).get("executing") for worker in workers)

    def _share(self) -> str:
        return f"{len(self._admitted)} of {self._cluster.min_workers}"

    def _lack(self) -> str:
        if self._begun or not self._admitted:
            return "No worker takes work"
        return f"Only {self._share()} workers take work"

    def _remedy(self) -> str:
        if not self._cluster.is_local:
            fewer = "" if self._begun or self._cluster.min_workers == 1 else ", begin with a lower --min-workers"
            return f"start workers{fewer}, or wait longer with --wait"
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
