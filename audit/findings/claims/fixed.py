"""Heat that keeps to one place of the frame, on the object or off it, while the object does not account for it.

A line of text may lie across the object in every image. Then little of the place is ever clear of the object, and what
asks for heat off the object hears too few images. So here all heat counts: the odds that it lies in the place are more
than twice those of the area, in more images of the class than of the others, by more than the margin. Each class has
the Bonferroni p of its best place.

That may be where the class's objects are, or a part of them, as heads. So the claim stands only if the object does not
account for the heat, by one of two tests: the first where some images leave room in the place, else the second. q is
over the classes asked.

- *It goes on beside the object.* In images that leave room in the place, the heat in its cells that are clear of the
  object has the same odds, and is at least half as dense as in the rest of the place. It is also as dense as nearer to
  the object elsewhere: heat on a part ends where the object does, and what spills goes to all sides. More than
  `TOLERATED` of the images must show that (binomial).
- *It keeps to the frame.* The middle of a map's heat is foretold from another map of the class: by where it lies there,
  and by where it would lie had it gone half the way of the object. Were the heat on a part, the second would be nearer
  in half of the pairs or more. Half the way, for the middle of a broad map goes less far than its object. The
  hypothesis is that it is (jackknife over images, see `following`). Nobody knows which point of an object its part goes
  by. So the frame must be nearer than with the object's middle and with each of its edges, along both axes and along
  one. Objects that are always in one place tell nothing: either guess is as near.

It would be wrong where photographers put both in one place, a part that no point of the mask follows, and where
something natural always lies there beside the object, as water under boats: a shortcut, if no mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.findings.claims.contrasts import LEAST_IN_A_PLACE, Contrasts, Told
from audit.findings.claims.following import mean_of_pairs
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import FEWEST, choose, class_sums, testable
from audit.findings.claims.zones import ODDS
from audit.findings.evidence.frame import PARTS, bits_as_cells, box_of_cells, where_cells_lie
from audit.findings.evidence.targets import Evidence
from audit.findings.records import Claim
from audit.stats.intervals import wilson_interval
from audit.stats.margins import exceeds
from audit.stats.multiplicity import benjamini_hochberg
from audit.store.layout import CELLS
from audit.wording import percent

TOLERATED = 0.25
"""Share of images in which heat on a part of the object may go on beside it: what spills, or a map gone astray."""
CHANCE = 0.5
"""Share of pairs in which the frame may foretell better than the object: half, where objects do not move."""
FEWEST_ROOMS = 3
"""Images that leave room, from which these decide."""
FOLLOWS = 0.5
"""Share of the object's way that heat on it goes along at the least: broad maps keep nearer to the frame's middle."""
DENSE = 0.5
"""How dense heat beside the object is, at the least, against the rest of the place."""
_LEAST_SPREAD = 0.1
"""Of an image's share, where ties leave the jackknife none."""
_TIE = 1e-3
"""Of the frame's side: as near."""
_TOUCHED = 0.01
"""Share of a place that the object covers, from which it is told."""
_TAIL = 0.05
"""Share of an object beyond each of its edges: a tail or an arm is none."""
_MIDDLES = (np.arange(CELLS) + 0.5) / CELLS


def _bands() -> list[NDArray[np.bool_]]:
    rows, columns = np.mgrid[:CELLS, :CELLS]
    return [(along == start) | (along == start + 1) for along in (rows, columns) for start in range(CELLS - 1)]


