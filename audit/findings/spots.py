"""Fixed spots: places of the frame that a class's heat goes to, image after image, where other classes' does not.

A cell of the frame is hot in an image when it holds more than four times the share of the heat that its area gives, and
more than a twentieth of all heat, and neither holds nor touches the object. Each class x cell is tested by exact label
permutation, and connected cells become one claim with the box around them. A cell must also be hot four times as often
as the class's cells are on average: heat that goes to small things anywhere is no spot. Without masks all heat counts.

What is claimed is a spot, so the false discovery rate must be that of spots. Benjamini-Hochberg over all cells would
not do: a true spot of six cells would buy room for false ones of one cell. Instead each class has the Bonferroni p
value of its 64 cells, Benjamini-Hochberg goes over the classes, and a cell is found when its own Bonferroni p is no
larger than the largest that was let through. Each null cell then adds at most level / (64 C) to the expected share of
false spots, for there are at least as many spots as classes let through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from audit.findings.contrasts import Contrasts, Family, Row, Told, testable
from audit.findings.evidence import Evidence
from audit.findings.exact import label_permutation
from audit.findings.frame import where_cells_lie
from audit.findings.frames import Counted, class_sums, frames
from audit.findings.multiplicity import q_of_counts
from audit.findings.off_object import wilson_interval
from audit.store.layout import CELLS
from audit.wording import percent

TIMES = 4.0
FLOOR = 0.05
_TOUCHING = np.ones((3, 3), int)

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the frame."""


@dataclass(frozen=True)
class Spot:
    """Connected cells that a class's heat goes to.

    Attributes:
        cells: [64] bool.
        p: smallest of the cells, times 64.
    """

    class_id: int
    cells: NDArray[np.bool_]
    p: float

    @property
    def box(self) -> Box:
        """Around the cells."""
        (rows, columns) = find_objects(self.cells.reshape(CELLS, CELLS).astype(int))[0]
        return columns.start / CELLS, rows.start / CELLS, columns.stop / CELLS, rows.stop / CELLS


