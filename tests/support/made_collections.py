"""Collections whose objects and maps are drawn in the plane and scored as a run's are: what layouts do to claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from audit.findings import Rules
from audit.findings.claims.kind import Material
from audit.findings.evidence.frame import cells_as_bits
from audit.findings.evidence.targets import Evidence
from audit.findings.rules import misplacement, severity
from audit.scores.placed import GRID, Placed, heat_on_grid
from audit.scores.placement import by_cell
from audit.scores.shift_null import shift_null

Boxes = NDArray[np.float64]
"""[n, 4] y0, x0, y1, x1 as shares of the view."""
_FINE = 2 * GRID
_CONTEXT = {"target": np.int64, "class_id": np.int32, "heat": np.float32, "area": np.float32}


@dataclass(frozen=True)
class Law:
    """How a collection is drawn.

    Attributes:
        boxes: of objects, from a generator and classes [n].
        wrong: chance that a map looks at a place that owes nothing to the object, and where: centres [n, 2].
        looked_at: of an honest map: what it looks at, from a generator, classes [n] and boxes, at the fine grid
            [n, 2G, 2G]; None for the whole object.
        map_size: values of a map on a side.
        spread: how far a value sees, in map cells: standard deviation.
    """

    boxes: Callable[[np.random.Generator, NDArray[np.integer]], Boxes]
    wrong: float = 0.3
    places: Callable[[np.random.Generator, NDArray[np.integer]], NDArray[np.float64]] = lambda rng, class_id: (
        rng.random((len(class_id), 2))
    )
    looked_at: Callable[[np.random.Generator, NDArray[np.integer], Boxes], NDArray[np.float32]] | None = None
    map_size: int = 7
    spread: float = 0.7


@dataclass(frozen=True)
class Collection:
    """What claims are made from; `heat` and `objects` [n, 64] are all heat, and the object's share of each cell."""

    evidence: Evidence
    heat: NDArray[np.float32]
    objects: NDArray[np.float32]

    @property
    def material(self) -> Material:
        """For kinds of claims."""
        return Material(self.evidence, Rules(), frames=lambda rows: (self.heat[rows], self.objects[rows]))

    def with_some_of(self, other: Collection, chosen: NDArray[np.bool_]) -> Collection:
        """The same with the maps of another collection, of the same samples, for those chosen [n]."""

        def mixed(own: NDArray[Any], its: NDArray[Any]) -> NDArray[Any]:
            return np.where(chosen[:, None] if own.ndim == 2 else chosen, its, own)

        names = ("off_heat", "off_area", "clear", "off", "severity")
        parts = {name: mixed(getattr(self.evidence, name), getattr(other.evidence, name)) for name in names}
        evidence = replace(self.evidence, **parts)
        return Collection(evidence, mixed(self.heat, other.heat), mixed(self.objects, other.objects))

    def without_masks(self, chosen: NDArray[np.bool_]) -> Collection:
        """The same with nothing known of the objects of those chosen [n]: all their heat counts."""
        column, whole = chosen[:, None], np.float16(1 / self.heat.shape[1])
        evidence = replace(
            self.evidence,
            known=self.evidence.known & ~chosen,
            off=self.evidence.off & ~chosen,
            severity=np.where(chosen, np.nan, self.evidence.severity).astype(np.float32),
            off_heat=np.where(column, self.heat, self.evidence.off_heat).astype(np.float16),
            off_area=np.where(column, whole, self.evidence.off_area).astype(np.float16),
            clear=np.where(chosen, ~np.uint64(0), self.evidence.clear),
        )
        return Collection(evidence, self.heat, self.objects)


def draw_collection(
    law: Law, classes: int = 20, images: int = 40, seed: int = 0, probability: float = 0.9
) -> Collection:
    """So many images of each class, each with one target, named with confidence."""
    rng = np.random.default_rng(seed)
    class_id = np.repeat(np.arange(classes), images)
    count = len(class_id)
    boxes = law.boxes(rng, class_id)
    objects = _filled(boxes)
    honest = objects if law.looked_at is None else law.looked_at(rng, class_id, boxes)
    looks = np.where((rng.random(count) < law.wrong)[:, None, None], _blobs(law.places(rng, class_id)), honest)
    maps = _sampled(looks, law)
    shares = objects.reshape(count, GRID, 2, GRID, 2).mean(axis=(2, 4)).astype(np.float32)
    whole = np.ones((GRID, GRID), np.float32)
    reach = GRID / law.map_size
    placed = Placed(heat_on_grid(maps), shares, whole, (0.0, 0.0, float(GRID), float(GRID)), (reach, reach))
    cells, null = by_cell(placed), shift_null(placed)
    energy = np.tensordot(placed.heat * placed.objects, whole, 2) / placed.total
    misplaced = misplacement(null.high, energy, null.attainable)
    evidence = Evidence(
        classes=tuple(f"class {i}" for i in range(classes)),
        sample=np.arange(count),
        slot=np.zeros(count, np.int16),
        class_id=class_id.astype(np.int32),
        probability=np.full(count, probability, np.float32),
        named=np.ones(count, bool),
        off=misplaced >= Rules().misplaced,
        known=np.ones(count, bool),
        boxed=np.zeros(count, bool),
        severity=severity(np.full(count, probability), misplaced).astype(np.float32),
        wrong=np.zeros(count, bool),
        labelled=np.ones(count, bool),
        unit=np.arange(count),
        off_heat=cells["off_heat"].astype(np.float16),
        off_area=cells["off_area"].astype(np.float16),
        clear=cells_as_bits(cells["clear"]),
        attributes={},
        context={name: np.zeros(0, kind) for name, kind in _CONTEXT.items()},
    )
    objects = np.clip(1 - 64 * cells["off_area"], 0, 1)
    return Collection(evidence, cells["on_heat"] + cells["off_heat"], objects)


