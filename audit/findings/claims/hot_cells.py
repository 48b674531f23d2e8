"""Where heat lies, by cell of the frame, image and class: what spots are found from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.votes import Votes, class_sums, testable
from audit.findings.evidence.frame import bits_as_cells, cells_as_bits, frames
from audit.findings.evidence.targets import Evidence
from audit.store.layout import CELLS

TIMES = 4.0
"""How many times the share of heat that its area gives a hot cell holds, at the least."""
FLOOR = 0.05
"""Share of all heat that it holds, at the least."""


@dataclass(frozen=True)
class Heat:
    """Where heat lies, by image and by class.

    Attributes:
        hot, clear: [r] uint64, the hot cells of each, and those clear of the object, as bits.
        shows, of: [C, 64] int64, in how many images of a class each cell is hot, and clear.
        total: [C, 64] summed heat, in cells that are clear.
    """

    hot: NDArray[np.uint64]
    clear: NDArray[np.uint64]
    shows: NDArray[np.int64]
    of: NDArray[np.int64]
    total: NDArray[np.float64]

    @property
    def tested(self) -> NDArray[np.bool_]:
        """[C, 64] cells that are clear in images enough."""
        return testable(self.of, self.of.sum(axis=0))

    @property
    def excess(self) -> NDArray[np.float64]:
        """[C, 64] by how much a class's mean heat exceeds that of the others; -inf of cells that are not tested."""
        of_others = ratio(self.total.sum(axis=0) - self.total, self.of.sum(axis=0) - self.of)
        return np.where(self.tested, ratio(self.total, self.of) - of_others, -np.inf)


def heat_of(evidence: Evidence, votes: Votes) -> Heat:
    """Hot cells and summed heat of the targets that count."""
    hot, clear = np.zeros(len(votes.rows), np.uint64), evidence.clear[votes.rows]
    sums = np.zeros((3, len(votes.images), CELLS * CELLS))
    for block, heat, area in frames(evidence, votes.rows):
        cells = hot_cells(heat, area)
        hot[block] = cells_as_bits(cells)
        parts = cells, bits_as_cells(clear[block]), heat
        sums += [class_sums(votes.class_id[block], part, len(votes.images)) for part in parts]
    shows, of, total = sums
    return Heat(hot, clear, shows.astype(np.int64), of.astype(np.int64), total)


def hot_cells(heat: NDArray[np.floating], area: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether a cell holds much of the heat, by itself and for its area."""
    return (heat > FLOOR) & (heat > TIMES * area)


def ratio(count: NDArray[Any], of: NDArray[np.integer]) -> NDArray[np.float64]:
    """Means, 0 of nothing."""
    return np.asarray(count / np.maximum(of, 1), np.float64)