@dataclass(frozen=True)
class Heat:
    """Where heat lies, by image and by class.

    Attributes:
        hot: [r] uint64, the hot cells of each as bits.
        shows: [C, 64] int64, in how many images of a class each cell is hot.
        total: [C, 64] summed heat.
    """

    hot: NDArray[np.uint64]
    shows: NDArray[np.int64]
    total: NDArray[np.float64]

    def images(self, cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """[r] whether any of the cells [64] is hot."""
        return np.asarray(self.hot & _bits(cells[None])[0], bool)


def spot_claims(evidence: Evidence, counted: Counted, level: float, least: float) -> list[Row]:
    """Claims `class x cell`, one a spot; see the module.

    `details`: `box` (x0, y0, x1, y1 as shares of the frame), `cells`, and the mean share of the `heat` that lies there,
    of the class and of the others.
    """
    heat = heat_of(evidence, counted)
    class_ids = np.flatnonzero(testable(counted.images, len(counted.rows)))
    p = _cell_p(heat, counted)[class_ids]
    spots = _spots(class_ids, p, _large(heat, counted, least)[class_ids], level)
    contrasts = _contrasts(spots, heat, counted, p.min(axis=1))

    def tell(i: int) -> Told:
        return _tell(spots[i], contrasts, i, heat, counted, evidence.classes)

    return Family("spot", "class x cell", level, least).claims(contrasts, evidence.classes, tell, p.size)


def heat_of(evidence: Evidence, counted: Counted) -> Heat:
    """Hot cells and summed heat of the targets that count."""
    hot = np.zeros(len(counted.rows), np.uint64)
    shows, total = np.zeros((2, len(counted.images), CELLS * CELLS))
    for block, heat, area in frames(evidence, counted.rows):
        cells = hot_cells(heat, area)
        hot[block] = _bits(cells)
        shows += class_sums(counted.class_id[block], cells, len(counted.images))
        total += class_sums(counted.class_id[block], heat, len(counted.images))
    return Heat(hot, shows.astype(np.int64), total)


def hot_cells(heat: NDArray[np.floating], area: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether a cell holds much of the heat, by itself and for its area; see the module."""
    return (heat > FLOOR) & (heat > TIMES * area)


def _bits(cells: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(cells, axis=1).view(np.uint64)[:, 0]


def _cell_p(heat: Heat, counted: Counted) -> NDArray[np.float64]:
    """Bonferroni p [C, 64]: times 64."""
    p = label_permutation(heat.shows, counted.images[:, None], heat.shows.sum(axis=0), np.array(len(counted.rows)))
    return np.minimum(p * CELLS * CELLS, 1)


def _large(heat: Heat, counted: Counted, least: float) -> NDArray[np.bool_]:
    """[C, 64] whether a cell is hot by `least` more often than in other classes, and often for its class; see above."""
    own = counted.images[:, None]
    share = _ratio(heat.shows, own)
    excess = share - _ratio(heat.shows.sum(axis=0) - heat.shows, len(counted.rows) - own)
    return np.asarray((excess >= least) & (share > TIMES * share.mean(axis=1, keepdims=True)), bool)


def _ratio(count: NDArray[np.integer], of: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.asarray(count / np.maximum(of, 1), np.float64)


def _spots(
    class_ids: NDArray[np.integer], p: NDArray[np.float64], large: NDArray[np.bool_], level: float
) -> list[Spot]:
    """Connected cells of each class that stand: q at or below the level, and large enough."""
    standing = (_q_among(p, p.min(axis=1)) <= level) & large if p.size else large
    spots = []
    for place in np.flatnonzero(standing.any(axis=1)):
        parts, count = label(standing[place].reshape(CELLS, CELLS), _TOUCHING)
        for cells in (parts.ravel() == part for part in range(1, count + 1)):
            spots.append(Spot(int(class_ids[place]), cells, float(p[place, cells].min())))
    return spots


def _q_among(p: NDArray[np.float64], of_classes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest level at which Benjamini-Hochberg over the classes lets a p through that is one of a class's cells."""
    ordered = np.sort(of_classes)
    through = np.searchsorted(ordered, p, side="right")
    later = np.append(q_of_counts(ordered, np.ones(len(ordered), np.int64)), 1.0)[through]
    return np.asarray(np.minimum(p * len(ordered) / np.maximum(through, 1), later), np.float64)


def _contrasts(spots: list[Spot], heat: Heat, counted: Counted, of_classes: NDArray[np.float64]) -> Contrasts:
    """Images with any of a spot's cells hot, of the class and of the others."""
    class_id = np.array([spot.class_id for spot in spots], np.int64)
    counts = [_count(heat.images(spot.cells), counted.of_class(spot.class_id)) for spot in spots]
    shows, all_shows = np.array(counts, np.int64).reshape(-1, 2).T
    of = counted.images[class_id]
    p = np.array([spot.p for spot in spots])
    low, high = wilson_interval(shows, of)
    expected = (all_shows - shows) / (len(counted.rows) - of)
    return Contrasts(class_id, shows, of, expected, p, _q_among(p, of_classes), low, high)


def _count(hot: NDArray[np.bool_], own: slice) -> tuple[int, int]:
    return int(np.count_nonzero(hot[own])), int(np.count_nonzero(hot))


def _tell(spot: Spot, contrasts: Contrasts, i: int, heat: Heat, counted: Counted, classes: tuple[str, ...]) -> Told:
    c, box = spot.class_id, spot.box
    there = heat.total[:, spot.cells].sum(axis=1)
    own, others = there[c] / counted.images[c], (there.sum() - there[c]) / (len(counted.rows) - counted.images[c])
    details = {"box": box, "cells": np.flatnonzero(spot.cells).tolist(), "heat": own, "heat_of_others": others}
    subject = "x {:.0f}-{:.0f} %, y {:.0f}-{:.0f} %".format(*(100 * box[k] for k in (0, 2, 1, 3)))
    off = "" if counted.rests_on == "heat alone" else " off the object"
    place = f"{where_cells_lie(spot.cells)} ({subject})"
    says = (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {classes[c]} much heat lies{off} in one spot, "
        f"{place}; of other classes' images it does in {percent(contrasts.expected[i])}."
    )
    return Told(subject, counted.rests_on, says, details)
