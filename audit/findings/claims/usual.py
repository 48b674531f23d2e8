"""Where a class's objects usually are, for claims that rest on heat alone: of those targets whose object is known.

Heads are in the upper half and about the middle of images of people. Without masks nobody knows whether the heat there
is theirs. Where some targets of the class have a mask or a box, whatever the confidence that they are named with, their
objects are put in place of the maps: each as if all heat lay on it, evenly. A claim stands if the share of images that
show it exceeds that of those by more than its margin (see `audit.stats.margins`). So a place is claimed only where
objects alone would not bring the heat. What such a claim cannot rule out is a part of the object that draws all of it;
so it says how much of the place the objects cover.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.votes import FEWEST, Votes, choose, votes_among
from audit.findings.evidence.targets import Evidence
from audit.findings.records import HEAT_ALONE
from audit.stats.margins import exceeds
from audit.wording import percent

Event = Callable[[NDArray[np.floating], NDArray[np.floating]], NDArray[np.bool_]]
"""Shares of the heat and of the area by cell, each [m, 64] -> [m] whether a map shows what is claimed."""


@dataclass(frozen=True)
class Usual:
    """Objects of the classes; of none where claims do not rest on heat alone.

    Attributes:
        class_id: [m].
        objects: [m, 64] share of each cell that the object covers.
    """

    class_id: NDArray[np.integer]
    objects: NDArray[np.floating]

    def of_class(self, class_id: int) -> NDArray[np.floating]:
        """Those of one class, [k, 64]."""
        own: NDArray[np.floating] = self.objects[self.class_id == class_id]
        return own

    def account(self, class_id: int, event: Event, shows: int, of: int, least: float, level: float) -> bool:
        """Whether the class's objects account for the share of images that show a claim; not where too few are known.

        Args:
            shows, of: images that show it, and how many there are.
            least: by how much the share must exceed that of the objects.
            level: for p.
        """
        objects = self.of_class(class_id)
        if len(objects) < FEWEST:
            return False
        area = np.full(objects.shape, 1 / objects.shape[1])
        as_heat = objects / objects.sum(axis=1, keepdims=True)
        expected = int(event(as_heat, area).sum())
        return bool(exceeds(np.array(shows), np.array(of), np.array(expected), np.array(len(objects)), least) > level)

    def says(self, class_id: int, cells: NDArray[np.bool_]) -> str:
        """How much of some cells [64] known objects cover; empty where none is known."""
        objects = self.of_class(class_id)
        if not len(objects):
            return ""
        covered = percent(float(objects[:, cells].mean()))
        return f" Of the place, the objects of the class that are known ({len(objects)}) cover {covered} on average."


def usual_objects(
    evidence: Evidence, votes: Votes, frames: Callable[[NDArray[np.int64]], tuple[NDArray[np.floating], ...]] | None
) -> Usual:
    """Of targets whose object is known, one a unit and class, where those with a vote are others.

    Args:
        frames: of targets: all heat, and the object's share of each cell; see `audit.findings.evidence.targets.Frames`.
    """
    if votes.rests_on != HEAT_ALONE or frames is None or not evidence.known.any():
        return Usual(np.zeros(0, np.int32), np.zeros((0, evidence.off_heat.shape[1])))
    known = votes_among(evidence, np.flatnonzero(evidence.known), "")
    rows = np.sort(np.concatenate(choose(known, evidence.sample, np.flatnonzero(known.images))))
    objects = frames(rows)[1]
    told = objects.sum(axis=1) > 0
    return Usual(evidence.class_id[rows[told]], objects[told])
