"""Whether compiling the network repays: measured in the driver, before the workers start.

A trial takes what every worker of this machine then pays again, less what the compiler's cache saves it. So short runs
go without one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch

from audit.attribution import Method, make_method
from audit.models import Classifier, Execution
from audit.progress import Noted, Progress, silent
from pipelines.run.config import USUAL_METHOD, RunConfig

WORTH_TRYING_S = 300.0
"""A run that takes each worker less than this goes without a trial, which takes about 20 s for ResNet-50."""
_TO_REPAY = 2.0
_BATCHES = 4


@dataclass(frozen=True)
class Timing:
    """Seconds that the first forward pass of a batch took, and each later one."""

    first: float
    later: float


def decide_compiling(
    classifier: Classifier, config: RunConfig, samples: float, threads: int, progress: Progress = silent
) -> bool:
    """Whether a worker with so many samples to do should compile its network.

    Args:
        threads: torch threads of a worker.
        progress: told in a line what is tried, and what came of it.
    """
    method = _method(classifier, config, compiled=False)
    if not method.compiles:
        return False
    batches = samples / config.batch_size * method.cost(1).forward
    with _threads(threads):
        plain = _time(method, config.batch_size)
        if plain is None or batches * plain.later < WORTH_TRYING_S:
            return False
        minutes = batches * plain.later / 60
        progress(Noted(f"about {minutes:.0f} min for each worker: trying to compile the network"))
        compiled = _time(_method(classifier, config, compiled=True), config.batch_size)
    if compiled is None:
        progress(Noted("not compiled: torch.compile does not work here (it needs a C++ compiler; see camaudit doctor)"))
        return False
    repays = repaid(batches, plain, compiled)
    gain = f"compiled in {compiled.first:.0f} s, {plain.later / compiled.later:.2f} times as fast"
    progress(Noted(f"{gain}: {'compiling' if repays else 'which does not repay here'}"))
    return repays


def repaid(batches: float, plain: Timing, compiled: Timing) -> bool:
    """Whether so many batches save at least twice what compiling costs."""
    return batches * (plain.later - compiled.later) > _TO_REPAY * compiled.first


def _method(classifier: Classifier, config: RunConfig, compiled: bool) -> Method:
    return make_method(
        config.method or USUAL_METHOD, classifier, Execution(config.precision, compiled), dict(config.options)
    )


def _time(method: Method, batch_size: int) -> Timing | None:
    """Time forward passes of noise; None where compiling fails."""
    size = method.classifier.preprocessing.fit.size
    images = torch.randn(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))
    seconds = []
    with warnings.catch_warnings(record=True) as caught, method as explain:
        warnings.simplefilter("always", RuntimeWarning)
        for _ in range(_BATCHES):
            began = time.perf_counter()
            explain.outputs(images)
            seconds.append(time.perf_counter() - began)
    if any("torch.compile" in str(warning.message) for warning in caught):
        return None
    return Timing(seconds[0], median(seconds[1:]))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