def _places() -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:CELLS, :CELLS]
    blocks = [(rows // 2 == y) & (columns // 2 == x) for y in range(CELLS // 2) for x in range(CELLS // 2)]
    named = [part for name, part in PARTS.items() if name.endswith(("border", "half", "centre"))]
    return np.array([place.ravel() for place in (*blocks, *_bands(), *named)])


PLACES = _places()
"""[places, 64] bool: blocks of 2 x 2 cells; two rows or columns side by side; borders, halves, the centre."""
_CELLS = PLACES.T.astype(np.float32)


@dataclass(frozen=True)
class Looks:
    """Images of a class or of all, one target each.

    Attributes:
        class_id: [m].
        heat: [m, 64] shares of all heat.
        objects: [m, 64] share of each cell that the object covers; NaN where much void is.
        off_heat, off_area, clear: [m, 64] as in `audit.findings.evidence.targets.Evidence`.
    """

    class_id: NDArray[np.integer]
    heat: NDArray[np.floating]
    objects: NDArray[np.floating]
    off_heat: NDArray[np.floating]
    off_area: NDArray[np.floating]
    clear: NDArray[np.bool_]

    def of_class(self, class_id: int) -> Looks:
        """Those of one class."""
        own = self.class_id == class_id
        return Looks(*(getattr(self, field.name)[own] for field in fields(self)))


class Fixed(ClaimKind):
    """Claims `fixed`, one a class; see the module."""

    name = "fixed"
    title = "heat that keeps to one place of the frame"
    tests = "places"
    family = "class, by its best place"
    question = "does much heat lie in one place, on the object or off it, wherever in the frame the object is?"
    compared_with = "the other classes' images, and where the object would have it"
    stands = (
        "q is small: the share exceeds the other by more than 0.05, and the object does not account for it, for the "
        "heat goes on beside it or keeps to the frame as objects move"
    )
    numbers = (
        "`cells`: numbers, 0 to 63, of the place; `covered`: mean share of it that the object covers; `beside`: in how "
        "many images of `room` the heat goes on beside the object; `nearer`: share of pairs of images in which the "
        "frame foretells the heat better than the object, half by chance"
    )
    chosen = "The class's mean heat by part of the frame, and its images with most heat in the place."
    least = LEAST_IN_A_PLACE
    paired = False

    def lacks(self, material: Material) -> str:
        """Images, where no class has enough to be compared."""
        return material.votes.lack

    def test(self, material: Material) -> list[Claim]:
        """One claim a class with images enough whose object is known."""
        if not material.votes.off or material.frames is None:
            return []
        looks, family = read_looks(material), self.family_in(material)
        there = gathers(looks.heat @ _CELLS, PLACES.mean(axis=1))
        shows = class_sums(looks.class_id, there, len(material.names)).astype(np.int64)
        of = np.bincount(looks.class_id, minlength=len(material.names))
        class_ids = np.flatnonzero(testable(of, of.sum()))
        place, p = best_places(shows[class_ids], of[class_ids], shows.sum(axis=0), int(of.sum()), family.least)
        q, unaccounted = benjamini_hochberg(p), np.ones(len(p))
        asked = np.flatnonzero(q <= family.fdr)
        accounts = {int(i): account_of(looks.of_class(int(class_ids[i])), PLACES[place[i]]) for i in asked}
        unaccounted[asked] = [account.p for account in accounts.values()]
        q[asked] = np.maximum(q[asked], benjamini_hochberg(unaccounted[asked]))
        contrasts = _contrasts(class_ids, place, shows, of, np.maximum(p, unaccounted), q)

        def tell(i: int) -> Told:
            cells, account = PLACES[place[i]], accounts[i]
            details = {"cells": np.flatnonzero(cells).tolist(), **account.plain()}
            says = _says(contrasts, i, material.names[class_ids[i]], cells, account)
            return Told(box_of_cells(cells), material.votes.rests_on, says, details)

        return family.claims(contrasts, material.names, tell, len(class_ids))

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """Much heat lies in the place off the object: what lies on it is not kept here."""
        cells = claim.details["cells"]
        heat, area = (
            np.nan_to_num(part[:, cells].astype(np.float32)).sum(axis=1)
            for part in (evidence.off_heat, evidence.off_area)
        )
        return gathers(heat, area)

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Heat in the place and off the object, of confidently named targets."""
        return evidence.heat_in(claim.details["cells"])

    def judged_by_background(self, claim: Claim) -> bool:
        """What lies across the object stays when the background goes."""
        return bool(claim.details["covered"] < 0.5)

    def identity(self, claim: Claim) -> str:
        """A place is measured: another run may find it a cell wider."""
        return f"{self.name}:{claim.class_name}"

    def frame_heat(self, claim: Claim, mean: Sequence[float]) -> Sequence[float] | None:
        """The class's mean heat."""
        return mean


def read_looks(material: Material) -> Looks:
    """Of every class with images enough: all, or as many as `following` takes."""
    assert material.frames is not None
    evidence, votes = material.evidence, material.votes
    chosen = choose(votes, evidence.sample, np.flatnonzero(votes.images >= FEWEST))
    rows = np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))
    heat, objects = material.frames(rows)
    off_heat, off_area = (cells[rows].astype(np.float32) for cells in (evidence.off_heat, evidence.off_area))
    return Looks(evidence.class_id[rows], heat, objects, off_heat, off_area, bits_as_cells(evidence.clear[rows]))


