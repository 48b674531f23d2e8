"""Where a map's heat lies: how far from the object, how much on each cell of the frame, how much on other classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.scores.faithfulness import centre_map
from audit.scores.placed import GRID, Placed, cell_shares
from audit.store.layout import CELLS

_DIAGONAL = GRID * np.sqrt(2)
_HALF = 0.5 - 1e-6


def centre_energy(placed: Placed) -> NDArray[np.float64]:
    """Energy [K] on each object of a map that falls off from the view's centre: what a photographer's habit gives."""
    centre = centre_map((GRID, GRID))
    total = float((centre * placed.valid).sum())
    on_objects = np.tensordot(placed.objects, centre, 2)
    return np.asarray(on_objects / total if total > 0 else np.full(len(on_objects), np.nan), np.float64)


def peak_distance(placed: Placed) -> NDArray[np.float64]:
    """Distance [K] from each map's peak to the object, in shares of the view's diagonal; 0 on it, NaN without one."""
    distances = np.full(len(placed.heat), np.nan)
    for place, (heat, objects) in enumerate(zip(placed.heat, placed.objects, strict=True)):
        covered = np.argwhere(objects > min(0.5, objects.max() / 2))
        if len(covered):
            peak = np.unravel_index((heat * (placed.valid > 0)).argmax(), heat.shape)
            distances[place] = np.hypot(*(covered - peak).T).min() / _DIAGONAL
    return distances


def by_cell(placed: Placed) -> dict[str, NDArray[Any]]:
    """What lies in each cell of the frame, arrays [K, 64].

    `on_heat` and `off_heat` are shares of a map's heat, on the object and off it, NaN for a map without heat on what
    counts; `off_area` is the share, off the object, of the area that counts; `clear` is whether at least half of the
    cell is clear of the object, see `Placed.clear`.
    """
    y0, x0, y1, x1 = placed.frame
    down = cell_shares(y0, y1, 0, GRID, CELLS) * ((y1 - y0) / CELLS)
    across = cell_shares(x0, x1, 0, GRID, CELLS) * ((x1 - x0) / CELLS)

    def cells(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(down @ values @ across.T, np.float32).reshape(len(values), -1)

    total = np.where(placed.total > 0, placed.total, np.nan)[:, None]
    whole = (y1 - y0) * (x1 - x0) / CELLS**2
    return {
        "on_heat": cells(placed.heat * placed.objects) / total,
        "off_heat": cells(placed.heat * placed.off) / total,
        "off_area": cells(placed.off) / max(float(placed.valid.sum()), 1e-12),
        "clear": cells(placed.clear) >= _HALF * whole,
    }


def on_other_classes(placed: Placed, class_ids: NDArray[np.int64]) -> list[tuple[int, int, float, float]]:
    """(place of the target, other class, share of its heat, share of the area) for each other class in the mask."""
    if not placed.regions:
        return []
    regions = np.array(list(placed.regions.values()))
    heat = np.tensordot(placed.heat, regions, ((1, 2), (1, 2))) / np.maximum(placed.total, 1e-12)[:, None]
    area = regions.sum(axis=(1, 2)) / max(float(placed.valid.sum()), 1e-12)
    return [
        (place, other, float(heat[place, column]), float(area[column]))
        for place, class_id in enumerate(class_ids)
        for column, other in enumerate(placed.regions)
        if other != class_id
    ]
