"""Fixed spots: places of the frame that a class's heat goes to, image after image, where other classes' does not.

A cell of the frame is hot in an image when it holds more than four times the share of the heat that its area gives, and
more than a twentieth of all heat, and neither holds nor touches the object. Each class x cell is tested by exact label
permutation, and connected cells become one claim with the box around them. A cell must also be hot four times as often
as the class's cells are on average: heat that goes to small things anywhere is no spot. Without masks all heat counts.

What is claimed is a spot, so the false discovery rate must be that of spots. Benjamini-Hochberg over all cells would
not do: a true spot of six cells would buy room for false ones of one cell. Instead each class has the Bonferroni p
value of its 64 cells, Benjamini-Hochberg goes over the classes, and a cell is found when its own Bonferroni p is no
larger than the largest that was let through. Each null cell then adds at most fdr / (64 C) to the expected share of
false spots, for there are at least as many spots as classes let through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from audit.findings.claims.contrasts import Contrasts, Told
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import Votes, class_sums, testable
from audit.findings.evidence import Evidence
from audit.findings.frame import clear_frames, frames, where_cells_lie
from audit.findings.records import Claim
from audit.stats.intervals import wilson_interval
from audit.stats.multiplicity import q_of_counts
from audit.stats.permutation import label_permutation
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


class Spots(ClaimKind):
    """Claims `spot`, one for each place that a class's heat goes to; see the module."""

    name = "spot"
    title = "a fixed spot"
    family = "class x cell"
    question = "is there much heat in the same small place of the frame, image after image?"
    compared_with = "the other classes' images"
    stands = (
        "q is small, each of its cells is hot 0.1 more often than in the other classes, and four times as often as the "
        "class's cells are on average; p is 64 times that of its best cell, and q is by Benjamini-Hochberg over the "
        "classes"
    )
    numbers = (
        "`box`: x0, y0, x1, y1 as shares of the frame; `cells`: their numbers, 0 to 63; `heat`, `heat_of_others`: mean "
        "share of the heat there"
    )
    chosen = "The class's mean heat by part of the frame, and its images with most heat in the spot."

    def test(self, material: Material) -> list[Claim]:
        """Connected cells of every class that can be compared."""
        votes = material.votes
        heat = heat_of(material.evidence, votes)
        class_ids = np.flatnonzero(testable(votes.images, len(votes.rows)))
        p = _cell_p(heat, votes)[class_ids]
        spots = _spots(class_ids, p, _large(heat, votes, material.least)[class_ids], material.rules.fdr)
        contrasts = _contrasts(spots, heat, votes, p.min(axis=1))

        def tell(i: int) -> Told:
            return _tell(spots[i], contrasts, i, heat, votes, material.names)

        return self.family_in(material).claims(contrasts, material.names, tell, p.size)

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """One of the spot's cells is hot."""
        return np.asarray(hot_cells(*clear_frames(evidence))[:, claim.details["cells"]].any(axis=1), bool)

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Heat in the spot, of confidently named targets."""
        return evidence.heat_in(claim.details["cells"])

    def identity(self, claim: Claim) -> str:
        """A spot's place is measured: another run may box it a cell wider."""
        return f"{self.name}:{claim.class_name}"

    def frame_heat(self, claim: Claim, mean: Sequence[float]) -> Sequence[float] | None:
        """The class's mean heat."""
        return mean


def heat_of(evidence: Evidence, votes: Votes) -> Heat:
    """Hot cells and summed heat of the targets that count."""
    hot = np.zeros(len(votes.rows), np.uint64)
    shows, total = np.zeros((2, len(votes.images), CELLS * CELLS))
    for block, heat, area in frames(evidence, votes.rows):
        cells = hot_cells(heat, area)
        hot[block] = _bits(cells)
        shows += class_sums(votes.class_id[block], cells, len(votes.images))
        total += class_sums(votes.class_id[block], heat, len(votes.images))
    return Heat(hot, shows.astype(np.int64), total)


