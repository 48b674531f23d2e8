"""The evidence of a finding in plain words, for people who know the data and no statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.findings.contrasts import percent
from audit.store.layout import CELLS


def explain_targets(
    off_heat: NDArray[np.floating],
    energy: NDArray[np.floating],
    p_high: NDArray[np.floating],
    attainable: NDArray[np.floating],
    probability: NDArray[np.floating],
    class_names: Sequence[str],
    kinds: Sequence[str],
) -> list[str]:
    """Say where each map's heat lies and what chance would do; all [n].

    Args:
        off_heat: [n, 64] share of the heat off the object in each of the frame's 8 x 8 cells, row by row.
        energy: share of the heat on the object.
        p_high: share of random places that do as well on the object.
        attainable: the highest energy of any place.
        kinds: of the findings, of `KINDS`.

    >>> corner = np.zeros((1, 64))
    >>> corner[0, -1] = 0.8
    >>> explain_targets(corner, [0.1], [0.97], [0.6], [0.99], ["disc"], ["indifferent"])[0]
    'disc, named with 99 %: 80 % of the heat lies off the object in the bottom-right corner, 10 % on the object where \
60 % would be possible; 97 % of random places would do as well.'
    """
    places, shares = where_heat_lies(off_heat)
    columns = (places, shares, energy, p_high, attainable, probability, class_names, kinds)
    return [_explain(*row) for row in zip(*columns, strict=True)]


def _explain(
    place: str,
    share: float,
    energy: float,
    p_high: float,
    attainable: float,
    probability: float,
    class_name: str,
    kind: str,
) -> str:
    named = f"{class_name}, named with {percent(probability)}: {percent(share)} of the heat lies"
    if kind == "detected":
        return f"{named} {place}, as where the model looks off objects that are known; this one has no mask."
    chance = "nearly every random place would do better" if kind == "avoids" else _chance(p_high)
    on_object = f"{percent(energy)} on the object where {percent(attainable)} would be possible"
    return f"{named} off the object {place}, {on_object}; {chance}."


def where_heat_lies(off_heat: NDArray[np.floating]) -> tuple[list[str], NDArray[np.float64]]:
    """The smallest zone of the frame with two thirds of the heat off the object [n, 64], and its share of all heat.

    Without such a zone the heat is scattered, and the share is all that lies off the object.
    """
    heat = np.nan_to_num(np.asarray(off_heat, np.float32))
    total = heat.sum(axis=1, dtype=np.float64)
    shares = heat @ np.stack([zone.ravel() for zone in _ZONES.values()], axis=1).astype(np.float32)
    enough = (shares > 0) & (shares >= _MOST * total[:, None] - 1e-6)
    names = np.array(list(_ZONES), object)[enough.argmax(axis=1)]
    held = np.take_along_axis(shares, enough.argmax(axis=1)[:, None], axis=1)[:, 0]
    some = enough.any(axis=1)
    return np.where(some, names, "all over the frame").tolist(), np.where(some, held, total).astype(np.float64)


_MOST = 2 / 3


def _zones() -> dict[str, NDArray[np.bool_]]:
    """Parts of the frame as they are named, bool [8, 8], the smaller first."""
    rows, columns = np.mgrid[:CELLS, :CELLS]
    edge = np.minimum(np.minimum(rows, columns), CELLS - 1 - np.maximum(rows, columns))
    ends = {"top": rows, "bottom": CELLS - 1 - rows, "left": columns, "right": CELLS - 1 - columns}
    pairs = [(down, across) for down in ("top", "bottom") for across in ("left", "right")]
    corners = {f"in the {a}-{b} corner": np.maximum(ends[a], ends[b]) < 2 for a, b in pairs}
    quarters = {f"in the {a}-{b} quarter": np.maximum(ends[a], ends[b]) < CELLS // 2 for a, b in pairs}
    edges = {f"along the {name} edge": depth < 2 for name, depth in ends.items()}
    sides = dict(zip(ends, ("upper", "lower", "left", "right"), strict=True))
    halves = {f"in the {sides[name]} half": depth < CELLS // 2 for name, depth in ends.items()}
    ring = {"in the centre of the frame": edge >= 2, "along the border of the frame": edge == 0}
    return {**corners, **edges, **quarters, **ring, **halves}


_ZONES = _zones()


def _chance(p_high: float) -> str:
    if p_high <= 0.01:
        return "hardly any random place would do as well"
    return f"{percent(p_high)} of random places would do as well"
