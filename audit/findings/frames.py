"""Where the heat lies in the frame, clear of the object: the targets that claims about places are made from.

The frame, the part of the upright image that was seen, has 8 x 8 cells (`audit.store.layout.CELLS`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from audit.findings.evidence import Evidence
from audit.findings.exact import one_vote
from audit.store.layout import CELLS

BLOCK = 1 << 16
"""Targets whose frames are held in single precision at a time."""
_WHOLE = 0.95
"""Share of its area off the object from which a cell holds none of it."""


@dataclass(frozen=True)
class Counted:
    """The targets that count, one an image and class.

    Attributes:
        rows: [r] positions in the evidence, by class.
        class_id: [r] their classes, ascending.
        images: [C] how many each class has.
        starts: [C + 1] where each class begins among `rows`.
        rests_on: what the objects were taken from: as `object_basis` says; or heat alone.
    """

    rows: NDArray[np.int64]
    class_id: NDArray[np.int32]
    images: NDArray[np.int64]
    starts: NDArray[np.int64]
    rests_on: str

    def of_class(self, class_id: int) -> slice:
        """Where the class's targets are among `rows`."""
        return slice(int(self.starts[class_id]), int(self.starts[class_id + 1]))


def counted(evidence: Evidence) -> Counted:
    """Targets named with confidence that have heat on what counts; near-duplicates count once.

    Off-object heat and all heat cannot be compared. So targets whose object is known count, or the others alone if
    they are more.
    """
    known = 2 * np.count_nonzero(evidence.known & evidence.named) >= np.count_nonzero(evidence.named)
    has_heat = ~np.isnan(evidence.off_heat[:, 0])
    chosen = np.flatnonzero(evidence.named & has_heat & (evidence.known == known))
    rows = chosen[one_vote(evidence.class_id[chosen], evidence.image[chosen])]
    class_id = evidence.class_id[rows]
    images = np.bincount(class_id, minlength=len(evidence.classes))
    starts = np.concatenate([[0], np.cumsum(images)])
    return Counted(rows, class_id, images, starts, object_basis(evidence.boxed[rows]) if known else "heat alone")


def object_basis(boxed: NDArray[np.bool_]) -> str:
    """What the objects of targets were taken from, by whether each is known by boxes alone, [n].

    Example:
        >>> object_basis(np.array([False, True])), object_basis(np.array([True]))
        ('masks and boxes', 'boxes')
    """
    if not boxed.any():
        return "masks"
    return "boxes" if boxed.all() else "masks and boxes"


def frames(
    evidence: Evidence, rows: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Blocks of rows: their place among the rows, and heat and area clear of the object by cell, each [b, 64]."""
    for start in range(0, len(rows), BLOCK):
        block = slice(start, min(start + BLOCK, len(rows)))
        heat, area = (cells[rows[block]].astype(np.float32) for cells in (evidence.off_heat, evidence.off_area))
        beside = near_object(area)
        heat[beside] = area[beside] = 0
        yield block, heat, area


def near_object(area: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether a cell holds some of the object, or touches one that does, from the areas off it; both [n, 64].

    The heat there may be the object's own: a map of 7 x 7 values spreads it over more than a cell. Objects tend to the
    middle, so classes of small ones would seem to have a spot there.
    """
    touched = (area < _WHOLE * area.max(axis=1, keepdims=True)).reshape(-1, CELLS, CELLS)
    for axis in (1, 2):
        ahead, behind = np.roll(touched, 1, axis), np.roll(touched, -1, axis)
        edge = np.moveaxis(ahead, axis, 0), np.moveaxis(behind, axis, 0)
        edge[0][0] = edge[1][-1] = False
        touched = touched | ahead | behind
    return np.asarray(touched.reshape(len(area), -1), bool)


def frame_totals(values: NDArray[np.floating], rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sums over the frame [r] of shares by cell [n, 64], no more than 1."""
    blocks = (values[rows[start : start + BLOCK]].sum(axis=1, dtype=np.float64) for start in range(0, len(rows), BLOCK))
    return np.asarray(np.minimum(np.concatenate([np.zeros(0), *blocks]), 1), np.float64)


def class_sums(class_id: NDArray[np.integer], values: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Sums [C, m] of values [n, m] by class [n]."""
    places = np.arange(len(class_id))
    members = csr_array((np.ones(len(class_id), np.float64), (class_id, places)), shape=(classes, len(class_id)))
    return np.asarray(members @ values, np.float64)
