"""Fixed spots: places of the frame that a class's heat goes to, image after image, where other classes' does not.

A cell of the frame is hot in an image when it is clear of the object and holds more than four times the share of the
heat that its area gives, and more than a twentieth of all heat. Only images in which the cell is clear count for it, of
the class and of the others: a class of small objects leaves more room. Each class x cell is tested against the others,
and connected cells become one claim. A cell must also be hot four times as often as the class's cells are on average:
heat that goes to small things anywhere is no spot. Without masks all heat counts.

What is claimed is a spot, so the false discovery rate must be that of spots. Benjamini-Hochberg over all cells would
not do: a true spot of six cells would buy room for false ones of one cell. Instead each class has the Bonferroni p
value of its cells that can be tested, Benjamini-Hochberg goes over the classes, and a cell is found when its own
Bonferroni p is no larger than the largest that was let through. Each null cell then adds at most its even part of
fdr / C to the expected share of false spots, for there are at least as many spots as classes let through.

A cue may be wider than the cells that are beyond doubt: a bar, a frame. So a spot is told with its *region*: the cells
connected with it whose mean heat exceeds that of the other classes by half as much, at least, as its best cell's does.
Parts that fill most of two opposite edges are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.findings.claims.contrasts import LEAST_IN_A_PLACE, Contrasts, Told
from audit.findings.claims.hot_cells import TIMES, Heat, hot_cells, ratio
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.usual import Event
from audit.findings.claims.votes import Votes
from audit.findings.evidence.frame import PARTS, bits_as_cells, cells_as_bits, clear_frames, where_cells_lie
from audit.findings.evidence.targets import Evidence
from audit.findings.power import Detectable, found_from
from audit.findings.records import Claim
from audit.stats.intervals import wilson_interval
from audit.stats.margins import exceeds
from audit.stats.multiplicity import q_of_counts
from audit.store.layout import CELLS
from audit.wording import percent

_TOUCHING = np.ones((3, 3), int)
_OPPOSITE = [PARTS[name].ravel() for name in ("top and bottom border", "left and right border")]

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the frame."""


@dataclass(frozen=True)
class Spot:
    """Cells that a class's heat goes to.

    Attributes:
        cells: [64] bool, those that stand.
        region: [64] bool, with those that stand out beside them.
        p: smallest of the cells, times the number that were tested.
    """

    class_id: int
    cells: NDArray[np.bool_]
    region: NDArray[np.bool_]
    p: float

    @property
    def box(self) -> Box:
        """Around the region."""
        (rows, columns) = scipy.ndimage.find_objects(self.region.reshape(CELLS, CELLS).astype(int))[0]
        return columns.start / CELLS, rows.start / CELLS, columns.stop / CELLS, rows.stop / CELLS


