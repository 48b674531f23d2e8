"""One pass over maps and mask that leaves counts for every threshold; nothing after it reads pixels again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.store.layout import LEVELS


def quantise(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values, 1 at the peak -> levels 0..255; negative values are at level 0."""
    levels = maps * np.float32(LEVELS)
    return np.clip(levels, 0, LEVELS - 1, out=levels).astype(
        np.uint8
    )  # in place: fresh memory costs more than the sums


def inside_outside(
    levels: NDArray[np.uint8], objects: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels of each level inside and outside the object.

    Args:
        levels: [K, H, W].
        objects: [K, H, W] pixels of each target's class.
        valid: [H, W] pixels that count (seen, not void).

    Returns:
        Two arrays [K, 256].
    """
    inside = [_histogram(level, on_object) for level, on_object in zip(levels, objects & valid, strict=True)]
    total = [_histogram(level, valid) for level in levels]
    counts = np.array(inside, np.int64).reshape(-1, LEVELS)
    return counts, np.array(total, np.int64).reshape(-1, LEVELS) - counts


def _histogram(levels: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> list[int]:
    """Pixels [H, W] of each level among those chosen. Pillow counts bytes ten times as fast as NumPy."""
    return Image.fromarray(levels).histogram(Image.fromarray(chosen.view(np.uint8)))


@dataclass(frozen=True)
class Confusion:
    """Pixels counted by winning class, true class and the level of the winning map; only combinations that occur.

    Attributes:
        predicted: [n] class id of the highest map.
        true: [n] 0 background, i + 1 class i.
        map_level: [n] level of the highest map.
        count: [n] pixels.
    """

    predicted: NDArray[np.int64]
    true: NDArray[np.int64]
    map_level: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def merge(cls, parts: list[Confusion]) -> Confusion:
        """Pool counts over images or shards."""
        if not parts:
            none = np.zeros(0, np.int64)
            return cls(none, none, none, none)
        keys = [np.concatenate([getattr(part, name) for part in parts]) for name in ("predicted", "true", "map_level")]
        counts = np.concatenate([part.count for part in parts])
        width = int(keys[1].max(initial=0)) + 1
        codes, place = np.unique((keys[0] * width + keys[1]) * LEVELS + keys[2], return_inverse=True)
        total = np.bincount(place, weights=counts, minlength=len(codes)).astype(np.int64)
        rest, level = np.divmod(codes, LEVELS)
        predicted, true = np.divmod(rest, width)
        return cls(predicted, true, level, total)


class ConfusionPool:
    """Confusions of image after image, pooled when they are asked for: pooling costs a sort."""

    def __init__(self) -> None:
        self._parts: list[Confusion] = []

    def add(self, part: Confusion) -> None:
        """Take an image's, or a shard's."""
        self._parts.append(part)

    def merge(self, other: ConfusionPool) -> None:
        """Take all that another holds."""
        self._parts += other._parts

    def result(self) -> Confusion:
        """All counts, pooled."""
        return Confusion.merge(self._parts)


def confusion(
    maps: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    mask: NDArray[np.int16],
    levels: NDArray[np.uint8] | None = None,
) -> Confusion:
    """Count (winning class, true class, level of the winning map) over the pixels of one image that are not void.

    Args:
        maps: [K, H, W] values, each map 1 at its peak. Ties go to the earlier map.
        class_ids: [K] class of each map.
        mask: [H, W] 0 background, i + 1 class i, -1 void: of pixels that do not count.
        levels: [K, H, W] of the maps, where they are known.
    """
    levels = quantise(maps) if levels is None else levels
    highest, level_of_highest, codes = maps[0], levels[0], np.zeros(mask.shape, np.intp)
    for place in range(1, len(maps)):  # for a few maps faster than argmax over the first axis
        np.copyto(codes, place, where=maps[place] > highest)
        highest = np.maximum(highest, maps[place])
        level_of_highest = np.maximum(level_of_highest, levels[place])
    width = int(mask.max(initial=0)) + 2
    codes *= width  # in place: fresh memory costs more than the sums
    codes += mask
    codes += 1  # 0 collects what is void
    codes *= LEVELS
    codes += level_of_highest
    tally = np.bincount(codes.ravel())
    occurring = np.flatnonzero(tally)
    rest, level = np.divmod(occurring, LEVELS)
    slot, true_class = np.divmod(rest, width)
    counts = true_class > 0
    return Confusion(class_ids[slot[counts]], true_class[counts] - 1, level[counts], tally[occurring[counts]])
