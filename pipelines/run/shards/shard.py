"""One shard, start to commit: what a Dask task does."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from uuid import uuid4

import torch
from distributed import get_worker, secede

from audit.attribution import Method, make_method
from audit.errors import AuditError, ModelError
from audit.findings.evidence.asked_anyway import LARGE, SHARE
from audit.models import Execution, ModelSpec, load_classifier, weights_fingerprint
from audit.models.device import device_name, move, worker_device
from audit.models.nvjpeg import NvJpeg
from audit.scores.scorer import score_samples
from audit.store import Run, Shard
from audit.store.layout import LEDGER
from audit.store.ledger import Entry
from audit.store.storage.files import write_atomically
from audit.store.storage.objects import Location
from audit.store.tables.parts import Column
from pipelines.run.config import USUAL_METHOD, RunConfig
from pipelines.run.cores import usable_cores
from pipelines.run.shards.attribute import ShardMaps, attribute_samples
from pipelines.run.shards.memory import keep_freed_memory
from pipelines.run.shards.quick_check import QuickCheck
from pipelines.run.shards.reading import Reader
from pipelines.run.shards.scorers import scorers_of, usual_count
from pipelines.run.shards.scoring import ObjectsReader

READERS = 4
"""Threads that read and decode for a GPU's worker of one thread; one decodes some 400 images a second."""
PASSES = "camaudit-passes"
"""Topic of the events that tell how many images a method of many passes has sent through its network."""
_TELL_EVERY_S = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to know.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        numbered: whether workers share the GPUs out by their number; else each takes the first that it sees.
        scorers: processes that score beside a worker; None for what its device wants.
        careful: take samples one by one and note each before it is touched, to find one that kills the worker.
        quarantined: rows that are left out, for they kill the worker.
        retried: whether all of those were tried once more by a later run than the one that first left them out.
    """

    run: str
    spec: ModelSpec
    config: RunConfig
    threads: int = 1
    compiled: bool = False
    device: str = "cpu"
    numbered: bool = False
    scorers: int | None = None
    careful: bool = False
    quarantined: frozenset[int] = frozenset()
    retried: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A shard is done, with so many samples processed and failed.

    Attributes:
        answers: what is not written by the worker but given back.
    """

    shard: Shard
    processed: int
    failed: int
    answers: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Stopped:
    """Something that concerns the whole run stopped a shard; the reason is one line."""

    shard: Shard
    reason: str


def audit_shard(task: Task, shard: Shard) -> Finished | Stopped:
    """Attribute, score and commit a shard. Failures that concern the whole run come back as values."""
    keep_freed_memory()
    try:
        run = Run.open(task.run)
        entry = run.entry(shard)
        if is_pending(entry):
            explain = explainer(task, run.classes, run.record["model"]["fingerprint"])
            with _IN_HAND if _lone(task, explain.classifier.device) else nullcontext():
                entry = _process(run, shard, task, explain, entry)
    except (AuditError, OSError) as error:
        return Stopped(shard, describe(error))
    return _finished(shard, entry)


def rescore_shard(run_path: str, shard: Shard) -> Finished | Stopped:
    """Score a shard's stored maps again and commit the scores."""
    keep_freed_memory()
    try:
        run = Run.open(run_path)
        entry = run.entry(shard)
        if shard in run.unscored([shard]):
            entry = _score(run, shard, entry)
    except (AuditError, OSError) as error:
        return Stopped(shard, describe(error))
    return _finished(shard, entry)


def is_pending(entry: Entry | None) -> bool:
    """Whether there is something to do about a shard.

    It is not in the ledger, has failures that may pass, or samples in quarantine that were not tried once more.
    """
    if entry is None or entry["transient"]:
        return True
    return bool(entry.get("quarantined")) and not entry.get("retried")


