"""Where the heat lies in the frame: the targets that claims about places are made from, and sums over them.

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

BLOCK = 1 << 16
"""Targets whose frames are held in single precision at a time."""


@dataclass(frozen=True)
class Counted:
    """The targets that count, one an image and class.

    Attributes:
        rows: [r] positions in the evidence, by class.
        class_id: [r] their classes, ascending.
        images: [C] how many each class has.
        starts: [C + 1] where each class begins among `rows`.
        rests_on: what the objects were taken from: masks, boxes; or heat alone.
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
    basis = "boxes" if evidence.boxed[rows].any() else "masks"
    starts = np.concatenate([[0], np.cumsum(images)])
    return Counted(rows, class_id, images, starts, basis if known else "heat alone")


def frames(
    evidence: Evidence, rows: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Blocks of rows: their place among the rows, and heat and area off the object by cell, each [b, 64]."""
    for start in range(0, len(rows), BLOCK):
        block = slice(start, min(start + BLOCK, len(rows)))
        yield (
            block,
            evidence.off_heat[rows[block]].astype(np.float32),
            evidence.off_area[rows[block]].astype(np.float32),
        )


def frame_totals(values: NDArray[np.floating], rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sums over the frame [r] of shares by cell [n, 64], no more than 1."""
    blocks = (values[rows[start : start + BLOCK]].sum(axis=1, dtype=np.float64) for start in range(0, len(rows), BLOCK))
    return np.asarray(np.minimum(np.concatenate([np.zeros(0), *blocks]), 1), np.float64)


def class_sums(class_id: NDArray[np.integer], values: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Sums [C, m] of values [n, m] by class [n]."""
    places = np.arange(len(class_id))
    members = csr_array((np.ones(len(class_id), np.float64), (class_id, places)), shape=(classes, len(class_id)))
    return np.asarray(members @ values, np.float64)
