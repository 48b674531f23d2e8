"""Where the heat of a map lies: energy, lift and the pointing game."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOLERANCE_PX = 15


def energy_inside(
    heat: NDArray[np.float32], objects: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Share of the heat that lies on the object: sum_O h / sum_V h (Wang et al. 2020, section 4.3).

    Args:
        heat: [K, H, W], not negative.
        objects: [K, H, W] pixels of each target's class, within `valid`.
        valid: [H, W] pixels that count (seen, not void).

    Returns:
        [K]; NaN where no heat lies on valid pixels.
    """
    flat = heat.reshape(len(heat), -1)
    on_object = np.array([values @ on.ravel().astype(np.float32) for values, on in zip(flat, objects, strict=True)])
    total = flat @ valid.ravel().astype(np.float32)
    energy = np.full(len(heat), np.nan)
    np.divide(on_object, total, out=energy, where=total > 0)
    np.minimum(energy, 1, out=energy)  # two sums of the same numbers may differ in the last bit
    return energy


def peak_pixel(heat: NDArray[np.float32]) -> tuple[int, int]:
    """Row and column of a map's highest pixel [H, W]; the first in reading order of several."""
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return row, column


def pointing_hit(
    point: tuple[int, int], objects: NDArray[np.bool_], valid: NDArray[np.bool_], tolerance: int = 0
) -> bool | None:
    """Whether a pixel lies in the object, or within `tolerance` pixels of it (Zhang et al., IJCV 2018, section 4).

    None where it is neither: on a void pixel, nobody knows.

    Args:
        point: row and column.
        objects: [H, W] pixels of the class.
        valid: [H, W] pixels that count (seen, not void).
        tolerance: pixels, Euclidean distance.
    """
    row, column = point
    top, left = max(row - tolerance, 0), max(column - tolerance, 0)
    window = objects[top : row + tolerance + 1, left : column + tolerance + 1]
    y, x = np.nonzero(window)
    hit = bool(((y + top - row) ** 2 + (x + left - column) ** 2 <= tolerance**2).any())
    return hit if hit or valid[point] else None