def explainer(task: Task, classes: tuple[str, ...], fingerprint: str) -> Method:
    """The process's model and method, made once and kept, whichever of its threads asks first.

    Raises:
        ModelError: the model cannot be loaded, or is not the one that the run began with.
    """
    config = task.config
    execution = Execution(config.precision, task.compiled)
    torch.set_num_threads(task.threads)  # of this thread too: some of what torch keeps of it is each thread's own
    with _MAKING:
        device = worker_device(task.device, _worker_index() if task.numbered else None)
        method = config.method or USUAL_METHOD
        return _explainer(task.spec, method, config.options, execution, device, classes, fingerprint)


_MAKING = threading.Lock()
_IN_HAND = threading.BoundedSemaphore(2)
"""Shards of a worker that hands over: the one that is explained, and the end of the one before."""


@lru_cache(maxsize=1)
def _explainer(
    spec: ModelSpec,
    method: str,
    options: tuple[tuple[str, Any], ...],
    execution: Execution,
    device: torch.device,
    classes: tuple[str, ...],
    fingerprint: str,
) -> Method:
    classifier = load_classifier(spec, classes=classes)
    loaded = weights_fingerprint(classifier.module)
    if loaded != fingerprint:
        raise ModelError(
            f"Expected the weights that the run began with ({fingerprint}), got {loaded} from {spec.model}"
        )
    # Heads are certified before the module moves: a GPU's rounding could hide what is linear.
    made = make_method(method, classifier, execution, dict(options))
    move(made.classifier.module, device)
    explain = made.__enter__()
    explain.progress = _Teller()
    return explain


def tried_path(run: Run, shard: Shard, attempt: str) -> Location:
    """File in which an attempt of a careful task notes its worker and the row it is about to touch."""
    return run.path / LEDGER / f"{shard.index:05d}.{attempt}.trying"


