"""All scores of one sample's targets against its mask, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.images import View, upsample
from audit.scores.histograms import Confusion, TrueClasses, confusion, inside_outside, level_counts, quantise
from audit.scores.localization import TOLERANCE_PX, energy_inside, peak_pixel, pointing_hit
from audit.scores.overlap import iou_curve


@dataclass(frozen=True)
class Scores:
    """Scores of K targets of a sample; names and units as in `audit.store.layout.SCORES`."""

    area: NDArray[np.float64]
    energy: NDArray[np.float64]
    lift: NDArray[np.float64]
    hit: NDArray[np.object_]
    hit_15px: NDArray[np.object_]
    centre_hit: NDArray[np.object_]
    centre_hit_15px: NDArray[np.object_]
    best_iou: NDArray[np.float64]
    best_map_level: NDArray[np.int64]
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """What was seen of a sample: its maps and its mask on the pixels inside the view.

    Attributes:
        heat: [K, h', w'] maps at those pixels, 1 at the peak, not negative.
        mask: [h', w'] 0 background, i + 1 class i, -1 void.
        class_ids: [K].
    """

    heat: NDArray[np.float32]
    mask: NDArray[np.int16]
    class_ids: NDArray[np.int64]

    @classmethod
    def of(cls, maps: NDArray[np.floating], view: View, mask: NDArray[np.int16], class_ids: NDArray[np.int64]) -> Scene:
        """Maps [K, h, w] and mask [H, W] of the upright image, both cut to the view."""
        heat = upsample(maps, view, *mask.shape)
        if (maps < 0).any():  # between values that are not negative none is
            np.maximum(heat, 0, out=heat)
        return cls(heat, mask[view.inside(*mask.shape)], class_ids)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[h', w'] pixels that count: not void."""
        return self.mask >= 0

    @property
    def objects(self) -> NDArray[np.bool_]:
        """[K, h', w'] pixels of each target's class."""
        return np.equal(self.mask, (self.class_ids + 1).astype(self.mask.dtype)[:, None, None])

    @cached_property
    def levels(self) -> NDArray[np.uint8]:
        """[K, h', w'] levels of the maps."""
        return quantise(self.heat)

    @cached_property
    def true(self) -> TrueClasses:
        """The mask, its values numbered."""
        return TrueClasses.of(self.mask)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """[K, n, 256] pixels of each true class at each level of each map."""
        return level_counts(self.levels, self.true)

    def confusion(self, slots: NDArray[np.bool_]) -> Confusion:
        """Pixels by winning class among the chosen slots, true class and level."""
        if slots.sum() == 1:  # it wins everywhere
            return Confusion.counted(self.counts[slots], self.class_ids[slots], self.true)
        chosen: Any = slice(None) if slots.all() else slots  # of all of them no copy is made
        return confusion(self.heat[chosen], self.class_ids[chosen], self.true, self.levels[chosen])


def score(scene: Scene) -> Scores:
    """Score every target of a scene."""
    valid, objects = scene.valid, scene.objects
    inside, outside = inside_outside(scene.counts, scene.true, scene.class_ids)
    area = inside.sum(axis=1) / max(int(valid.sum()), 1)
    energy = energy_inside(scene.heat, objects, valid)
    curve = np.nan_to_num(iou_curve(inside, outside))
    centre = (scene.mask.shape[0] // 2, scene.mask.shape[1] // 2)
    points = [peak_pixel(heat) for heat in scene.heat]
    return Scores(
        area=area,
        energy=energy,
        lift=np.divide(energy, area, out=np.full(len(area), np.nan), where=area > 0),
        hit=pointing_hits(points, objects, valid, 0),
        hit_15px=pointing_hits(points, objects, valid, TOLERANCE_PX),
        centre_hit=pointing_hits([centre] * len(points), objects, valid, 0),
        centre_hit_15px=pointing_hits([centre] * len(points), objects, valid, TOLERANCE_PX),
        best_iou=curve.max(axis=1),
        best_map_level=curve.argmax(axis=1),
        inside=inside,
        outside=outside,
    )


def pointing_hits(
    points: list[tuple[int, int]], objects: NDArray[np.bool_], valid: NDArray[np.bool_], tolerance: int
) -> NDArray[np.object_]:
    """Of each point in each target's object; see `pointing_hit`."""
    hits = [pointing_hit(point, region, valid, tolerance) for point, region in zip(points, objects, strict=True)]
    return np.array(hits, object)
