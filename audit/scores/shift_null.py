"""The shift null: would the same heat, put at a random place, do as well on the object?

The map is rolled over the view, torus-wise, by every shift of a 32 x 32 grid, and the energy on the object is formed at
each: a circular cross-correlation, one FFT a target. The unshifted map is among them, so no share is below 1/1024.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from audit.scores.placed import GRID, Placed

SHIFTS = GRID * GRID
_TIE = 1e-6


class ShiftNull(NamedTuple):
    """What the shifts of K maps give.

    Attributes:
        low, high: [K] share of shifts whose energy is at or below, and at or above, the observed: multiples of 1/1024.
        attainable: [K] the highest energy of any shift; NaN where no heat lies on what counts.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    attainable: NDArray[np.float64]


def shift_null(placed: Placed) -> ShiftNull:
    """Compare each map's energy on its object with those of all its shifts."""
    energies = shifted_energies(placed.heat, placed.objects, placed.valid).reshape(-1, SHIFTS)
    observed = energies[:, :1]
    undefined = np.isnan(energies) | np.isnan(observed)
    low = (energies <= observed + _TIE) | undefined
    high = (energies >= observed - _TIE) | undefined
    attainable = np.where(undefined, -np.inf, energies).max(axis=1)
    return ShiftNull(low.mean(axis=1), high.mean(axis=1), np.where(attainable >= 0, attainable, np.nan))


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
