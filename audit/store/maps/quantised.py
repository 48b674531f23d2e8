"""Maps at 8 bits: steps -127..127, with one scale a map."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_TOP = 127


class Quantised:
    """Maps [..., h, w] kept as steps q = round(v / scale), scale = max v / 127: off by half a step at most.

    The peak is kept, and so is all that speaks for the class; what is further below 0 than the peak is above it is cut
    there, since no score reads it. It is written and read like an array of the maps themselves. A map with a value that
    is not finite is no map, nor is one without a positive value: it has the scale NaN, and reads as NaN.

    Attributes:
        steps: [..., h, w] int8, -127..127; 0 where there is no map.
        scale: [...] float32, the size of a step.
    """

    def __init__(self, steps: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
        self.steps, self.scale = steps, scale

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Self:
        """Room for maps of this shape, none there yet."""
        return cls(np.zeros(shape, np.int8), np.full(shape[:-2], np.nan, np.float32))

    @classmethod
    def of(cls, maps: NDArray[np.floating]) -> Self:
        """Quantise maps.

        >>> Quantised.of(np.array([[-2.0, 0.5, 1.0]]))[()].round(3)
        array([[-1.   ,  0.504,  1.   ]], dtype=float32)
        """
        peak = maps.max(axis=(-2, -1)).astype(np.float32)
        there = np.isfinite(maps).all(axis=(-2, -1)) & (peak > 0)
        scale = np.where(there, peak / np.float32(_TOP), np.float32(np.nan)).astype(np.float32)
        steps = np.rint(np.where(there[..., None, None], maps, 0) / np.where(there, scale, 1)[..., None, None])
        return cls(steps.clip(-_TOP, _TOP).astype(np.int8), scale)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the maps."""
        return self.steps.shape

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, place: Any) -> NDArray[np.float32]:
        """The maps at a place among the leading axes."""
        maps: NDArray[np.float32] = self.steps[place] * self.scale[place][..., None, None]
        return maps

    def __setitem__(self, place: Any, maps: NDArray[np.floating]) -> None:
        quantised = self.of(maps)
        self.steps[place], self.scale[place] = quantised.steps, quantised.scale