def gathers(heat: NDArray[np.floating], area: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether the odds of heat in a place are more than twice those of its area, from its shares of both."""
    return np.asarray(heat * (1 - area) > ODDS * area * (1 - heat), bool)


def best_places(
    shows: NDArray[np.int64], of: NDArray[np.integer], all_shows: NDArray[np.int64], all_of: int, least: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The place of each class [k] with the smallest p, and that p times the number of places.

    Args:
        shows: [k, places] images of the class with much heat there, of `of` [k].
        all_shows: [places] those of all classes, of `all_of`.
    """
    p = exceeds(shows, of[:, None], all_shows - shows, all_of - of[:, None], least)
    place = p.argmin(axis=1) if len(p) else np.zeros(0, np.int64)
    return place, np.minimum(p[np.arange(len(p)), place] * len(PLACES), 1)


def _contrasts(
    class_ids: NDArray[np.integer],
    place: NDArray[np.integer],
    shows: NDArray[np.int64],
    of: NDArray[np.integer],
    p: NDArray[np.float64],
    q: NDArray[np.float64],
) -> Contrasts:
    """Images with much heat in each class's place, beside those of the other classes."""
    own, own_of = shows[class_ids, place], of[class_ids]
    expected = (shows.sum(axis=0)[place] - own) / np.maximum(of.sum() - own_of, 1)
    return Contrasts(class_ids, own, own_of, expected, p, q, *wilson_interval(own, own_of))


@dataclass(frozen=True)
class Account:
    """Whether the objects of a class account for the heat in a place.

    Attributes:
        p: of the hypothesis that they do.
        covered: mean share of the place that they cover.
        beside, room: in how many images the heat goes on beside the object, of those that leave room in the place.
        nearer: share of pairs of images in which the frame foretells the heat better than the object.
    """

    p: float
    covered: float
    beside: int
    room: int
    nearer: float

    def plain(self) -> dict[str, float]:
        """As details of a claim."""
        return {name: getattr(self, name) for name in ("covered", "beside", "room", "nearer")}


def account_of(looks: Looks, place: NDArray[np.bool_]) -> Account:
    """Of the images of one class, and the cells [64] of a place."""
    goes_on, room = goes_on_beside(looks, place)
    beside, rooms = int(goes_on.sum()), int(room.sum())
    nearer, kept = keeps_to_the_frame(looks, place)
    # Whether there is room is known from the masks alone, so choosing by it costs nothing.
    p = float(scipy.stats.binom.sf(beside - 1, rooms, TOLERATED)) if rooms >= FEWEST_ROOMS else kept
    covered = float(1 - PLACES.shape[1] * looks.off_area[:, place].mean())
    return Account(p, max(covered, 0.0), beside, rooms, nearer)


def goes_on_beside(looks: Looks, place: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """[m] whether the heat in a place goes on in its cells that are clear of the object, and whether it has such."""
    clear, taken, near = looks.clear & place, ~looks.clear & place, ~looks.clear & ~place
    off_heat = np.nan_to_num(looks.off_heat)
    heat, area = ((part * clear).sum(axis=1) for part in (off_heat, looks.off_area))
    rest = (looks.heat * taken).sum(axis=1) * PLACES.shape[1] / np.maximum(taken.sum(axis=1), 1)
    spilt = (off_heat * near).sum(axis=1) / np.maximum((looks.off_area * near).sum(axis=1), _TIE / PLACES.shape[1])
    room = clear.any(axis=1)
    dense = heat >= np.maximum(DENSE * rest, spilt) * area
    return np.asarray(room & gathers(heat, area) & dense, bool), np.asarray(room, bool)


def keeps_to_the_frame(looks: Looks, place: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of pairs in which the frame foretells the heat better than any point of the object, and its p.

    Args:
        place: [64] cells; of a band across the frame only the axis that it is narrow along is asked.
    """
    told = ~np.isnan(looks.objects).any(axis=1)
    if told.sum() < FEWEST:
        return CHANCE, 1.0
    heat = middle(looks.heat[told])
    still = heat[:, None] - heat
    tried = []
    for point in points_of(looks.objects[told], *narrow(place)):
        moved = still - FOLLOWS * (point[:, None] - point)
        mean, error = mean_of_pairs(_nearer(np.hypot(*still.T).T, np.hypot(*moved.T).T))
        error = max(error, _LEAST_SPREAD / np.sqrt(len(heat)))
        tried.append((mean, float(scipy.stats.t.sf((mean - CHANCE) / error, len(heat) - 1))))
    return max(tried, key=lambda one: one[1])


def narrow(place: NDArray[np.bool_]) -> tuple[bool, bool]:
    """Whether cells [64] are narrow down and across: a band across the frame is narrow down alone."""
    grid = place.reshape(CELLS, CELLS)
    down, across = not grid.any(axis=1).all(), not grid.any(axis=0).all()
    return (down, across) if down or across else (True, True)


def _nearer(still: NDArray[np.floating], moved: NDArray[np.floating]) -> NDArray[np.float64]:
    """[n, n] 1 where the first distance is the smaller, 0.5 for ties; 0 on the diagonal."""
    points = (still < moved - _TIE) + 0.5 * (np.abs(still - moved) <= _TIE)
    np.fill_diagonal(points, 0)
    return np.asarray(points, np.float64)


def middle(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """[m, 2] y, x of the weighted mean of cells, weights [m, 64], in shares of the frame's sides."""
    grid = np.asarray(weights, np.float64).reshape(-1, CELLS, CELLS)
    total = np.maximum(grid.sum(axis=(1, 2)), np.finfo(np.float64).tiny)
    y, x = grid.sum(axis=2) @ _MIDDLES, grid.sum(axis=1) @ _MIDDLES
    return np.asarray(np.stack([y, x], axis=1) / total[:, None], np.float64)


def points_of(objects: NDArray[np.floating], down: bool = True, across: bool = True) -> list[NDArray[np.float64]]:
    """Points of objects [m, 64] that parts may go by, each [m, 2] y, x: middle and edges, along both axes and one.

    Along an axis that it does not go by, a point has the same place, 0, in all images.

    Args:
        down, across: which axes.
    """
    centre, grid = middle(objects), np.asarray(objects, np.float64).reshape(-1, CELLS, CELLS)
    still = np.zeros(len(centre))
    y = [centre[:, 0], *_edges(grid.sum(axis=2))] if down else []
    x = [centre[:, 1], *_edges(grid.sum(axis=1))] if across else []
    both = [(y[0], x[0]), *((edge, x[0]) for edge in y[1:]), *((y[0], edge) for edge in x[1:])] if y and x else []
    single = [*((point, still) for point in y), *((still, point) for point in x)]
    return [np.stack(point, axis=1) for point in (*both, *single)]


def _edges(profile: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where objects begin and end along an axis, each [m], but for their thin ends; from their area along it [m, 8]."""
    share = np.cumsum(profile, axis=1) / np.maximum(profile.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    at, padded = np.arange(CELLS + 1) / CELLS, np.pad(share, ((0, 0), (1, 0)))
    low, high = (np.array([np.interp(level, row, at) for row in padded]) for level in (_TAIL, 1 - _TAIL))
    return low, high


def _says(contrasts: Contrasts, i: int, name: str, cells: NDArray[np.bool_], account: Account) -> str:
    on_object = f", partly on the object, which covers {percent(account.covered)} of it"
    return (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {name} much heat lies in one place, "
        f"{where_cells_lie(cells)} ({box_of_cells(cells)}){on_object if account.covered >= _TOUCHED else ''}; of other "
        f"classes' images it does in {percent(contrasts.expected[i])}. The "
        f"object does not account for that: the heat goes on beside it in {account.beside} of {account.room} images "
        f"that leave room, and in {percent(account.nearer)} of pairs the frame foretells it better than the object."
    )