class Spots(ClaimKind):
    """Claims `spot`, one for each place that a class's heat goes to; see the module."""

    name = "spot"
    title = "a fixed spot"
    tests = "places"
    family = "class x cell"
    question = "is there much heat in the same small place of the frame, image after image?"
    compared_with = "the other classes' images"
    stands = (
        "q is small, and each of its cells is hot four times as often as the class's cells are on average; p, of a "
        "share more than 0.05 above the other, is that of its best cell times the cells tested, and q is by "
        "Benjamini-Hochberg over the classes"
    )
    numbers = (
        "`box`: x0, y0, x1, y1 of the region, as shares of the frame; `cells`: numbers, 0 to 63, of those that stand, "
        "`region`: with those that stand out beside them; `heat`, `heat_of_others`: mean share of the heat there"
    )
    chosen = "The class's mean heat by part of the frame, and its images with most heat in the spot."
    least = LEAST_IN_A_PLACE

    def lacks(self, material: Material) -> str:
        """Images, where no class has enough to be compared."""
        return material.votes.lack

    def test(self, material: Material) -> list[Claim]:
        """Connected cells of every class that can be compared."""
        votes, heat = material.votes, material.heat
        family = self.family_in(material)
        p = _cell_p(heat, family.least)
        of_classes = p.min(axis=1)[heat.tested.any(axis=1)]
        spots = _spots(p, of_classes, heat, material.rules.fdr)
        contrasts = _contrasts(spots, heat, votes, of_classes)
        accounted = (
            material.usual.account(
                spot.class_id, _event(spot), contrasts.shows[i], contrasts.of[i], family.least, family.fdr
            )
            for i, spot in enumerate(spots)
        )
        more = ~np.fromiter(accounted, bool, len(spots))

        def tell(i: int) -> Told:
            told = _tell(spots[i], contrasts, i, heat, votes, material.names)
            return told._replace(says=told.says + material.usual.says(spots[i].class_id, spots[i].region))

        return family.claims(contrasts, material.names, tell, int(heat.tested.sum()), more)

    def detectable(self, material: Material) -> list[Detectable]:
        """At the median of the cells that most images leave free, were no other image hot there."""
        heat, family = material.heat, self.family_in(material)
        class_id = np.flatnonzero(heat.tested.any(axis=1))
        cell = _typical_free_cell(heat.of[class_id], material.votes.images[class_id])
        of, cells = heat.of[class_id, cell], heat.tested[class_id].sum(axis=1)
        other_shows, other_of = (part.sum(axis=0)[cell] - part[class_id, cell] for part in (heat.shows, heat.of))

        def p(shows: NDArray[np.int64]) -> NDArray[np.float64]:
            return np.asarray(cells * exceeds(shows, of, other_shows, other_of, family.least), np.float64)

        shares = found_from(of, p, family.fdr / max(len(class_id), 1))
        how = "if it draws heat to one place that most leave free"
        named = zip(class_id.tolist(), shares, strict=True)
        return [Detectable(material.names[i], self.name, "", how, share) for i, share in named]

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """One of the spot's cells is clear of the object, and hot."""
        return np.asarray(hot_cells(*clear_frames(evidence))[:, claim.details["cells"]].any(axis=1), bool)

    def event(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Of targets whose object leaves room in the spot."""
        room = bits_as_cells(evidence.clear)[:, claim.details["cells"]].any(axis=1)
        return np.where(room, super().event(claim, evidence), np.nan)

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Heat in the spot, of confidently named targets."""
        return evidence.heat_in(claim.details["cells"])

    def identity(self, claim: Claim) -> str:
        """A spot's place is measured: another run may box it a cell wider."""
        return f"{self.name}:{claim.class_name}"

    def frame_heat(self, claim: Claim, mean: Sequence[float]) -> Sequence[float] | None:
        """The class's mean heat."""
        return mean


def _typical_free_cell(of: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.int64]:
    """[c] The median of the cells [c, 64] that are clear in half of a class's images; the freest where none is."""
    free = 2 * of >= images[:, None]
    order = np.argsort(np.where(free, of, -1), axis=1, kind="stable")[:, ::-1]
    return np.take_along_axis(order, free.sum(axis=1, keepdims=True) // 2, axis=1)[:, 0]


def _cell_p(heat: Heat, least: float) -> NDArray[np.float64]:
    """Bonferroni p [C, 64]: times the cells of the class that can be tested; 1 of those that cannot."""
    all_shows, all_of = heat.shows.sum(axis=0), heat.of.sum(axis=0)
    p = exceeds(heat.shows, heat.of, all_shows - heat.shows, all_of - heat.of, least)
    return np.where(heat.tested, np.minimum(p * heat.tested.sum(axis=1, keepdims=True), 1), 1.0)


def _spots(p: NDArray[np.float64], of_classes: NDArray[np.float64], heat: Heat, fdr: float) -> list[Spot]:
    """The spots of every class: cells that stand, by the region that they lie in."""
    share = np.where(heat.tested, ratio(heat.shows, heat.of), np.nan)
    mean = np.nansum(share, axis=1, keepdims=True) / np.maximum(heat.tested.sum(axis=1, keepdims=True), 1)
    standing = (_q_among(p, of_classes) <= fdr) & (share > TIMES * mean)
    return [
        Spot(int(class_id), standing[class_id] & region, region, float(p[class_id, standing[class_id] & region].min()))
        for class_id in np.flatnonzero(standing.any(axis=1))
        for region in _regions(standing[class_id], heat.excess[class_id])
    ]


def _regions(standing: NDArray[np.bool_], excess: NDArray[np.float64]) -> list[NDArray[np.bool_]]:
    """Parts of the frame [64] that hold cells that stand, with those that stand out beside them."""
    out = standing | (excess >= excess[standing].max() / 2)
    parts, count = scipy.ndimage.label(out.reshape(CELLS, CELLS), _TOUCHING)
    regions: list[NDArray[np.bool_]] = [parts.ravel() == part for part in range(1, count + 1)]
    for bar in _OPPOSITE:
        within = [region for region in regions if not np.any(region & ~bar)]
        if len(within) > 1 and 2 * np.any(within, axis=0).sum() >= bar.sum():
            regions = [region for region in regions if np.any(region & ~bar)] + [np.any(within, axis=0)]
    return [region for region in regions if np.any(region & standing)]


def _q_among(p: NDArray[np.float64], of_classes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest rate at which Benjamini-Hochberg over the classes lets a p through that is one of a class's cells."""
    if not len(of_classes):
        return np.ones(p.shape)
    ordered = np.sort(of_classes)
    through = np.searchsorted(ordered, p, side="right")
    later = np.append(q_of_counts(ordered, np.ones(len(ordered), np.int64)), 1.0)[through]
    return np.asarray(np.minimum(p * len(ordered) / np.maximum(through, 1), later), np.float64)


def _contrasts(spots: list[Spot], heat: Heat, votes: Votes, of_classes: NDArray[np.float64]) -> Contrasts:
    """Images with any of a spot's cells hot, among those with any of them clear, of the class and of the others."""
    class_id = np.array([spot.class_id for spot in spots], np.int64)
    counts = [_counts(spot, heat, votes) for spot in spots]
    shows, of, all_shows, all_of = np.array(counts, np.int64).reshape(-1, 4).T
    p = np.array([spot.p for spot in spots])
    low, high = wilson_interval(shows, of)
    expected = (all_shows - shows) / (all_of - of)
    return Contrasts(class_id, shows, of, expected, p, _q_among(p, of_classes), low, high)


def _counts(spot: Spot, heat: Heat, votes: Votes) -> tuple[int, int, int, int]:
    cells, members = cells_as_bits(spot.cells[None])[0], votes.of_class(spot.class_id)
    hot, clear = ((bits & cells) != 0 for bits in (heat.hot, heat.clear))
    return tuple(int(np.count_nonzero(part)) for part in (hot[members], clear[members], hot, clear))  # type: ignore[return-value]


def _event(spot: Spot) -> Event:
    """Whether maps show the claim about a spot."""
    return lambda heat, area: np.asarray(hot_cells(heat, area)[:, spot.cells].any(axis=1), bool)


def _tell(spot: Spot, contrasts: Contrasts, i: int, heat: Heat, votes: Votes, classes: tuple[str, ...]) -> Told:
    c, box = spot.class_id, spot.box
    images = len(votes.rows) - votes.images[c]
    of_class = heat.total[c, spot.region].sum() / votes.images[c]
    of_rest = (heat.total[:, spot.region].sum() - heat.total[c, spot.region].sum()) / images
    heat_there = {"heat": float(of_class), "heat_of_others": float(of_rest)}
    cells = {name: np.flatnonzero(getattr(spot, name)).tolist() for name in ("cells", "region")}
    subject = "x {:.0f}-{:.0f} %, y {:.0f}-{:.0f} %".format(*(100 * box[k] for k in (0, 2, 1, 3)))
    place = f"{where_cells_lie(spot.region)} ({subject})"
    says = (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {classes[c]}{votes.room} much heat lies{votes.off} "
        f"in one place, {place}; of other classes' images it does in {percent(contrasts.expected[i])}."
        f"{votes.caveat}"
    )
    return Told(subject, votes.rests_on, says, {"box": list(box), **cells, **heat_there})
