"""Where each class's map is the highest, by level and by what the mask shows: all that thresholds are chosen by.

Label images are kept without a threshold. From these counts follows for any of them, one for all classes or one a
class, how large each mask is and how well it fits, without a look at a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.store.layout import LEVELS, REGIONS
from audit.store.tables.parts import Rows

NO_MAP = -1
"""Class of the pixels where no map takes part: background at any threshold."""


def count_regions(
    row: int,
    winner: NDArray[np.integer],
    level: NDArray[np.integer],
    class_ids: Sequence[int],
    truth: NDArray[np.integer] | None,
) -> Rows:
    """Rows of the table `regions` of one image.

    Args:
        row: of the sample.
        winner: [H, W] place of the class with the highest map in `class_ids`, from 1; 0 for none.
        level: [H, W] of that map, 0..255.
        truth: [H, W] 0 background, i + 1 class i, -1 void; None without a mask.
    """
    rows, classes = Rows(REGIONS), np.array([NO_MAP, *class_ids])
    valid = np.ones(winner.shape, bool) if truth is None else truth >= 0
    place = (winner.astype(np.intp) * LEVELS + level)[valid]
    pixels, none = _by_class(place, len(classes)), np.zeros(LEVELS, np.int64)
    if truth is None:
        for class_id, counts in zip(classes.tolist(), pixels, strict=True):
            rows.add(sample=row, class_id=class_id, object=None, pixels=counts, correct=none, background=none)
        return rows
    shown = truth[valid]
    correct = _by_class(place[shown == (classes + 1)[winner[valid]]], len(classes))
    background = _by_class(place[shown == 0], len(classes))
    correct[0] = background[0]
    objects = dict(zip(*(part.tolist() for part in np.unique(shown, return_counts=True)), strict=True))
    for place_of, class_id in enumerate(classes.tolist()):
        rows.add(
            sample=row,
            class_id=class_id,
            object=objects.get(class_id + 1, 0),
            pixels=pixels[place_of],
            correct=correct[place_of],
            background=background[place_of],
        )
    for value in objects.keys() - {0} - set((classes + 1).tolist()):
        rows.add(sample=row, class_id=value - 1, object=objects[value], pixels=none, correct=none, background=none)
    return rows


def _by_class(place: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    return np.bincount(place, minlength=count * LEVELS).reshape(count, LEVELS)


@dataclass(frozen=True)
class Pool:
    """Regions of many images, summed by class.

    Attributes:
        pixels, correct, background: [C, 256] as in the table.
        objects: [C] pixels of each class in the masks.
        no_map: pixels without a map, and how many of them the masks show as background.
        outside: pixels of the background in the masks.
    """

    pixels: NDArray[np.int64]
    correct: NDArray[np.int64]
    background: NDArray[np.int64]
    objects: NDArray[np.int64]
    no_map: tuple[int, int]
    outside: int

    @classmethod
    def of(cls, regions: pa.Table, class_count: int) -> Self:
        """Of the images with a mask in a table."""
        known = regions.filter(regions["object"].is_valid())
        class_id, objects = (known[name].to_numpy() for name in ("class_id", "object"))
        counts = {name: level_counts(known[name]) for name in ("pixels", "correct", "background")}
        real = class_id >= 0
        summed = {name: _summed(values[real], class_id[real], class_count) for name, values in counts.items()}
        owned = np.bincount(class_id[real], weights=objects[real], minlength=class_count).astype(np.int64)
        no_map = int(counts["pixels"][~real].sum()), int(counts["background"][~real].sum())
        return cls(**summed, objects=owned, no_map=no_map, outside=int(objects[~real].sum()))

    def __add__(self, other: Pool) -> Pool:
        return Pool(
            self.pixels + other.pixels,
            self.correct + other.correct,
            self.background + other.background,
            self.objects + other.objects,
            (self.no_map[0] + other.no_map[0], self.no_map[1] + other.no_map[1]),
            self.outside + other.outside,
        )

    @property
    def known(self) -> bool:
        """Whether there is any mask."""
        return bool(self.objects.sum() + self.outside)

    def iou(self, levels: NDArray[np.integer]) -> NDArray[np.float64]:
        """IoU [..., 1 + C] of background and classes where class c keeps the levels from `levels[..., c]` on.

        NaN for a class that neither the masks nor the labels show. As PASCAL VOC counts it: pooled over all images.
        """
        each, levels = np.arange(len(self.objects)), np.asarray(levels)
        pixels, correct, background = (counts[each, levels] for counts in self._from)
        lost = self.pixels.sum() - pixels.sum(axis=-1), self.background.sum() - background.sum(axis=-1)
        named = _beside(lost[0] + self.no_map[0], pixels)
        hits = _beside(lost[1] + self.no_map[1], correct)
        union = named + np.concatenate([[self.outside], self.objects]) - hits
        return np.asarray(np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0))

    def mean_iou(self, levels: NDArray[np.integer]) -> NDArray[np.float64]:
        """Mean [...] of `iou` over background and the classes that masks or labels show."""
        return np.asarray(np.nanmean(self.iou(levels), axis=-1))

    @cached_property
    def _from(self) -> list[NDArray[np.int64]]:
        """Pixels, correct and background [C, 257] at a level or above."""
        counts = (np.pad(part, ((0, 0), (0, 1))) for part in (self.pixels, self.correct, self.background))
        return [np.cumsum(part[:, ::-1], axis=1)[:, ::-1] for part in counts]


def best_level(pool: Pool) -> int:
    """The one level from which pixels are kept that gives the highest mean IoU, the lowest of equals."""
    return int(np.argmax(pool.mean_iou(np.repeat(np.arange(LEVELS)[:, None], len(pool.objects), axis=1))))


def best_levels(pool: Pool) -> NDArray[np.int64]:
    """For each class [C] the level that gives the highest mean IoU, the others held; until none changes.

    From the best single level on, so never worse. Classes that no mask shows keep that one.
    """
    levels = np.full(len(pool.objects), best_level(pool))
    for _ in range(_TURNS):
        before = levels.copy()
        for class_id in np.flatnonzero(pool.objects):
            tried = np.repeat(levels[None], LEVELS, axis=0)
            tried[:, class_id] = np.arange(LEVELS)
            levels[class_id] = int(np.argmax(pool.mean_iou(tried)))
        if (levels == before).all():
            break
    return levels


def otsu_level(counts: NDArray[np.integer]) -> int:
    """The level that splits a histogram [256] with the greatest variance between (Otsu 1979): kept from there on.

    A histogram of one level, or of none, is all background: 256.
    """
    counts = np.asarray(counts, np.float64)
    below, weighted = np.cumsum(counts)[:-1], np.cumsum(counts * np.arange(LEVELS))[:-1]
    above = counts.sum() - below
    inside = (below > 0) & (above > 0)
    if not inside.any():
        return LEVELS
    total = (counts * np.arange(LEVELS)).sum()
    apart = np.divide(weighted, below, where=inside, out=np.zeros(LEVELS - 1)) - np.divide(
        total - weighted, above, where=inside, out=np.zeros(LEVELS - 1)
    )
    return int(np.argmax(np.where(inside, below * above * apart**2, -1))) + 1


def level_counts(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column of counts by level as [n, 256]."""
    flat = column.combine_chunks().flatten() if len(column) else pa.array([], pa.int32())
    return np.asarray(flat.to_numpy(zero_copy_only=False), np.int64).reshape(-1, LEVELS)


def _summed(values: NDArray[np.int64], class_id: NDArray[Any], class_count: int) -> NDArray[np.int64]:
    total = np.zeros((class_count, LEVELS), np.int64)
    np.add.at(total, class_id, values)
    return total


def _beside(first: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.asarray(first)[..., None], others], axis=-1)


_TURNS = 10