def hot_cells(heat: NDArray[np.floating], area: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether a cell holds much of the heat, by itself and for its area; see the module."""
    return (heat > FLOOR) & (heat > TIMES * area)


def _bits(cells: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(cells, axis=1).view(np.uint64)[:, 0]


def _cell_p(heat: Heat, votes: Votes) -> NDArray[np.float64]:
    """Bonferroni p [C, 64]: times 64."""
    p = label_permutation(heat.shows, votes.images[:, None], heat.shows.sum(axis=0), np.array(len(votes.rows)))
    return np.minimum(p * CELLS * CELLS, 1)


def _large(heat: Heat, votes: Votes, least: float) -> NDArray[np.bool_]:
    """[C, 64] whether a cell is hot by `least` more often than in other classes, and often for its class; see above."""
    images = votes.images[:, None]
    share = _ratio(heat.shows, images)
    excess = share - _ratio(heat.shows.sum(axis=0) - heat.shows, len(votes.rows) - images)
    return np.asarray((excess >= least) & (share > TIMES * share.mean(axis=1, keepdims=True)), bool)


def _ratio(count: NDArray[np.integer], of: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.asarray(count / np.maximum(of, 1), np.float64)


def _spots(class_ids: NDArray[np.integer], p: NDArray[np.float64], large: NDArray[np.bool_], fdr: float) -> list[Spot]:
    """Connected cells of each class that stand: q at or below the rate, and large enough."""
    standing = (_q_among(p, p.min(axis=1)) <= fdr) & large if p.size else large
    spots = []
    for place in np.flatnonzero(standing.any(axis=1)):
        parts, count = label(standing[place].reshape(CELLS, CELLS), _TOUCHING)
        for cells in (parts.ravel() == part for part in range(1, count + 1)):
            spots.append(Spot(int(class_ids[place]), cells, float(p[place, cells].min())))
    return spots


def _q_among(p: NDArray[np.float64], of_classes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest rate at which Benjamini-Hochberg over the classes lets a p through that is one of a class's cells."""
    ordered = np.sort(of_classes)
    through = np.searchsorted(ordered, p, side="right")
    later = np.append(q_of_counts(ordered, np.ones(len(ordered), np.int64)), 1.0)[through]
    return np.asarray(np.minimum(p * len(ordered) / np.maximum(through, 1), later), np.float64)


def _contrasts(spots: list[Spot], heat: Heat, votes: Votes, of_classes: NDArray[np.float64]) -> Contrasts:
    """Images with any of a spot's cells hot, of the class and of the others."""
    class_id = np.array([spot.class_id for spot in spots], np.int64)
    counts = [_count(heat.images(spot.cells), votes.of_class(spot.class_id)) for spot in spots]
    shows, all_shows = np.array(counts, np.int64).reshape(-1, 2).T
    of = votes.images[class_id]
    p = np.array([spot.p for spot in spots])
    low, high = wilson_interval(shows, of)
    expected = (all_shows - shows) / (len(votes.rows) - of)
    return Contrasts(class_id, shows, of, expected, p, _q_among(p, of_classes), low, high)


def _count(hot: NDArray[np.bool_], members: slice) -> tuple[int, int]:
    return int(np.count_nonzero(hot[members])), int(np.count_nonzero(hot))


def _tell(spot: Spot, contrasts: Contrasts, i: int, heat: Heat, votes: Votes, classes: tuple[str, ...]) -> Told:
    c, box = spot.class_id, spot.box
    there = heat.total[:, spot.cells].sum(axis=1)
    of_class, of_rest = there[c] / votes.images[c], (there.sum() - there[c]) / (len(votes.rows) - votes.images[c])
    heat_there = {"heat": float(of_class), "heat_of_others": float(of_rest)}
    details = {"box": list(box), "cells": np.flatnonzero(spot.cells).tolist(), **heat_there}
    subject = "x {:.0f}-{:.0f} %, y {:.0f}-{:.0f} %".format(*(100 * box[k] for k in (0, 2, 1, 3)))
    place = f"{where_cells_lie(spot.cells)} ({subject})"
    says = (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {classes[c]} much heat lies{votes.off} in one "
        f"spot, {place}; of other classes' images it does in {percent(contrasts.expected[i])}."
    )
    return Told(subject, votes.rests_on, says, details)
