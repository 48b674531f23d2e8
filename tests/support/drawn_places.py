"""Maps put at random places over objects of all sizes, or where they lie on their object least."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from audit.findings import Rules
from audit.findings.avoidance import q_of_avoidance
from audit.findings.judge import q_of_shifts
from audit.scores.placed import GRID, heat_on_grid
from audit.scores.shift_null import SHIFTS, shifted_energies

SCENES = 512
LARGE = 0.2
"""Share of the view from which an object can be avoided: heat lies off a smaller one at most places."""


TARGETS, CLASSES = 10_000, 20
Avoids = Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.bool_]]
"""Which targets avoid their object, from their classes."""


def avoidance_found(seed: int, avoids: Avoids, copies: int = 1) -> tuple[float, float, float]:
    """Share of false ones among those found, share of the true ones found, and that of all targets tested together."""
    rng = np.random.default_rng(seed)
    class_id = rng.integers(0, CLASSES, TARGETS // copies)
    truth = avoids(class_id, rng)
    p = draw_places(rng, truth)
    class_id, truth, p, image = (np.repeat(part, copies) for part in (class_id, truth, p, np.arange(len(p))))
    found, together = q_of_avoidance(p, class_id, image) <= Rules().fdr, q_of_shifts(p) <= Rules().fdr
    true = max(truth.sum(), 1)
    rate = (found & ~truth).sum() / max(found.sum(), 1)
    return float(rate), float((found & truth).sum() / true), float((together & truth).sum() / true)


def draw_places(rng: np.random.Generator, avoids: NDArray[np.bool_]) -> NDArray[np.float64]:
    """p_low [n] of maps at random places; those that avoid are of large objects, at one of the three least places."""
    area = _scenes()[1]
    large = np.flatnonzero(area >= LARGE)
    scene = np.where(avoids, rng.choice(large, len(avoids)), rng.integers(0, SCENES, len(avoids)))
    place = np.where(avoids, rng.integers(0, 3, len(avoids)), rng.integers(0, SHIFTS, len(avoids)))
    at = _sorted()[scene, place]
    return (
        np.array([np.searchsorted(_sorted()[s], e + 1e-6, side="right") for s, e in zip(scene, at, strict=True)])
        / SHIFTS
    )


@cache
def _sorted() -> NDArray[np.float64]:
    return np.sort(_scenes()[0], axis=1)


@cache
def _scenes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies [SCENES, 1024] of 7 x 7 maps of one or two blobs at every place, and areas of the boxes below."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:7, :7] + 0.5
    rows, columns = (np.mgrid[:GRID, :GRID] + 0.5) / GRID
    maps, objects = np.zeros((SCENES, 7, 7)), np.zeros((SCENES, GRID, GRID), np.float32)
    for k in range(SCENES):
        for height in rng.choice([[1.0, 0.0], [1.0, 0.6]]):
            down, across, spread = *rng.uniform(0, 7, 2), rng.choice([0.7, 1.2, 2.0])
            maps[k] += height * np.exp(-((y - down) ** 2 + (x - across) ** 2) / (2 * spread**2))
        maps[k] = np.maximum(maps[k] + 0.1 * rng.standard_normal((7, 7)), 0)
        area, ratio = np.exp(rng.uniform(np.log(0.02), np.log(0.7))), np.exp(rng.uniform(-0.3, 0.3))
        tall, wide = min(np.sqrt(area * ratio), 1), min(np.sqrt(area / ratio), 1)
        top, left = rng.uniform(0, 1 - tall), rng.uniform(0, 1 - wide)
        objects[k] = (rows > top) & (rows < top + tall) & (columns > left) & (columns < left + wide)
    energies = shifted_energies(heat_on_grid(maps), objects, np.ones((GRID, GRID), np.float32))
    return energies.reshape(SCENES, SHIFTS), objects.mean(axis=(1, 2))
