"""One pass over maps and mask that leaves counts for every threshold; nothing after it reads pixels again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.images import values_in
from audit.store.layout import LEVELS


def quantise(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values, 1 at the peak -> levels 0..255; negative values are at level 0."""
    levels = maps * np.float32(LEVELS)
    return np.clip(levels, 0, LEVELS - 1, out=levels).astype(
        np.uint8
    )  # in place: fresh memory costs more than the sums


_FEW = 64
"""Values of a mask that are counted whether they occur or not, which is quicker."""


class TrueClasses(NamedTuple):
    """The mask of an image, its values numbered: an image has few of a collection's classes.

    Attributes:
        values: [n] ascending: 0 background, i + 1 class i; at least those that occur.
        places: [H, W] 0 void, i + 1 the i-th of the values.
    """

    values: NDArray[np.int64]
    places: NDArray[np.uint16]

    @classmethod
    def of(cls, mask: NDArray[np.integer]) -> TrueClasses:
        """Those of a mask [H, W]: 0 background, i + 1 class i, -1 void."""
        highest = int(mask.max(initial=0))
        if highest < _FEW:
            return cls(np.arange(highest + 1), (mask + 1).astype(np.uint16))
        occurring = values_in(mask)
        values = occurring[occurring >= 0]
        places = np.zeros(mask.shape, np.uint16)
        for place, value in enumerate(values, 1):
            np.copyto(places, place, where=mask == value)
        return cls(values.astype(np.int64), places)


def level_counts(levels: NDArray[np.uint8], true: TrueClasses) -> NDArray[np.int64]:
    """Count the pixels of each true class at each level of each map: levels [K, H, W] -> [K, n, 256]."""
    count = len(true.values)
    codes = true.places.astype(_code_type(count)) * LEVELS
    return np.array([_tally(codes + level, count) for level in levels], np.int64).reshape(len(levels), count, LEVELS)


def inside_outside(
    counts: NDArray[np.int64], true: TrueClasses, class_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pixels of each level inside and outside each target's object.

    Args:
        counts: [K, n, 256] of `level_counts`.
        class_ids: [K] class of each map.

    Returns:
        Two arrays [K, 256].
    """
    own = true.values == (class_ids + 1)[:, None]
    inside = np.where(own[..., None], counts, 0).sum(axis=1)
    return inside, counts.sum(axis=1) - inside


def _code_type(count: int) -> type[np.unsignedinteger[Any]]:
    """The narrowest type for so many places behind void's, times the levels: narrow passes are the fast ones."""
    return np.uint16 if (count + 1) * LEVELS <= 1 << 16 else np.uint32


def _tally(codes: NDArray[np.unsignedinteger[Any]], count: int) -> NDArray[np.int64]:
    """Codes place * 256 + level -> pixels [count, 256]; place 0 is void and left out."""
    return np.bincount(codes.ravel(), minlength=(count + 1) * LEVELS).reshape(-1, LEVELS)[1:]


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
    def counted(cls, counts: NDArray[np.int64], class_ids: NDArray[np.int64], true: TrueClasses) -> Confusion:
        """From pixels [K, n, 256] that each of K classes wins, by true class and level."""
        winner, place, level = np.nonzero(counts)
        return cls(class_ids[winner], true.values[place], level, counts[winner, place, level])

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

    def __getstate__(self) -> dict[str, list[Confusion]]:
        """Travels between processes pooled."""
        return {"_parts": [self.result()] if self._parts else []}

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
    true: TrueClasses,
    levels: NDArray[np.uint8] | None = None,
) -> Confusion:
    """Count (winning class, true class, level of the winning map) over the pixels of one image that are not void.

    Args:
        maps: [K, H, W] values, each map 1 at its peak. Ties go to the earlier map.
        class_ids: [K] class of each map.
        levels: [K, H, W] of the maps, where they are known.
    """
    levels = quantise(maps) if levels is None else levels
    count = len(true.values)
    codes = true.places.astype(_code_type(len(maps) * count))
    highest, level_of_highest, won = maps[0], levels[0], np.zeros_like(codes)
    for place in range(1, len(maps)):  # for a few maps faster than argmax over the first axis
        np.copyto(won, place * count, where=maps[place] > highest)
        highest = np.maximum(highest, maps[place])
        level_of_highest = np.maximum(level_of_highest, levels[place])
    codes += won * (true.places > 0)
    codes *= LEVELS
    counts = _tally(codes + level_of_highest, len(maps) * count)
    return Confusion.counted(counts.reshape(len(maps), count, LEVELS), class_ids, true)
