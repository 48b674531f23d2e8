"""Maps at 8 bits: signed levels -127..127, with one scale a map."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_TOP = 127


class Quantised:
    """Maps [..., h, w] kept as levels q = round(v / scale), scale = max|v| / 127: off by half a level at most.

    It is written and read like an array of the maps themselves. A map with a value that is not finite is no map: it has
    the scale NaN, and reads as NaN.

    Attributes:
        levels: [..., h, w] int8, -127..127; 0 where there is no map.
        scale: [...] float32, the size of a level.
    """

    def __init__(self, levels: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
        self.levels, self.scale = levels, scale

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Self:
        """Room for maps of this shape, none there yet."""
        return cls(np.zeros(shape, np.int8), np.full(shape[:-2], np.nan, np.float32))

    @classmethod
    def of(cls, maps: NDArray[np.floating]) -> Self:
        """Quantise maps.

        >>> Quantised.of(np.array([[-2.0, 1.0]]))[()]
        array([[-2.      ,  1.007874]], dtype=float32)
        """
        largest = np.abs(maps).max(axis=(-2, -1)).astype(np.float32)
        scale = np.where(np.isfinite(largest), largest / np.float32(_TOP), np.float32(np.nan))
        there = (scale > 0)[..., None, None]  # neither no map nor one of zeros
        levels = np.rint(np.where(there, maps, 0) / np.where(there, scale[..., None, None], 1))
        return cls(levels.clip(-_TOP, _TOP).astype(np.int8), scale)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the maps."""
        return self.levels.shape

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, place: Any) -> NDArray[np.float32]:
        """The maps at a place among the leading axes."""
        maps: NDArray[np.float32] = self.levels[place] * self.scale[place][..., None, None]
        return maps

    def __setitem__(self, place: Any, maps: NDArray[np.floating]) -> None:
        found = self.of(maps)
        self.levels[place], self.scale[place] = found.levels, found.scale