def describe(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        room = "; make room, then run the same command: what is finished is kept" if error.errno in _FULL else ""
        return f"{error.strerror}{where}{room}"
    return str(error)


def _finished(shard: Shard, entry: Entry | None) -> Finished:
    counts = entry or {"processed": 0, "failed": 0}  # withdrawn meanwhile
    return Finished(shard, counts["processed"], counts["failed"])


def _score(run: Run, shard: Shard, entry: Entry | None) -> Entry:
    """Score the stored maps of a shard and commit the scores."""
    samples, targets = (run.read(name, shard).to_pydict() for name in ("samples", "targets"))
    tables = _rescored(run, shard, samples, targets)
    counts = {name: value for name, value in (entry or {}).items() if name not in ("shard", "artefacts")}
    changed = {"transient": sum(samples["transient"]), "scoring": run.scoring}
    return run.commit(shard, None, tables | {"samples": samples}, counts | changed, entry)


def _process(run: Run, shard: Shard, task: Task, explain: Method, entry: Entry | None) -> Entry:
    began = time.perf_counter()
    manifest, config, device = run.manifest(shard.start, shard.stop), task.config, explain.classifier.device
    check = _quick_check(run, shard, config, explain)
    jpegs = NvJpeg(device) if config.jpeg_decoder == "nvjpeg" else None
    with _noting(run, shard, task.careful) as before, scorers_of(_scorer_count(task, explain)) as scorers:
        reader = Reader(
            explain.classifier.preprocessing.fit,
            ObjectsReader(manifest.mask_kind, len(manifest.classes)) if config.scored else None,
            config.max_pixels,
            scorers is not None,
            before,
            task.quarantined,
            jpegs,
            min(READERS, usable_cores()) if _lone(task, device) else 1,
        )
        samples, slots, begun = list(manifest), run.record["slots"], partial(_hand_over, task, device)
        maps = attribute_samples(samples, shard.start, explain, config, slots, reader, check, scorers, begun)
    counts = _counts(maps) | {
        "quarantined": len(task.quarantined),
        "retried": task.retried,
        "device": device_name(device),
        **({} if jpegs is None else {"nvjpeg": jpegs.decoded, "nvjpeg_refused": jpegs.refused}),
        "seconds": round(time.perf_counter() - began, 3),
        "scoring": run.scoring,
    }
    return run.commit(shard, maps.maps, maps.tables(), counts, entry)


def _hand_over(task: Task, device: torch.device) -> None:
    """Let a worker of one thread begin its next shard, where a GPU would else wait for the end and commit of this one.

    Its scheduler counts it no more and may give the worker any number of others: `_IN_HAND` bounds them. A careful task
    keeps its worker to itself.
    """
    if _lone(task, device):
        secede()


def _lone(task: Task, device: torch.device) -> bool:
    """Whether a worker's only thread feeds a GPU, where those of others have several shards in hand."""
    if device.type == "cpu" or task.careful:
        return False
    try:
        return bool(get_worker().state.nthreads == 1)
    except ValueError:  # no worker
        return False


def _scorer_count(task: Task, explain: Method) -> int:
    """Processes that score; none where samples are taken one by one: one that kills has to kill the worker."""
    if task.careful or not task.config.scored:
        return 0
    return usual_count(explain.classifier.device.type) if task.scorers is None else task.scorers


def _quick_check(run: Run, shard: Shard, config: RunConfig, explain: Method) -> QuickCheck | None:
    most = len(shard) if run.samples < LARGE else round(SHARE * len(shard))
    return QuickCheck(explain, config.batch_size, most, run.samples) if config.scored and config.quick_check else None


def _rescored(run: Run, shard: Shard, samples: dict[str, Column], targets: dict[str, Column]) -> dict[str, Any]:
    """The shard's scores; in `samples`, those with a mask that could not be read now are marked to be tried again."""
    manifest = run.manifest(shard.start, shard.stop)
    maps = run.maps(shard.start, shard.stop)
    boxes, regions = (
        run.read(name, shard).to_pydict() if run.part(name, shard) is not None else None
        for name in ("detections", "segmentations")
    )
    kind, classes = manifest.mask_kind, len(run.classes)
    tables, passing = score_samples(list(manifest), maps, samples, targets, kind, classes, boxes, regions)
    rows = zip(samples["sample"], samples["status"], samples["transient"], strict=True)
    samples["transient"] = [row in passing or (status == "failed" and again) for row, status, again in rows]
    return tables


class _Teller:
    """Tells the scheduler about forward passes, once a second; nobody where there is none.

    One for the method that a process's threads share, and told of one pass at a time.
    """

    def __init__(self) -> None:
        self._made, self._told = 0, time.monotonic()

    def __call__(self, images: int) -> None:
        self._made += images
        if time.monotonic() - self._told < _TELL_EVERY_S:
            return
        with suppress(ValueError):  # no worker
            get_worker().log_event(PASSES, self._made)
        self._made, self._told = 0, time.monotonic()


@contextmanager
def _noting(run: Run, shard: Shard, careful: bool) -> Iterator[Callable[[int], None] | None]:
    """Notes a row before it is touched; the note is gone with the attempt, unless that dies with its worker."""
    if not careful:
        yield None
        return
    path, worker = tried_path(run, shard, uuid4().hex[:12]), _worker_address()

    def note(row: int) -> None:
        text = json.dumps({"row": row, "worker": worker})
        write_atomically(path, lambda partial: partial.write_text(text))

    try:
        yield note
    finally:
        path.unlink(missing_ok=True)


def _worker_index() -> int | None:
    """Which of a local cluster's workers this is; None where there is no worker or its name is no number."""
    try:
        name = get_worker().name
    except ValueError:
        return None
    return name if isinstance(name, int) else None


def _worker_address() -> str:
    try:
        return str(get_worker().address)
    except ValueError:
        return ""


def _counts(maps: ShardMaps) -> dict[str, Any]:
    failed = sum(status == "failed" for status in maps.samples.column("status"))
    transient = sum(maps.samples.column("transient"))
    return {"processed": len(maps.samples) - failed, "failed": failed, "transient": transient}
