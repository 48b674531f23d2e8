"""The frame, the part of the upright image that was seen, in 8 x 8 cells: what its parts are called."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audit.store.layout import CELLS

EVERYWHERE = "all over the frame"
_MOST = 2 / 3
_ALONG = ("edge", "border")
_OF_THE_FRAME = ("centre", "border")


def _parts() -> dict[str, NDArray[np.bool_]]:
    rows, columns = np.mgrid[:CELLS, :CELLS]
    edge = np.minimum(np.minimum(rows, columns), CELLS - 1 - np.maximum(rows, columns))
    ends = {"top": rows, "bottom": CELLS - 1 - rows, "left": columns, "right": CELLS - 1 - columns}
    pairs = [(down, across) for down in ("top", "bottom") for across in ("left", "right")]
    corners = {f"{a}-{b} corner": np.maximum(ends[a], ends[b]) < 2 for a, b in pairs}
    edges = {f"{name} edge": depth < 2 for name, depth in ends.items()}
    quarters = {f"{a}-{b} quarter": np.maximum(ends[a], ends[b]) < CELLS // 2 for a, b in pairs}
    rings = {"centre": edge >= 2, "border": edge == 0}
    sides = dict(zip(ends, ("upper", "lower", "left", "right"), strict=True))
    halves = {f"{sides[name]} half": depth < CELLS // 2 for name, depth in ends.items()}
    return {**corners, **edges, **quarters, **rings, **halves}


PARTS = _parts()
"""Name -> bool [8, 8], the smaller first: corners, edges, quarters, the inner 4 x 4, the outer ring, halves."""


def where(part: str) -> str:
    """Where something lies that lies in a part of the frame.

    >>> where("upper half"), where("border")
    ('in the upper half', 'along the border of the frame')
    """
    words = f"{'along' if part.endswith(_ALONG) else 'in'} the {part}"
    return f"{words} of the frame" if part in _OF_THE_FRAME else words


def where_cells_lie(cells: NDArray[np.bool_]) -> str:
    """The smallest part that holds all the cells [64], in words.

    >>> corner = np.zeros(64, bool)
    >>> corner[-1] = True
    >>> where_cells_lie(corner)
    'in the bottom-right corner'
    """
    holding = (name for name, part in PARTS.items() if not np.any(cells & ~part.ravel()))
    name = next(holding, None)
    return EVERYWHERE if name is None else where(name)


def where_heat_lies(off_heat: NDArray[np.floating]) -> tuple[list[str], NDArray[np.float64]]:
    """The smallest part with two thirds of the heat off the object [n, 64], in words, and its share of all heat [n].

    Without such a part the heat is scattered, and the share is all that lies off the object.
    """
    heat = np.nan_to_num(np.asarray(off_heat, np.float32))
    total = heat.sum(axis=1, dtype=np.float64)
    shares = heat @ np.stack([part.ravel() for part in PARTS.values()], axis=1).astype(np.float32)
    enough = (shares > 0) & (shares >= _MOST * total[:, None] - 1e-6)
    names = np.array([where(name) for name in PARTS], object)[enough.argmax(axis=1)]
    held = np.take_along_axis(shares, enough.argmax(axis=1)[:, None], axis=1)[:, 0]
    some = enough.any(axis=1)
    return np.where(some, names, EVERYWHERE).tolist(), np.where(some, held, total).astype(np.float64)
