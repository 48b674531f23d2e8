"""The shift null: would the same heat, put at a random place, do as well on the object?

The map is rolled over the view, torus-wise, by every shift of a 32 x 32 grid, and the energy on the object is formed at
each: a circular cross-correlation, one FFT a target. The unshifted map is among them, so no share is below 1/1024.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from audit.views import View, interpolation_matrix

GRID = 32
SHIFTS = GRID * GRID
_TIE = 1e-6


def shift_null(
    maps: NDArray[np.floating], view: View, mask: NDArray[np.int16], class_ids: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of shifts whose energy is at or below, and at or above, the observed.

    Args:
        maps: [K, h, w] on the view; negative values count as none.
        view: where they lie in the upright image.
        mask: [H, W] of the upright image; 0 background, i + 1 class i, -1 void.
        class_ids: [K] class of each map.

    Returns:
        p_low and p_high, each [K], multiples of 1/1024 in 1/1024..1.
    """
    heat = _heat_on_grid(maps)
    objects, valid = coverage(view, mask, class_ids)
    energies = shifted_energies(heat, objects, valid).reshape(len(heat), SHIFTS)
    observed = energies[:, :1]
    undefined = np.isnan(energies) | np.isnan(observed)
    low = (energies <= observed + _TIE) | undefined
    high = (energies >= observed - _TIE) | undefined
    return low.mean(axis=1), high.mean(axis=1)


def shifted_energies(
    heat: NDArray[np.floating], objects: NDArray[np.floating], valid: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Energy on the object for every torus shift of the heat.

    Args:
        heat: [K, G, G].
        objects: [K, G, G] share of each cell that the object covers.
        valid: [G, G] share of each cell that counts.

    Returns:
        [K, G, G]; entry (i, j) for the heat rolled by i rows and j columns; NaN where no heat lies on what counts.
    """
    spectrum = np.conj(fft.rfft2(heat.astype(np.float64)))
    size = heat.shape[-2:]
    on_object = fft.irfft2(spectrum * fft.rfft2(objects.astype(np.float64)), size)
    total = fft.irfft2(spectrum * fft.rfft2(valid.astype(np.float64)), size)
    least = 1e-9 * heat.sum(axis=(1, 2), dtype=np.float64)[:, None, None]
    energies = np.full(total.shape, np.nan)
    np.divide(on_object, total, out=energies, where=total > least)
    return energies


def coverage(
    view: View, mask: NDArray[np.int16], class_ids: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Share of each cell of the view's grid that each class covers [K, G, G], and that counts at all [G, G].

    What the view holds beyond the image (padding) does not count.
    """
    rows, columns = view.inside(*mask.shape)
    seen = mask[rows, columns]
    down = _cell_shares(view.y0, view.y1, rows.start, rows.stop)
    across = _cell_shares(view.x0, view.x1, columns.start, columns.stop)
    objects = (seen == (class_ids + 1)[:, None, None]).astype(np.float32)
    return down @ objects @ across.T, down @ (seen >= 0).astype(np.float32) @ across.T


def _heat_on_grid(maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """Maps [K, h, w] -> heat [K, G, G], not negative: bilinear, or the mean over each cell where maps are finer."""
    h, w = maps.shape[-2:]
    if min(h, w) > GRID:
        heat = np.maximum(maps.astype(np.float32), 0)
        means: NDArray[np.float32] = _cell_shares(0, h, 0, h) @ heat @ _cell_shares(0, w, 0, w).T
        return means
    down = interpolation_matrix(h, 0.0, float(GRID), 0, GRID)
    across = interpolation_matrix(w, 0.0, float(GRID), 0, GRID)
    on_grid: NDArray[np.float32] = down @ maps.astype(np.float32) @ across.T
    return np.maximum(on_grid, 0)


def _cell_shares(low: float, high: float, start: int, stop: int) -> NDArray[np.float32]:
    """[G, stop - start] share of each of G cells over low..high that each pixel covers."""
    edges = low + (high - low) / GRID * np.arange(GRID + 1)
    pixels = np.arange(start, stop)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: NDArray[np.float32] = (np.maximum(overlap, 0) * GRID / (high - low)).astype(np.float32)
    return shares
