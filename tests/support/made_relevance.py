"""Relevance drawn for drawn collections: what leaks of the object beyond its rim, and a cue that images rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from made_collections import Boxes, Collection, Law, draw_collection
from numpy.typing import NDArray

from audit.findings.evidence.targets import Evidence, Features

CHANNELS = 48
NOISE = 0.3
"""Length of what is no one's, beside directions of length 1."""


def as_parts(evidence: Evidence, relevance: NDArray[np.floating], size: int = 50) -> Callable[[], Iterator[Features]]:
    """The features of shards of so many targets."""

    def parts() -> Iterator[Features]:
        for start in range(0, len(relevance), size):
            own = slice(start, start + size)
            yield evidence.sample[own], evidence.slot[own], relevance[own]

    return parts


def leaking(collection: Collection, rng: np.random.Generator, textures: int = 1) -> NDArray[np.float64]:
    """Relevance off the object [n, CHANNELS], without any cue.

    The more of a map's heat lies on the object, the more of the rest is the object's own; what remains is the
    background's, of so many textures a class.
    """
    evidence = collection.evidence
    classes, targets = len(evidence.classes), len(evidence)
    own = _directions(rng, classes)
    background = _directions(rng, classes, textures)[evidence.class_id, rng.integers(0, textures, targets)]
    leak = on_object(collection)[:, None]
    return leak * own[evidence.class_id] + (1 - leak) * background + _noise(rng, targets)


def with_cue(
    boxes: Callable[..., Boxes], share: float, images: int, classes: int, seed: int, wrong: float = 0.05
) -> tuple[Collection, NDArray[np.float64], NDArray[np.bool_]]:
    """A collection, its relevance, and which images of class 0 rely on a cue that lies anywhere.

    Args:
        share: of class 0's images that rely on it.
        wrong: chance that any other image looks away from its object, at what other images do not look at.
    """
    honest, lost = (draw_collection(Law(boxes, chance), classes, images, seed) for chance in (wrong, 1.0))
    rng = np.random.default_rng(seed)
    first = honest.evidence.class_id == 0
    relies = first & (rng.random(len(first)) < share)
    collection = honest.with_some_of(lost, relies)
    relevance = leaking(collection, rng, textures=6)
    relevance[relies] = _directions(rng) + _noise(rng, int(relies.sum()))
    return collection, relevance, relies


def on_object(collection: Collection) -> NDArray[np.float64]:
    """Share of each map's heat on the object [n]."""
    return np.asarray(1 - np.nan_to_num(collection.evidence.off_heat.astype(np.float64)).sum(axis=1), np.float64)


def _directions(rng: np.random.Generator, *count: int) -> NDArray[np.float64]:
    vectors = np.abs(rng.normal(size=(*count, CHANNELS)))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float64)


def _noise(rng: np.random.Generator, targets: int) -> NDArray[np.float64]:
    return np.asarray(NOISE / np.sqrt(CHANNELS) * rng.normal(size=(targets, CHANNELS)), np.float64)
