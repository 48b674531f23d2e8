"""One pass over maps and mask that leaves counts for every threshold; nothing after it reads pixels again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.store.layout import LEVELS


def quantise(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values, 1 at the peak -> levels 0..255; negative values are at level 0."""
    return np.clip(maps * LEVELS, 0, LEVELS - 1).astype(np.uint8)


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
    count = len(levels)
    codes = levels.astype(np.int32)
    codes += LEVELS * objects
    codes += (2 * LEVELS * np.arange(count, dtype=np.int32))[:, None, None]
    tally = np.bincount(codes[:, valid].ravel(), minlength=2 * LEVELS * count).reshape(count, 2, LEVELS)
    return tally[:, 1], tally[:, 0]


@dataclass(frozen=True)
class Confusion:
    """Pixels counted by winning class, true class and the level of the winning map; only combinations that occur.

    Attributes:
        predicted: [n] class id of the highest map.
        true: [n] 0 background, i + 1 class i.
        level: [n] level of the highest map.
        count: [n] pixels.
    """

    predicted: NDArray[np.int64]
    true: NDArray[np.int64]
    level: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def merge(cls, parts: list[Confusion]) -> Confusion:
        """Pool counts over images or shards."""
        if not parts:
            none = np.zeros(0, np.int64)
            return cls(none, none, none, none)
        keys = [np.concatenate([getattr(part, name) for part in parts]) for name in ("predicted", "true", "level")]
        counts = np.concatenate([part.count for part in parts])
        width = int(keys[1].max(initial=0)) + 1
        codes, place = np.unique((keys[0] * width + keys[1]) * LEVELS + keys[2], return_inverse=True)
        total = np.bincount(place, weights=counts, minlength=len(codes)).astype(np.int64)
        rest, level = np.divmod(codes, LEVELS)
        predicted, true = np.divmod(rest, width)
        return cls(predicted, true, level, total)


def confusion(
    maps: NDArray[np.float32], class_ids: NDArray[np.int64], mask: NDArray[np.int16], valid: NDArray[np.bool_]
) -> Confusion:
    """Count (winning class, true class, level of the winning map) over the valid pixels of one image.

    Args:
        maps: [K, H, W] values, each map 1 at its peak. Ties go to the earlier map.
        class_ids: [K] class of each map.
        mask: [H, W] 0 background, i + 1 class i.
        valid: [H, W] pixels that count.
    """
    winner = maps.argmax(axis=0)[valid]
    level = quantise(maps.max(axis=0)[valid]).astype(np.int64)
    true = mask[valid].astype(np.int64)
    width = int(true.max(initial=0)) + 1
    tally = np.bincount((winner * width + true) * LEVELS + level)
    codes = np.flatnonzero(tally)
    rest, level = np.divmod(codes, LEVELS)
    slot, true = np.divmod(rest, width)
    return Confusion(class_ids[slot], true, level, tally[codes])
