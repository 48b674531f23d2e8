"""Which zone of the frame a class's heat goes to when it is off the object, against the other classes.

An image shows it when more than half of the map's heat lies off the object in the zone, in cells that do not touch the
object, and the odds of that are more than twice what area gives: h / (1 - h) > 2 a / (1 - a), with a the share of what
was seen that is in the zone and off the object. Twice the area itself could not be asked of a zone that is half of the
frame.

That other classes' heat goes there less is not enough: the class's mean share of the heat in the zone, with its
interval over images, must exceed that of the area. Otherwise, of two classes, that with a spot in one corner would
convict the other of looking away from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.contrasts import Contrasts, Family, Row, Told, against_others, testable
from audit.findings.evidence import Evidence
from audit.findings.frame import PARTS, where
from audit.findings.frames import Counted, class_sums, frames
from audit.findings.resampling import mean_interval
from audit.wording import percent

MOST = 0.5
ODDS = 2.0


NAMES = (
    "top-left corner",
    "top-right corner",
    "bottom-left corner",
    "bottom-right corner",
    "centre",
    "upper half",
    "lower half",
    "border",
)
ZONES = {name: PARTS[name] for name in NAMES}
"""Name -> [8, 8] which cells: 2 x 2 in the corners, the outer ring, the inner 4 x 4, sky and ground."""
_CELLS = np.stack([zone.ravel() for zone in ZONES.values()], axis=1).astype(np.float32)


def zone_claims(evidence: Evidence, counted: Counted, level: float, least: float) -> list[Row]:
    """Claims `class x zone`; see the module.

    `details`: `heat` and `area`, mean shares of the heat and of what was seen that lie in the zone and off the object;
    where the claim rests on them also `heat_low` and `heat_high`, 95 %; and of found ones `narrower`, zones within this
    one that the class has too.
    """
    family = Family("zone", "class x zone", level, least)
    class_id, zone = np.divmod(np.arange(len(counted.images) * len(ZONES)), len(ZONES))
    tested = testable(counted.images[class_id], len(counted.rows))
    class_id, zone = class_id[tested], zone[tested]
    heat, area = zone_shares(evidence, counted.rows)
    contrasts = _contrasts(class_id, zone, in_zone(heat, area), counted)
    mean_heat, mean_area = (_class_means(part, counted)[class_id, zone] for part in (heat, area))
    interval = {
        int(i): _interval(evidence, counted, heat[:, zone[i]], int(class_id[i]))
        for i in np.flatnonzero(family.found(contrasts))
    }
    more = np.array([i not in interval or interval[i]["heat_low"] > mean_area[i] for i in range(len(zone))], bool)
    found = family.found(contrasts) & more

    def tell(i: int) -> Told:
        details: dict[str, Any] = {"heat": float(mean_heat[i]), "area": float(mean_area[i]), **interval.get(i, {})}
        if found[i]:
            alike = np.flatnonzero(found & (class_id == class_id[i]))
            details["narrower"] = [list(ZONES)[zone[k]] for k in alike if _within(zone[k], zone[i])]
        subject = list(ZONES)[zone[i]]
        says = _says(contrasts, i, evidence.classes[class_id[i]], subject, counted)
        return Told(subject, counted.rests_on, says, details)

    return family.claims(contrasts, evidence.classes, tell, len(class_id), more)


def _contrasts(
    class_id: NDArray[np.integer], zone: NDArray[np.integer], votes: NDArray[np.bool_], counted: Counted
) -> Contrasts:
    shows = class_sums(counted.class_id, votes, len(counted.images)).astype(np.int64)
    all_of = np.array(len(counted.rows))
    return against_others(class_id, shows[class_id, zone], counted.images[class_id], shows.sum(axis=0)[zone], all_of)


def _class_means(values: NDArray[np.floating], counted: Counted) -> NDArray[np.float64]:
    """[C, 8]; 0 for classes without images."""
    sums = class_sums(counted.class_id, values, len(counted.images))
    return np.asarray(sums / np.maximum(counted.images, 1)[:, None], np.float64)


def _interval(evidence: Evidence, counted: Counted, heat: NDArray[np.floating], class_id: int) -> dict[str, float]:
    """Of the class's mean heat in a zone, from heat [r]."""
    own = counted.of_class(class_id)
    low, high = mean_interval(heat[own, None], evidence.image[counted.rows[own]])
    return {"heat_low": float(low[0]), "heat_high": float(high[0])}


def zone_shares(evidence: Evidence, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shares of the heat, and of what was seen, that lie off the object in each zone; each [r, 8]."""
    heat = np.empty((len(rows), len(ZONES)), np.float32)
    area = np.empty_like(heat)
    for block, hot, seen in frames(evidence, rows):
        heat[block], area[block] = hot @ _CELLS, seen @ _CELLS
    return heat, area


def in_zone(heat: NDArray[np.floating], area: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether most of the heat lies there, and more than the area accounts for; see the module."""
    return (heat > MOST) & (heat * (1 - area) > ODDS * area * (1 - heat))


def _within(inner: int, outer: int) -> bool:
    """Whether a zone lies in another, by their places."""
    return inner != outer and not np.any(_CELLS[:, inner] > _CELLS[:, outer])


def _says(contrasts: Contrasts, i: int, name: str, zone: str, counted: Counted) -> str:
    off = "" if counted.rests_on == "heat alone" else " off the object"
    return (
        f"In {contrasts.shows[i]} of {contrasts.of[i]} images named {name} most of the heat lies{off} {where(zone)}; "
        f"of other classes' images it does in {percent(contrasts.expected[i])}."
    )
