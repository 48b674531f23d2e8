"""Interleaved timing, so that what else the machine does falls on all candidates alike."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")

Row = dict[str, object]
"""A line of a table: names to numbers, text, or the seconds of all rounds."""


@dataclass(frozen=True)
class Measured:
    """How long a candidate took.

    Attributes:
        seconds: of each round.
        images: of a round.
    """

    name: str
    seconds: tuple[float, ...]
    images: int

    @property
    def rate(self) -> float:
        """Images a second, by the median round."""
        return self.images / median(self.seconds)

    def speed_of(self, baseline: Measured) -> float:
        """Its speed as a share of the baseline's: the median over rounds, each beside the baseline's own."""
        if len(self.seconds) != len(baseline.seconds):
            return self.rate / baseline.rate
        return median(theirs / ours for ours, theirs in zip(self.seconds, baseline.seconds, strict=True))


def interleave(
    candidates: Mapping[str, Callable[[], float]], images: int, rounds: int, warm_up: bool = True
) -> list[Measured]:
    """Run all candidates in turn, `rounds` times after one that does not count; each returns its own seconds."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + warm_up):
        for name, run in candidates.items():
            gc.collect()  # what others left is not this one's to pay for
            seconds = run()
            if turn >= warm_up:
                taken[name].append(seconds)
    return [Measured(name, tuple(seconds), images) for name, seconds in taken.items()]


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """The work as a candidate, timed from outside."""

    def run() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return run


def speed_row(measured: Measured, **ratios: Measured) -> Row:
    """A candidate's speed, and how many times as fast it is as each of `ratios`."""
    row: Row = {"candidate": measured.name, "images_per_s": round(measured.rate, 2)}
    row |= {name: round(measured.speed_of(other), 3) for name, other in ratios.items()}
    return row | {"seconds": [round(seconds, 3) for seconds in measured.seconds]}


def apart(work: Callable[..., T], *arguments: object) -> T:
    """What the work returns, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)
