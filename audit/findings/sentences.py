"""The evidence of a finding in plain words, for people who know the data and no statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audit.store.layout import CELLS


def explain_target(
    off_heat: NDArray[np.floating],
    energy: float,
    p_high: float,
    attainable: float,
    probability: float,
    class_name: str,
    kind: str,
) -> str:
    """Say where a map's heat lies and what chance would do.

    Args:
        off_heat: [64] share of the heat off the object in each of the frame's 8 x 8 cells, row by row.
        energy: share of the heat on the object.
        p_high: share of random places that do as well on the object.
        attainable: the highest energy of any place.
        kind: of the finding, one of `KINDS`.

    >>> corner = np.zeros(64)
    >>> corner[-1] = 0.8
    >>> explain_target(corner, 0.1, 0.97, 0.6, 0.99, "disc", "indifferent")
    'disc, named with 99 %: 80 % of the heat lies off the object in the bottom right corner, 10 % on the object where \
60 % would be possible; 97 % of random places would do as well.'
    """
    place, share = where_heat_lies(off_heat)
    chance = "nearly every random place would do better" if kind == "avoids" else _chance(p_high)
    return (
        f"{class_name}, named with {_percent(probability)}: {_percent(share)} of the heat lies off the object {place}, "
        f"{_percent(energy)} on the object where {_percent(attainable)} would be possible; {chance}."
    )


def where_heat_lies(off_heat: NDArray[np.floating]) -> tuple[str, float]:
    """The smallest zone of the frame with two thirds of the heat off the object [64], and its share of all heat.

    Without such a zone the heat is scattered, and the share is all that lies off the object.
    """
    heat = np.nan_to_num(np.asarray(off_heat, np.float64)).reshape(CELLS, CELLS)
    for name, zone in _ZONES.items():
        share = float(heat[zone].sum())
        if share > 0 and share >= _MOST * heat.sum():
            return name, share
    return "all over the frame", float(heat.sum())


_MOST = 2 / 3


def _zones() -> dict[str, NDArray[np.bool_]]:
    """Parts of the frame as they are named, bool [8, 8], the smaller first."""
    rows, columns = np.mgrid[:CELLS, :CELLS]
    edge = np.minimum(np.minimum(rows, columns), CELLS - 1 - np.maximum(rows, columns))
    ends = {"top": rows, "bottom": CELLS - 1 - rows, "left": columns, "right": CELLS - 1 - columns}
    pairs = [(down, across) for down in ("top", "bottom") for across in ("left", "right")]
    corners = {f"in the {a} {b} corner": np.maximum(ends[a], ends[b]) < 2 for a, b in pairs}
    quarters = {f"in the {a} {b} quarter": np.maximum(ends[a], ends[b]) < CELLS // 2 for a, b in pairs}
    edges = {f"along the {name} edge": depth < 2 for name, depth in ends.items()}
    halves = {f"in the {name} half": depth < CELLS // 2 for name, depth in ends.items()}
    ring = {"in the middle of the frame": edge >= 2, "along the border of the frame": edge == 0}
    return {**corners, **edges, **quarters, **ring, **halves}


_ZONES = _zones()


def _chance(p_high: float) -> str:
    if p_high <= 0.01:
        return "hardly any random place would do as well"
    return f"{_percent(p_high)} of random places would do as well"


def _percent(share: float) -> str:
    """In whole percent; never 0 % or 100 % for what is not.

    >>> [_percent(share) for share in (0, 0.001, 0.5, 0.999, 1)]
    ['0 %', 'less than 1 %', '50 %', 'more than 99 %', '100 %']
    """
    if 0 < share < 0.005:
        return "less than 1 %"
    if 0.995 <= share < 1:
        return "more than 99 %"
    return f"{share:.0%}".replace("%", " %")
