"""From explained samples to the rows that their scores make: by the worker itself, or by a process beside it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.datasets import Objects, Sample, read_objects
from audit.datasets.objects import OwnObject
from audit.errors import AuditError, RunError
from audit.images import View
from audit.interventions.quick import Suspect, suspects
from audit.scores.channels import leading_channels
from audit.scores.features import features_of, relevance_by_channel
from audit.scores.given.detected import Detected
from audit.scores.given.segmented import Segmented
from audit.scores.placed import Placed
from audit.scores.scorer import Explained, Scorer, Targets, score_sample
from audit.store.layout import CHANNELS, DETECTIONS, FEATURES, LEADING, SHARE_STEPS
from audit.store.tables.parts import Rows

ReadObjects = Callable[[Sample, tuple[int, int]], Objects]
"""From a sample and the (height, width) of its upright image to what is known of its objects."""
GivenItself = Detected | Segmented | str
"""What a network gave itself: boxes or regions; or the text that one reads."""
_Weighted = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights [K, channels, ...] and activation [channels, h, w] of a sample; see `audit.attribution.method.Weighted`."""


@dataclass(frozen=True)
class ObjectsReader:
    """Reads what a manifest knows of a sample's objects.

    Attributes:
        mask_kind: one of `audit.datasets.manifest.MASK_KINDS`.
        class_count: of the data set.
    """

    mask_kind: str
    class_count: int

    def __call__(self, sample: Sample, size: tuple[int, int]) -> Objects:
        """The objects of a sample whose upright image has `size` (H, W)."""
        return read_objects(sample, self.mask_kind, size, self.class_count)


@dataclass(frozen=True)
class Subject:
    """A sample that was explained: all that its rows are made of.

    Attributes:
        row: of the sample in the manifest.
        size: (height, width) of the upright image.
        view: what the network saw of it, on an input of `side` pixels.
        targets: [k].
        probability: [k].
        maps: [K, h, w] by slot, as stored.
        objects: what is known of them; None where that is still to be read.
        given: None of a classifier.
    """

    row: int
    sample: Sample
    size: tuple[int, int]
    view: View
    side: int
    targets: Targets
    probability: NDArray[np.float32]
    maps: NDArray[np.floating]
    objects: Objects | None = None
    given: GivenItself | None = None


@dataclass(frozen=True)
class Batch:
    """Samples that were explained together, and what is asked about them.

    Attributes:
        weights, activation: of each sample, see `audit.attribution.method.Weighted`; None where a method has none.
        classes: how many the network tells apart.
        read: what reads objects that were not read before.
        scored: whether maps are scored, or only what a network gave is told.
        checked: whether suspects are sought for the quick check.
    """

    subjects: Sequence[Subject]
    weights: NDArray[np.float32] | None
    activation: NDArray[np.float32] | None
    classes: int
    read: ReadObjects | None = None
    scored: bool = True
    checked: bool = False

    def weighted(self, place: int) -> _Weighted | None:
        """Those of one sample."""
        if self.weights is None or self.activation is None:
            return None
        return self.weights[place], self.activation[place]


@dataclass(frozen=True)
class ScoredBatch:
    """What scoring a batch gives.

    Attributes:
        transient: of each sample, whether its mask may be read later.
        suspects: whom the quick check may ask about.
    """

    transient: list[bool] = field(default_factory=list)
    scorer: Scorer = field(default_factory=Scorer)
    detections: Rows = field(default_factory=lambda: Rows(DETECTIONS))
    features: Rows = field(default_factory=lambda: Rows(FEATURES))
    channels: Rows = field(default_factory=lambda: Rows(CHANNELS))
    suspects: list[Suspect] = field(default_factory=list)


def score_batch(batch: Batch) -> ScoredBatch:
    """Score the samples of a batch, and keep what their heat comes from.

    Raises:
        RunError: something went wrong with a sample that no status covers; the line names it.
    """
    result = ScoredBatch()
    for place, subject in enumerate(batch.subjects):
        with _named(subject):
            _score(result, batch, place, subject)
    return result


@contextmanager
def _named(subject: Subject) -> Iterator[None]:
    """One line that names the sample, about an error that says nothing of it."""
    try:
        yield
    except AuditError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"Scoring sample {subject.row} ({subject.sample.id!r}) stopped with {type(error).__name__}: {reason} "
            f"({last.filename}:{last.lineno})"
        ) from error


def _score(result: ScoredBatch, batch: Batch, place: int, subject: Subject) -> None:
    objects = _objects(batch, subject)
    result.transient.append(objects.transient)
    own = _own_objects(result, subject, objects, batch.classes)
    if not batch.scored:
        return
    sample = Explained(subject.row, subject.size, subject.view, objects, subject.targets, subject.maps, own)
    found = score_sample(sample)
    result.scorer.add(found)
    if batch.checked:
        result.suspects.extend(suspects(sample, subject.probability, found.scores, subject.side))
    weighted = batch.weighted(place)
    if found.placed and weighted is not None:
        _add_origins(result, subject.row, subject.targets, found.placed, weighted)


def _objects(batch: Batch, subject: Subject) -> Objects:
    if subject.objects is not None:
        return subject.objects
    return batch.read(subject.sample, subject.size) if batch.read else Objects()


def _own_objects(result: ScoredBatch, subject: Subject, objects: Objects, classes: int) -> Sequence[OwnObject] | None:
    """What the network gave itself: the objects of its targets; None of a classifier."""
    if isinstance(subject.given, Detected):
        beside = subject.given.beside(subject.row, subject.sample, objects, classes)
        result.detections.merge(beside.rows())
        return beside.own(subject.targets.slots)
    if isinstance(subject.given, Segmented):
        return subject.given.own(subject.targets.class_ids.tolist())
    return None


def _add_origins(
    result: ScoredBatch, row: int, targets: Targets, placed: Sequence[Placed], weighted: _Weighted
) -> None:
    """Keep what the heat of a sample's usable targets comes from."""
    slots, (weights, activation) = targets.slots[targets.usable], weighted
    weights, grid = weights[slots], (activation.shape[1], activation.shape[2])
    keys = {"sample": np.full(len(slots), row), "slot": slots}
    off = np.concatenate([maps.off_and_warm(grid) for maps in placed])
    relevance = relevance_by_channel(off, weights, activation)
    under = [None if vector is None else vector.astype(np.float16) for vector in features_of(relevance)]
    result.features.extend(keys | {"relevance": under})
    warm = np.concatenate([maps.warm(grid) for maps in placed])
    _add_channels(result.channels, keys, (weights, activation), warm, off, relevance)


def _add_channels(
    channels: Rows,
    keys: dict[str, NDArray[Any]],
    weighted: _Weighted,
    warm: NDArray[np.float32],
    off: NDArray[np.float32],
    off_relevance: NDArray[np.floating],
) -> None:
    """Keep which channels carry most of all heat [K, h, w], and of that off the object."""
    columns: dict[str, NDArray[Any]] = {}
    relevance = relevance_by_channel(warm, *weighted)
    for prefix, part, by_channel in (("", warm, relevance), ("off_", off, off_relevance)):
        leading = leading_channels(by_channel, part, *weighted, LEADING)
        columns[f"{prefix}channel"], columns[f"{prefix}cell"] = leading.channel, leading.cell
        columns[f"{prefix}share"] = np.rint(leading.share * SHARE_STEPS).astype(np.uint8)
    channels.extend(keys | columns)
