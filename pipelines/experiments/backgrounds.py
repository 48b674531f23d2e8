"""Images of a collection without their objects: what an object is put on to see whether its own background counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.datasets import Objects, read_objects
from audit.errors import ImageError
from audit.interventions import Region, at_input, widened
from audit.models import Classifier
from audit.scores.faithfulness import Image, impute
from audit.scores.given.registry import objects_of_target
from audit.store import Run
from pipelines.experiments.inputs import Input, read_input

BACKGROUNDS = 5
"""Other images that lend a target their background, and its colour."""

_POOL = 3 * BACKGROUNDS
"""To draw them from: were it small, all targets of a class would share the cues that it happens to hold."""
_TRIED = 20 * _POOL
_LARGEST = 0.5


@dataclass(frozen=True)
class Background:
    """An image whose objects were filled from around them.

    Attributes:
        sample: its row in the manifest.
        classes: that it shows or is labelled with.
        image: [3, S, S] as the network takes it.
    """

    sample: int
    classes: frozenset[int]
    image: Image


def gather_backgrounds(run: Run, classifier: Classifier, class_ids: Iterable[int], seed: int = 0) -> list[Background]:
    """Backgrounds from a run's images in random order, until there are enough without each of the classes.

    Images without known objects, and those that are mostly object, have none to give. In a collection of one class
    there may be none, whatever is tried.
    """
    rng = np.random.default_rng(seed)
    rows = np.concatenate([np.arange(shard.start, shard.stop) for shard in run.done()])
    backgrounds: list[Background] = []
    for row in rng.permutation(rows)[:_TRIED].tolist():
        if all(_without(backgrounds, class_id) > _POOL for class_id in class_ids):
            break
        if background := _background(run, classifier, row, rng):
            backgrounds.append(background)
    return backgrounds


def _without(backgrounds: list[Background], class_id: int) -> int:
    return sum(class_id not in background.classes for background in backgrounds)


def choose_backgrounds(
    backgrounds: list[Background], class_id: int, sample: int, rng: np.random.Generator
) -> list[Image]:
    """Up to `BACKGROUNDS` of other images that do not show the class."""
    able = [
        background.image
        for background in backgrounds
        if class_id not in background.classes and background.sample != sample
    ]
    return [able[place] for place in rng.permutation(len(able))[:BACKGROUNDS]]


def known_objects(run: Run, entry: Input) -> Objects:
    """What is known of the objects of an image of a run."""
    return read_objects(entry.sample, entry.mask_kind, entry.size, len(run.classes))


def target_mask(run: Run, entry: Input, target: Mapping[str, Any]) -> tuple[NDArray[np.int16] | None, int]:
    """The mask that a target of a run is held against, None where no object is known, and its object's class there."""
    row, slot, class_id = target["sample"], target["slot"], target["class_id"]
    objects, object_id = objects_of_target(run, row, slot, class_id, known_objects(run, entry), entry.size)
    return objects.mask, object_id


def _background(run: Run, classifier: Classifier, row: int, rng: np.random.Generator) -> Background | None:
    shard = run.shards[row // run.record["shard_size"]]
    digest = run.read("samples", shard, ["digest"])["digest"][row - shard.start].as_py()
    try:
        entry = read_input(run, classifier, row, digest)
    except ImageError:
        return None
    mask = known_objects(run, entry).mask
    if mask is None:
        return None
    objects: Region = widened(at_input(mask != 0, entry.view, entry.image.shape[1]))
    if objects.mean() > _LARGEST:
        return None
    classes = frozenset(entry.sample.labels) | {int(value) - 1 for value in np.unique(mask) if value > 0}
    return Background(row, classes, impute(entry.image, objects, rng))
