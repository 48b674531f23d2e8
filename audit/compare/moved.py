"""Targets that two runs have of the same images: where their heat went, and how their scores changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings import Findings
from audit.findings.evidence.frame import BLOCK, HEAT, heat_by_cell
from audit.store import Run, layout

CHANGES = ("heat", "energy", "severity", "probability")
"""What targets can be ordered by, as columns of `moved_targets`."""
_COLUMNS = ["id", "class", "sample", "slot", "class_id", "probability", "energy", "severity", "kind"]
_CELLS = layout.CELLS**2


def moved_targets(a: Run, b: Run) -> pd.DataFrame:
    """A row for each image and class that both runs have a target of, in the order of run B's table of targets.

    Columns: `id`, `class`; `sample`, `slot`, `class_id`, `probability`, `energy`, `severity` and `kind` of each run, as
    `energy_a` and `energy_b`; `heat`, the share of the heat that lies in other cells of the frame (total variation, 0
    where all of it stayed, 1 where all went), and `energy`, `severity`, `probability`, B less A. NaN where a run does
    not know it, or has no finding.

    Raises:
        RunError: a run was not flagged, or no target is in both.
    """
    (rows_a, heat_a), (rows_b, heat_b) = _side(a), _side(b)
    joined = _surest(rows_b).merge(_surest(rows_a), on=["id", "class"], suffixes=("_b", "_a"))
    if joined.empty:
        raise RunError(f"Expected targets of the same images and classes, got none of {a.path} in {b.path}")
    places_a, places_b = (joined[f"row_{side}"].to_numpy() for side in "ab")
    joined["heat"] = elsewhere(heat_a, places_a, heat_b, places_b)
    for name in CHANGES[1:]:
        joined[name] = joined[f"{name}_b"] - joined[f"{name}_a"]
    return joined.drop(columns=["row_a", "row_b"])


def most_moved(moved: pd.DataFrame, change: str) -> pd.DataFrame:
    """The rows of `moved_targets` in the order of how much something changed, either way; those not known left out.

    Args:
        change: one of `CHANGES`.
    """
    if change not in CHANGES:
        raise ValueError(f"Expected `change` to be one of {', '.join(CHANGES)}, got {change!r}")
    size = moved[change].abs()
    order = size[size > 0].sort_values(ascending=False, kind="stable").index
    return moved.loc[order].reset_index(drop=True)


def elsewhere(
    a: NDArray[np.floating], places_a: NDArray[np.integer], b: NDArray[np.floating], places_b: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Half the sum of the absolute differences of maps [n, 64] at some places [m], each with a sum of 1: [m].

    NaN where a map has no heat.
    """
    moved = np.empty(len(places_a), np.float32)
    for start in range(0, len(moved), BLOCK):
        rows = slice(start, start + BLOCK)
        moved[rows] = np.abs(_even(a[places_a[rows]]) - _even(b[places_b[rows]])).sum(axis=1) / 2
    return moved


def _even(heat: NDArray[np.floating]) -> NDArray[np.float32]:
    cells = np.asarray(heat, np.float32)
    total = cells.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(cells, total, out=np.full_like(cells, np.nan), where=total > 0), np.float32)


def _side(run: Run) -> tuple[pd.DataFrame, NDArray[np.float16]]:
    """Targets of a run with their `row` in the heat [n, 64] of all."""
    rows = Findings(run).index(_COLUMNS).to_pandas()
    shards = run.having("scores")
    tables = [run.read("scores", shard, ["sample", "slot", *HEAT]) for shard in shards]
    keys = np.concatenate([np.zeros(0, np.int64), *(_keys(table["sample"], table["slot"]) for table in tables)])
    heat = [heat_by_cell(table) for table in tables]
    order = np.argsort(keys)
    at = np.searchsorted(keys[order], _keys(rows["sample"], rows["slot"]))
    return rows.assign(row=order[at]), np.concatenate([np.zeros((0, _CELLS), np.float16), *heat])


def _surest(rows: pd.DataFrame) -> pd.DataFrame:
    """One row an image and class, in their order: of a detector's boxes of a class the surest."""
    surest: pd.DataFrame = rows.loc[rows.sort_values("slot").drop_duplicates(["id", "class"]).index.sort_values()]
    return surest


def _keys(sample: object, slot: object) -> NDArray[np.int64]:
    return (np.asarray(sample, np.int64) << 16) + np.asarray(slot, np.int64)
