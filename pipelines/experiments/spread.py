"""Who asks the model about targets: this process, or workers that load it each; answers come in the targets' order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Protocol
from uuid import uuid4

import torch

from audit.attribution.taps import evaluating
from audit.errors import AuditError, ImageError
from audit.models import Classifier
from audit.models.device import choose_device, move
from audit.models.execution import in_precision
from audit.progress import Advanced, Progress
from audit.store import Run, Shard
from audit.trusted import absolute_name
from pipelines.experiments.model import model_of_run
from pipelines.run.config import ClusterConfig
from pipelines.run.shards.memory import keep_freed_memory
from pipelines.run.shards.shard import Finished, Stopped, describe
from pipelines.run.workers.client import connect
from pipelines.run.workers.probe import Needs
from pipelines.run.workers.schedule import submit_all

Target = Mapping[str, Any]
Ask = Callable[[Target], Any]
"""Asks the model about one target. Its ImageError says that the target's image cannot be read as it was."""
Begin = Callable[[Run, Classifier], Ask]
"""Makes, once a process, what asks: what all targets share is made with it."""

_TARGETS_A_TASK = 4


@dataclass(frozen=True)
class Unread:
    """Stands for the answer about a target whose image cannot be read as it was."""

    reason: str


class Spread(Protocol):
    """Asks about every target, here or elsewhere, and returns an answer or `Unread` for each."""

    def __call__(
        self, begin: Begin, run: Run, classifier: Classifier, targets: Sequence[Target], progress: Progress
    ) -> list[Any]:
        """Ask about them all, and tell of each."""


def failures(targets: Sequence[Target], answers: Sequence[Any]) -> list[dict[str, str]]:
    """Ids of the targets whose image could not be read, with the reason."""
    pairs = zip(targets, answers, strict=True)
    return [{"id": target["id"], "reason": answer.reason} for target, answer in pairs if isinstance(answer, Unread)]


def in_this_process(
    begin: Begin, run: Run, classifier: Classifier, targets: Sequence[Target], progress: Progress
) -> list[Any]:
    """One after another."""
    answers = []
    with evaluating(classifier.module):
        ask = begin(run, classifier)
        for target in targets:
            answers.append(_answer(ask, target))
            progress(Advanced(failed=int(isinstance(answers[-1], Unread))))
    return answers


def over_workers(cluster: ClusterConfig, model: str | None = None) -> Spread:
    """Workers where they were asked for, else this process.

    Args:
        model: the run's model named again, as `model_of_run` takes it.
    """

    def spread(
        begin: Begin, run: Run, classifier: Classifier, targets: Sequence[Target], progress: Progress
    ) -> list[Any]:
        if not cluster.is_asked:
            return in_this_process(begin, run, classifier, targets, progress)
        path = run.address
        job = _Job(path, absolute_name(model) if model else None, uuid4().hex, begin, cluster.device)
        ends: list[Finished] = []
        with connect(cluster) as client:
            submit_all(
                client, _batches(targets), partial(_ask_batch, job), progress, None, cluster, Needs(path), ends.append
            )
        return [answer for end in sorted(ends, key=lambda end: end.shard.index) for answer in end.answers]

    return spread


@dataclass(frozen=True, slots=True)
class _Batch(Shard):
    """Some targets; start and stop are places among all of them."""

    targets: tuple[Target, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class _Job:
    """What a worker needs to know; one command's is told by its key."""

    run: str
    model: str | None
    key: str
    begin: Begin = field(compare=False)
    device: str = "cpu"


def _batches(targets: Sequence[Target]) -> list[Shard]:
    batches: list[Shard] = []
    for start in range(0, len(targets), _TARGETS_A_TASK):
        part = tuple(targets[start : start + _TARGETS_A_TASK])
        batches.append(_Batch(len(batches), start, start + len(part), part))
    return batches


def _ask_batch(job: _Job, shard: Shard) -> Finished | Stopped:
    """Ask about a batch. What concerns all of them comes back as a value."""
    assert isinstance(shard, _Batch)
    try:
        with _BEGINNING:
            ask = _begun(job)
        answers = [_answer(ask, target) for target in shard.targets]
    except (AuditError, OSError) as error:
        return Stopped(shard, describe(error))
    unread = sum(isinstance(answer, Unread) for answer in answers)
    return Finished(Shard(shard.index, shard.start, shard.stop), len(shard) - unread, unread, answers)


@lru_cache(maxsize=1)
def _begun(job: _Job) -> Ask:
    torch.set_num_threads(1)
    keep_freed_memory()
    run = Run.open(job.run)
    classifier = in_precision(model_of_run(run, job.model), run.record["config"]["precision"])
    classifier.module.eval()
    move(classifier.module, choose_device(job.device))
    return job.begin(run, classifier)


def _answer(ask: Ask, target: Target) -> Any:
    try:
        return ask(target)
    except ImageError as error:
        return Unread(str(error))


_BEGINNING = threading.Lock()