def small_in_the_sky(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Boxes:
    """Class 0 is small and in the upper third; of the others half fill the frame, half are of middle size."""
    count = len(class_id)
    large = rng.random(count) < 0.5
    side = np.where(class_id == 0, rng.uniform(0.1, 0.25, count), np.where(large, 0.9, rng.uniform(0.3, 0.6, count)))
    y, x = rng.random((2, count)) * (1 - side)
    y = np.where(class_id == 0, rng.random(count) * (0.35 - side).clip(0), y)
    return np.stack([y, x, y + side, x + side], axis=1)


def in_the_middle(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Boxes:
    """Of middle size, about the middle, as photographers put them."""
    height, width = rng.uniform(0.25, 0.6, (2, len(class_id)))
    y, x = (np.clip(rng.normal(0.5, 0.1, len(class_id)), side / 2, 1 - side / 2) for side in (height, width))
    return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)


def large(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Boxes:
    """Most of the frame."""
    height, width = rng.uniform(0.5, 0.8, (2, len(class_id)))
    y, x = (np.clip(rng.normal(0.5, 0.05, len(class_id)), side / 2, 1 - side / 2) for side in (height, width))
    return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)


def anywhere(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Boxes:
    """Of any size, anywhere."""
    height, width = rng.uniform(0.15, 0.6, (2, len(class_id)))
    y, x = rng.random(len(class_id)) * (1 - height), rng.random(len(class_id)) * (1 - width)
    return np.stack([y, x, y + height, x + width], axis=1)


def at_the_bottom(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Boxes:
    """Class 0 lies in the middle of the bottom, always at nearly the same place; the others anywhere."""
    boxes = anywhere(rng, class_id)
    still = np.array([0.65, 0.35, 0.95, 0.65]) + np.tile(rng.normal(0, 0.02, (len(class_id), 2)), 2)
    return np.where(class_id[:, None] == 0, still, boxes)


def filling_the_frame(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Boxes:
    """Of class 0 nearly the whole frame, of the others of any size."""
    margin = rng.uniform(0, 0.15, (len(class_id), 4)) * np.array([1, 1, -1, -1])
    return np.where(class_id[:, None] == 0, np.array([0.0, 0, 1, 1]) + margin, anywhere(rng, class_id))


def large_first(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Boxes:
    """Class 0 is large, the others of any size."""
    return np.where(class_id[:, None] == 0, large(rng, class_id), anywhere(rng, class_id))


def heads(rng: np.random.Generator, class_id: NDArray[np.integer], boxes: Boxes) -> NDArray[np.float32]:
    """A disc in the upper part of each object of class 0, about where heads are; the whole object of the others."""
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    down, across = rng.normal(0.2, 0.06, len(boxes)), rng.normal(0.5, 0.1, len(boxes))
    places = np.stack([boxes[:, 0] + down * height, boxes[:, 1] + across * width], axis=1)
    return np.where((class_id == 0)[:, None, None], _blobs(places), _filled(boxes))


def line(rng: np.random.Generator, class_id: NDArray[np.integer], boxes: Boxes) -> NDArray[np.float32]:
    """A line of text across the whole width, at one height, whatever the object."""
    height = 0.8 + rng.normal(0, 0.01, len(boxes))
    return _filled(np.stack([height - 0.08, 0 * height, height + 0.08, 0 * height + 1], axis=1))


def _filled(boxes: Boxes) -> NDArray[np.float32]:
    """[n, 2G, 2G]: 1 inside."""
    at = (np.arange(_FINE) + 0.5) / _FINE
    rows = (at >= boxes[:, [0]]) & (at < boxes[:, [2]])
    columns = (at >= boxes[:, [1]]) & (at < boxes[:, [3]])
    return (rows[:, :, None] & columns[:, None, :]).astype(np.float32)


def _blobs(places: NDArray[np.float64]) -> NDArray[np.float32]:
    """[n, 2G, 2G]: a disc about each place."""
    at = (np.arange(_FINE) + 0.5) / _FINE
    squared = (at[:, None] - places[:, [0], None]) ** 2 + (at - places[:, [1], None]) ** 2
    return (squared < 0.1**2).astype(np.float32)


def _sampled(looks: NDArray[np.float32], law: Law) -> NDArray[np.float32]:
    """Maps [n, h, h]: what each value sees of what is looked at."""
    cell = _FINE / law.map_size
    seen = gaussian_filter(looks, (0, law.spread * cell, law.spread * cell), mode="constant", truncate=3)
    middles = ((np.arange(law.map_size) + 0.5) * cell).astype(int)
    return seen[:, middles[:, None], middles] + np.float32(1e-6)
