"""The frame, the part of the upright image that was seen, in 8 x 8 cells: its parts, and what lies in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.findings.evidence.targets import Evidence
from audit.store.layout import CELLS

BLOCK = 1 << 16
"""Targets whose frames are held in single precision at a time."""

EVERYWHERE = "all over the frame"
HEAT = ("on_heat", "off_heat")
"""Columns of the table `scores` that together are all heat."""
_MOST = 2 / 3
_ALONG = ("edge", "border")
_OF_THE_FRAME = ("centre", "border")


def _parts() -> dict[str, NDArray[np.bool_]]:
    rows, columns = np.mgrid[:CELLS, :CELLS]
    edge = np.minimum(np.minimum(rows, columns), CELLS - 1 - np.maximum(rows, columns))
    ends = {"top": rows, "bottom": CELLS - 1 - rows, "left": columns, "right": CELLS - 1 - columns}
    pairs = [(down, across) for down in ("top", "bottom") for across in ("left", "right")]
    corners = {f"{a}-{b} corner": np.maximum(ends[a], ends[b]) < 2 for a, b in pairs}
    rims = {f"{name} border": depth < 1 for name, depth in ends.items()}
    edges = {f"{name} edge": depth < 2 for name, depth in ends.items()}
    quarters = {f"{a}-{b} quarter": np.maximum(ends[a], ends[b]) < CELLS // 2 for a, b in pairs}
    rings = {"centre": edge >= 2, "border": edge == 0}
    sides = dict(zip(ends, ("upper", "lower", "left", "right"), strict=True))
    halves = {f"{sides[name]} half": depth < CELLS // 2 for name, depth in ends.items()}
    bars = {f"{a} and {b} border": np.minimum(ends[a], ends[b]) < 1 for a, b in (("top", "bottom"), ("left", "right"))}
    return {**corners, **rims, **edges, **bars, **quarters, **rings, **halves}


PARTS = _parts()
"""Name -> bool [8, 8], the smaller first: corners, rims, edges, bars, quarters, inner 4 x 4, outer ring, halves."""


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
    >>> corner[-11:-8] = True
    >>> where_cells_lie(corner)
    'in the bottom-right quarter'
    """
    holding = [name for name, part in PARTS.items() if not np.any(cells & ~part.ravel())]
    # A quarter says more than an edge of the same size.
    name = min(holding, key=lambda name: (int(PARTS[name].sum()), name.endswith("edge")), default=None)
    return EVERYWHERE if name is None else where(name)


def box_of_cells(cells: NDArray[np.bool_]) -> str:
    """The box around cells [64], in shares of the frame.

    >>> box_of_cells(PARTS["bottom edge"].ravel())
    'x 0-100 %, y 75-100 %'
    """
    rows, columns = (np.flatnonzero(cells.reshape(CELLS, CELLS).any(axis=axis)) for axis in (1, 0))
    ends = (100 / CELLS * end for along in (columns, rows) for end in (along[0], along[-1] + 1))
    return "x {:.0f}-{:.0f} %, y {:.0f}-{:.0f} %".format(*ends)


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


def frames(
    evidence: Evidence, rows: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Blocks of rows: their place among the rows, and heat and area by cell, each [b, 64]; 0 where it is not clear."""
    for start in range(0, len(rows), BLOCK):
        block = slice(start, min(start + BLOCK, len(rows)))
        heat, area = (cells[rows[block]].astype(np.float32) for cells in (evidence.off_heat, evidence.off_area))
        near = ~bits_as_cells(evidence.clear[rows[block]])
        heat[near] = area[near] = 0
        yield block, heat, area


def cells_as_bits(cells: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Cells [n, 64] as the bits of one number [n] each: an eighth of the memory.

    >>> cells = np.random.default_rng(0).random((3, 64)) < 0.5
    >>> bool((bits_as_cells(cells_as_bits(cells)) == cells).all())
    True
    """
    return np.packbits(cells, axis=1).view(np.uint64)[:, 0]


def bits_as_cells(bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Back from bits [n] to cells [n, 64]."""
    return np.unpackbits(np.ascontiguousarray(bits).view(np.uint8).reshape(-1, CELLS), axis=1).astype(bool)


def frame_totals(values: NDArray[np.floating], rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sums over the frame [r] of shares by cell [n, 64], no more than 1."""
    blocks = (values[rows[start : start + BLOCK]].sum(axis=1, dtype=np.float64) for start in range(0, len(rows), BLOCK))
    return np.asarray(np.minimum(np.concatenate([np.zeros(0), *blocks]), 1), np.float64)


def clear_frames(evidence: Evidence) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heat and area of all targets by cell, each [n, 64]; 0 where a cell is not clear, or the map has no heat."""
    heat, area = np.zeros((2, len(evidence), CELLS * CELLS), np.float32)
    for block, hot, wide in frames(evidence, np.arange(len(evidence))):
        heat[block], area[block] = np.nan_to_num(hot), wide
    return heat, area


def by_cell(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of the table `scores` with a value for each cell of the frame, [n, 64]."""
    flat = column.combine_chunks().flatten()
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, CELLS * CELLS)


def heat_by_cell(scores: pa.Table) -> NDArray[np.float16]:
    """All heat of targets by cell [n, 64], from the columns `HEAT` of the table `scores`."""
    on, off = (by_cell(scores[name]) for name in HEAT)
    return np.asarray(on + off)
