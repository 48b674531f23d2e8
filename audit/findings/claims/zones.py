"""Which zone of the frame a class's heat goes to when it is off the object, against the other classes.

An image shows it when more than half of the map's heat lies in the zone, in cells that are clear of the object, and
the odds of that are more than twice what area gives: h / (1 - h) > 2 a / (1 - a), with a the share of what was seen
that is in the zone and clear of the object. Twice the area itself could not be asked of a zone that is half the frame.

Only images that could show it count, of the class and of the others: those in which at least half of the zone is clear
of the object. Else a class of small objects, or of objects elsewhere, would be accused for leaving the zone free.

That other classes' heat goes there less is not enough: the class's mean share of the heat in the zone, with its
interval over images, must exceed that of the area. Otherwise, of two classes, that with a spot in one corner would
convict the other of looking away from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.findings.claims.contrasts import LEAST_IN_A_PLACE, Contrasts, Told, against_others
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.usual import Event
from audit.findings.claims.votes import Votes, class_sums, testable
from audit.findings.evidence.frame import PARTS, bits_as_cells, frames, where
from audit.findings.evidence.targets import Evidence
from audit.findings.power import SURE, Detectable, found_from
from audit.findings.records import Claim
from audit.stats.margins import exceeds
from audit.stats.resampling import mean_interval
from audit.wording import percent

MOST = 0.5
_DRAWN = 0.75
"""Share of the heat that a shortcut is supposed to draw."""
ODDS = 2.0


_CORNERS = ("top-left corner", "top-right corner", "bottom-left corner", "bottom-right corner")
NAMES = (
    *_CORNERS,
    "centre",
    "upper half",
    "lower half",
    "border",
)
ZONES = {name: PARTS[name] for name in NAMES}
"""Name -> [8, 8] which cells: 2 x 2 in the corners, the outer ring, the inner 4 x 4, sky and ground."""
_CELLS = np.stack([zone.ravel() for zone in ZONES.values()], axis=1).astype(np.float32)


class Zones(ClaimKind):
    """Claims `zone`, one for each class and zone; see the module."""

    name = "zone"
    title = "a part of the frame"
    tests = "places"
    family = "class x zone"
    question = (
        "does most of the heat lie, off the object, in one part of the frame: a corner, the border, the centre, a half?"
    )
    compared_with = "the other classes' images, and what the area accounts for"
    stands = "q is small, the share exceeds the other by more than 0.05, and the mean heat there exceeds the area"
    numbers = (
        "`heat`, `area`: mean share of the heat, and of what was seen, that lies in the zone and off the object; of "
        "claims that rest on them `heat_low`, `heat_high`: 95 % interval; of found ones `narrower`: zones within this "
        "one that were found too"
    )
    chosen = "The class's mean heat by part of the frame, and its images with most heat there."
    least = LEAST_IN_A_PLACE

    def lacks(self, material: Material) -> str:
        """Images, where no class has enough to be compared."""
        return material.votes.lack

    def test(self, material: Material) -> list[Claim]:
        """Claims of every class that can be compared, in each zone."""
        votes, evidence, family = material.votes, material.evidence, self.family_in(material)
        shares, shows, of = material.once(_counted)
        class_id, zone = np.nonzero(testable(of, of.sum(axis=0)))
        contrasts = against_others(
            class_id,
            shows[class_id, zone],
            of[class_id, zone],
            shows.sum(axis=0)[zone],
            of.sum(axis=0)[zone],
            family.least,
        )
        mean_heat, mean_area = (
            _class_means(part, shares.clear, votes)[class_id, zone] for part in (shares.heat, shares.area)
        )
        interval = {
            int(i): _interval(evidence, votes, shares, zone[i], int(class_id[i]))
            for i in np.flatnonzero(family.stand(contrasts))
        }
        more = np.array([i not in interval or interval[i]["heat_low"] > mean_area[i] for i in range(len(zone))], bool)
        for i in interval:
            more[i] &= not material.usual.account(
                int(class_id[i]), _event(zone[i]), contrasts.shows[i], contrasts.of[i], family.least, family.fdr
            )
        stands = family.stand(contrasts) & more

        def tell(i: int) -> Told:
            details: dict[str, Any] = {"heat": float(mean_heat[i]), "area": float(mean_area[i]), **interval.get(i, {})}
            if stands[i]:
                alike = np.flatnonzero(stands & (class_id == class_id[i]))
                details["narrower"] = [NAMES[zone[k]] for k in alike if _within(zone[k], zone[i])]
            says = _says(contrasts, i, material.names[class_id[i]], NAMES[zone[i]], votes)
            says += material.usual.says(int(class_id[i]), _CELLS[:, zone[i]] > 0)
            return Told(NAMES[zone[i]], votes.rests_on, says, details)

        return family.claims(contrasts, material.names, tell, len(class_id), more)

    def detectable(self, material: Material) -> list[Detectable]:
        """In the corner that fewest images leave free, were no other image's heat there.

        The mean heat must exceed the area too, as of a shortcut that draws three quarters of the heat.
        """
        family, (shares, shows, of) = self.family_in(material), material.once(_counted)
        tested = testable(of, of.sum(axis=0))
        class_id = np.flatnonzero(tested[:, : len(_CORNERS)].any(axis=1))
        corners = np.where(tested[class_id, : len(_CORNERS)], of[class_id, : len(_CORNERS)], of.max(initial=0) + 1)
        corner = corners.argmin(axis=1)
        other_shows, other_of = (part.sum(axis=0)[corner] - part[class_id, corner] for part in (shows, of))
        of = of[class_id, corner]

        def p(count: NDArray[np.int64]) -> NDArray[np.float64]:
            return exceeds(count, of, other_shows, other_of, family.least)

        by_count = found_from(of, p, family.fdr / max(int(tested.sum()), 1))
        area = _class_means(shares.area, shares.clear, material.votes)[class_id, corner]
        by_mean, how = _mean_exceeds(area / _DRAWN, of).tolist(), "if it draws heat to a corner"
        named = zip(class_id.tolist(), by_count, by_mean, strict=True)
        return [
            Detectable(material.names[i], self.name, "", how, None if share is None else max(share, mean))
            for i, share, mean in named
        ]

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """Most of the heat lies in the zone, which is clear of the object."""
        shares, zone = zone_shares(evidence, np.arange(len(evidence))), NAMES.index(claim.subject)
        return (in_zone(shares.heat, shares.area) & shares.clear)[:, zone]

    def event(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Of targets whose object leaves room in the zone."""
        room = zone_shares(evidence, np.arange(len(evidence))).clear[:, NAMES.index(claim.subject)]
        return np.where(room, super().event(claim, evidence), np.nan)

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Heat in the zone, of confidently named targets."""
        return evidence.heat_in(ZONES[claim.subject].ravel())

    def repeats(self, claim: Claim) -> bool:
        """Zones within this one were found too."""
        return bool(claim.details.get("narrower"))

    def frame_heat(self, claim: Claim, mean: Sequence[float]) -> Sequence[float] | None:
        """The class's mean heat."""
        return mean


