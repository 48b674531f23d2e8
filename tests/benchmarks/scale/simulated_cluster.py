"""A discrete simulation of a run over many workers: which station is full first as workers grow.

Tasks go from the driver to the scheduler to a worker, and back. Scheduler and driver do one thing at a time. A worker
computes a shard, then commits it; its queue holds what the driver gave out ahead. The driver gives out another whenever
one ends.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Seconds of each station a shard.

    Attributes:
        scheduler: of the scheduler's one thread, for all that it does about a task.
        driver: of the driver's one thread, the same.
        compute: of a worker's thread.
        commit: of a worker's thread behind it.
    """

    scheduler: float
    driver: float
    compute: float
    commit: float


@dataclass(frozen=True)
class Course:
    """How a simulated run went.

    Attributes:
        shards_a_second: over the middle of the run, when all are at work.
        busy: shares of the time that stations work: scheduler, driver, workers.
    """

    shards_a_second: float
    busy: dict[str, float]


def simulate(costs: Costs, workers: int, shards: int, ahead: int = 2) -> Course:
    """Play a run of so many shards.

    Args:
        workers: of one thread each.
        ahead: shards a thread that are given out at a time.
    """
    events: list[tuple[float, int, str, int]] = []
    free = {"scheduler": 0.0, "driver": 0.0}
    worked = {"scheduler": 0.0, "driver": 0.0, "workers": 0.0}
    queues, idle = [deque[int]() for _ in range(workers)], [True] * workers
    ends: list[float] = []
    given = serial = 0

    def serve(station: str, now: float, seconds: float) -> float:
        """When a station with one thread is done with what comes now."""
        free[station] = max(free[station], now) + seconds
        worked[station] += seconds
        return free[station]

    def push(when: float, what: str, worker: int) -> None:
        nonlocal serial
        serial += 1
        heapq.heappush(events, (when, serial, what, worker))

    def give(now: float, worker: int) -> None:
        nonlocal given
        given += 1
        push(serve("scheduler", now, costs.scheduler / 2), "arrive", worker)

    for place in range(min(ahead * workers, shards)):
        give(0.0, place % workers)
    while events:
        now, _, what, worker = heapq.heappop(events)
        if what == "arrive":
            queues[worker].append(1)
        elif what == "computed":
            idle[worker] = True
            push(serve("scheduler", now, costs.scheduler / 2), "told", worker)
        elif what == "told":
            push(serve("driver", now, costs.driver), "taken", worker)
        else:
            ends.append(now)
            if given < shards:
                give(now, worker)
        if idle[worker] and queues[worker]:
            queues[worker].popleft()
            idle[worker] = False
            worked["workers"] += costs.compute + costs.commit
            push(now + costs.compute + costs.commit, "computed", worker)
    return _course(ends, worked, workers)


def _course(ends: list[float], worked: dict[str, float], workers: int) -> Course:
    first, last = ends[len(ends) // 4], ends[3 * len(ends) // 4]
    counts = worked | {"workers": worked["workers"] / workers}
    rate = (3 * len(ends) // 4 - len(ends) // 4) / (last - first)
    return Course(rate, {station: seconds / ends[-1] for station, seconds in counts.items()})
