"""Who has a vote: the targets that claims about places are made from, one a unit and class.

A unit is an image with its near-copies, or a patient, a video, a burst: `audit.findings.evidence.units`. The middle
one of its targets that count votes for it: what that one shows owes nothing to how many there are. An event that a
majority of them shows, or the surest, or any, would be rarer or commoner in large units than in small ones, and
classes of large units would differ from others though their images do not. The first one may be unlike the rest, as
the first frame of a video or the first slice of a patient is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.findings.evidence.targets import Evidence
from audit.findings.records import HEAT_ALONE

FEWEST = 5
"""Images that a share, and the one it is compared with, must be of to be tested."""
MOST_VALUES = 50
"""An attribute with more is an identifier, or is too fine to compare."""
MOST_MAPS = 200
"""Images of a class whose whole maps are read at most."""
BLOCK = 1 << 12
"""Samples that are chosen together."""


@dataclass(frozen=True)
class Votes:
    """The targets that count, one a unit and class.

    Attributes:
        rows: [r] positions in the evidence, by class.
        class_id: [r] their classes, ascending.
        images: [C] how many each class has, one a unit.
        starts: [C + 1] where each class begins among `rows`.
        rests_on: what the objects were taken from: as `object_basis` says; or heat alone.
    """

    rows: NDArray[np.int64]
    class_id: NDArray[np.int32]
    images: NDArray[np.int64]
    starts: NDArray[np.int64]
    rests_on: str

    @property
    def off(self) -> str:
        """How a sentence says that heat does not lie on the object, where an object is known."""
        return "" if self.rests_on == HEAT_ALONE else " off the object"

    @property
    def room(self) -> str:
        """How a sentence says which images count for a place, where an object is known: those that could show it."""
        return " that leave room there," if self.off else ""

    @property
    def caveat(self) -> str:
        """What a sentence adds where no object is known: people's heads are in the same place too."""
        return "" if self.off else " No object is known here: it may be what lies there."

    @property
    def lack(self) -> str:
        """What it takes to compare a class with the others; empty where one can be."""
        enough = testable(self.images, int(self.images.sum())).any()
        return "" if enough else f"{FEWEST} confidently named images of a class, and of others"

    def of_class(self, class_id: int) -> slice:
        """Where the class's targets are among `rows`."""
        return slice(int(self.starts[class_id]), int(self.starts[class_id + 1]))


def count_votes(evidence: Evidence) -> Votes:
    """Targets named with confidence that have heat on what counts; a unit counts once.

    Off-object heat and all heat cannot be compared. So targets whose object is known count, or the others alone if
    they are more.
    """
    known = 2 * np.count_nonzero(evidence.known & evidence.named) >= np.count_nonzero(evidence.named)
    has_heat = ~np.isnan(evidence.off_heat[:, 0])
    chosen = np.flatnonzero(evidence.named & has_heat & (evidence.known == known))
    return votes_among(evidence, chosen, "" if known else HEAT_ALONE)


def votes_among(evidence: Evidence, chosen: NDArray[np.int64], rests_on: str) -> Votes:
    """One a unit and class of the targets chosen, ascending positions.

    Args:
        rests_on: as in `Votes`; empty for what `object_basis` says of them.
    """
    rows = chosen[one_vote(evidence.class_id[chosen], evidence.unit[chosen])]
    class_id = evidence.class_id[rows]
    images = np.bincount(class_id, minlength=len(evidence.classes))
    starts = np.concatenate([[0], np.cumsum(images)])
    return Votes(rows, class_id, images, starts, rests_on or object_basis(evidence, rows))


def choose(votes: Votes, sample: NDArray[np.integer], class_ids: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Targets of each class, ascending positions in the evidence: all, or `MOST_MAPS`.

    They are taken from blocks of samples in random order, the same for all classes, so that few shards are read.
    """
    blocks = sample // BLOCK
    turn = np.random.default_rng(0).permutation(int(blocks.max(initial=0)) + 1)
    members = (votes.rows[votes.of_class(int(class_id))] for class_id in class_ids)
    return [np.sort(rows[np.argsort(turn[blocks[rows]], kind="stable")[:MOST_MAPS]]) for rows in members]


def one_vote(owner: NDArray[np.integer], unit: NDArray[np.integer]) -> NDArray[np.int64]:
    """Positions [r] of the middle one of each unit [n] in each class [n]; by class, then unit.

    Example:
        >>> one_vote(np.array([0, 0, 0, 1, 0]), np.array([7, 7, 7, 7, 2])).tolist()
        [4, 1, 3]
    """
    key = owner.astype(np.int64) * (int(unit.max(initial=0)) + 1) + unit
    order = np.argsort(key, kind="stable")
    _, start, count = np.unique(key[order], return_index=True, return_counts=True)
    return np.asarray(order[start + (count - 1) // 2], np.int64)


def object_basis(evidence: Evidence, rows: NDArray[np.integer] | NDArray[np.bool_]) -> str:
    """What the objects of some targets were taken from."""
    return basis_of_objects(evidence.boxed[rows], evidence.given)


def basis_of_objects(boxed: NDArray[np.bool_], given: str | None = None) -> str:
    """What objects were taken from, by whether each is known by boxes alone, [n].

    Args:
        given: what the network gave itself, if these are the objects.

    Example:
        >>> basis_of_objects(np.array([False, True])), basis_of_objects(np.array([True]))
        ('masks and boxes', 'boxes')
    """
    if given is not None:
        return given
    if not boxed.any():
        return "masks"
    return "boxes" if boxed.all() else "masks and boxes"


def testable(of: NDArray[np.integer], all_of: NDArray[np.integer] | int) -> NDArray[np.bool_]:
    """Whether there are images enough, on this side and on the other."""
    return (of >= FEWEST) & (all_of - of >= FEWEST)


def too_few(classes: tuple[str, ...], votes: Votes) -> list[str]:
    """Sentences on the classes that cannot be compared, and why."""
    few = np.flatnonzero((votes.images > 0) & (votes.images < FEWEST)).tolist()
    said = []
    if len(few):
        names = ", ".join(classes[i] for i in few[:5]) + (", ..." if len(few) > 5 else "")
        count = f"{len(few)} class{'' if len(few) == 1 else 'es'}"
        said.append(f"Not tested, with fewer than {FEWEST} confidently named images: {count} ({names})")
    return said + _alone(classes, votes.images)


def _alone(classes: tuple[str, ...], images: NDArray[np.int64]) -> list[str]:
    """A sentence on the class, if there is one, that has images enough while the others together have not."""
    lone = np.flatnonzero((images >= FEWEST) & (images.sum() - images < FEWEST))
    why = "it is the only class" if len(classes) == 1 else f"fewer than {FEWEST} images of others are named confidently"
    return [f"Not compared with other classes: {classes[i]}; {why}" for i in lone]


def class_sums(class_id: NDArray[np.integer], values: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Sums [C, m] of values [n, m] by class [n]."""
    places = np.arange(len(class_id))
    members = scipy.sparse.csr_array(
        (np.ones(len(class_id), np.float64), (class_id, places)), shape=(classes, len(class_id))
    )
    return np.asarray(members @ values, np.float64)