class _Counted(NamedTuple):
    """What lies in the zones in targets with a vote; how many show it, and how many there are, [C, 8]."""

    shares: ZoneShares
    shows: NDArray[np.int64]
    of: NDArray[np.int64]


def _counted(material: Material) -> _Counted:
    shares = zone_shares(material.evidence, material.votes.rows)
    shown = in_zone(shares.heat, shares.area) & shares.clear
    return _Counted(shares, *(_by_class(part, material.votes) for part in (shown, shares.clear)))


def _mean_exceeds(area: NDArray[np.float64], of: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share [k] of so many images in which all heat must be there for the interval of its mean to lie above the area.

    By Wilson's formula, with the interval's 1.96 deviations and those that are not exceeded with probability `SURE`.
    """
    z = scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(SURE)
    spread = z * np.sqrt(area * (1 - area) / of + (z / (2 * of)) ** 2)
    return np.asarray((area + z**2 / (2 * of) + spread) / (1 + z**2 / of), np.float64)


def _by_class(values: NDArray[np.bool_], votes: Votes) -> NDArray[np.int64]:
    """How many of each class [C, 8], of values [r, 8]."""
    return class_sums(votes.class_id, values, len(votes.images)).astype(np.int64)


def _class_means(values: NDArray[np.floating], counted: NDArray[np.bool_], votes: Votes) -> NDArray[np.float64]:
    """Over the images that count, [C, 8]; 0 for classes without any."""
    sums = class_sums(votes.class_id, np.where(counted, values, 0), len(votes.images))
    return np.asarray(sums / np.maximum(_by_class(counted, votes), 1), np.float64)


def _interval(evidence: Evidence, votes: Votes, shares: ZoneShares, zone: int, class_id: int) -> dict[str, float]:
    """Of the class's mean heat in a zone, over the images that count."""
    members = votes.of_class(class_id)
    counted = shares.clear[members, zone]
    low, high = mean_interval(shares.heat[members, zone, None][counted], evidence.unit[votes.rows[members]][counted])
    return {"heat_low": float(low[0]), "heat_high": float(high[0])}


class ZoneShares(NamedTuple):
    """What lies in each zone, clear of the object; arrays [r, 8].

    Attributes:
        heat, area: shares of the heat, and of what was seen.
        clear: whether at least half of the zone is clear of the object.
    """

    heat: NDArray[np.float32]
    area: NDArray[np.float32]
    clear: NDArray[np.bool_]


def zone_shares(evidence: Evidence, rows: NDArray[np.int64]) -> ZoneShares:
    """What lies in the zones in some of the targets."""
    heat, area, clear = np.empty((3, len(rows), len(ZONES)), np.float32)
    for block, cell_heat, cell_area in frames(evidence, rows):
        heat[block], area[block] = cell_heat @ _CELLS, cell_area @ _CELLS
        clear[block] = bits_as_cells(evidence.clear[rows[block]]) @ _CELLS
    return ZoneShares(heat, area, clear >= _CELLS.sum(axis=0) / 2)


def in_zone(heat: NDArray[np.floating], area: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether most of the heat lies there, and more than the area accounts for; see the module."""
    return (heat > MOST) & (heat * (1 - area) > ODDS * area * (1 - heat))


def _event(zone: int) -> Event:
    """Whether maps show the claim about a zone."""
    return lambda heat, area: in_zone(heat @ _CELLS[:, zone], area @ _CELLS[:, zone])


def _within(inner: int, outer: int) -> bool:
    """Whether a zone lies in another, by their places."""
    return inner != outer and not np.any(_CELLS[:, inner] > _CELLS[:, outer])


def _says(contrasts: Contrasts, i: int, name: str, zone: str, votes: Votes) -> str:
    return (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {name}{votes.room} most of the heat lies"
        f"{votes.off} {where(zone)}; of other classes' images it does in {percent(contrasts.expected[i])}."
        f"{votes.caveat}"
    )
