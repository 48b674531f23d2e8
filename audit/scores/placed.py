"""Maps and objects on one grid of 32 x 32 cells over the view: fine enough for shares of heat, few enough for FFTs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse
from scipy.ndimage import maximum_filter

from audit.images.views import View, interpolation_matrix

GRID = 32


@dataclass(frozen=True)
class Placed:
    """K maps of an image and the objects of their classes.

    Attributes:
        heat: [K, G, G], not negative.
        objects: [K, G, G] share of each cell that the class covers; 0 where no object is known.
        valid: [G, G] share of each cell that counts: within the image and not void.
        frame: y0, x0, y1, x1 of the image within the view, in cells.
        spread: how far down and across a value of the maps reaches, in cells: the distance to the next value.
        regions: share of each cell [G, G] that each class in the view covers, by class id, ascending.
    """

    heat: NDArray[np.float32]
    objects: NDArray[np.float32]
    valid: NDArray[np.float32]
    frame: tuple[float, float, float, float]
    spread: tuple[float, float]
    regions: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        maps: NDArray[np.floating],
        view: View,
        mask: NDArray[np.int16] | None,
        class_ids: NDArray[np.int64],
        size: tuple[int, int],
    ) -> Placed:
        """Place maps.

        Args:
            maps: [K, h, w] on the view; negative values count as none.
            view: where they lie in the upright image.
            mask: [H, W] of the upright image; 0 background, i + 1 class i, -1 void. None where no object is known.
            class_ids: [K] class of each map.
            size: (H, W).
        """
        mask = np.zeros(size, np.int16) if mask is None else mask
        regions, valid = coverage(view, mask)
        objects = np.array([regions.get(class_id, np.zeros_like(valid)) for class_id in class_ids.tolist()])
        spread = GRID / maps.shape[1], GRID / maps.shape[2]
        heat, frame = heat_on_grid(maps), _frame(view, size)
        return cls(heat, objects.reshape(-1, GRID, GRID), valid, frame, spread, regions)

    @property
    def off(self) -> NDArray[np.float32]:
        """[K, G, G] share of each cell that counts and is not the object's."""
        return self.valid - self.objects

    @property
    def clear(self) -> NDArray[np.float32]:
        """[K, G, G] share of each cell that counts and is farther from the object than a value of the maps reaches.

        Nearer heat may be the object's own: a map of 7 x 7 values spreads it over a seventh of the view. Objects tend
        to the middle, so classes of small ones would seem to have a spot there.
        """
        reach = [2 * round(cells) + 1 for cells in self.spread]
        near = maximum_filter(self.objects, (1, *reach)) > 0
        return np.where(near, 0, self.valid).astype(np.float32)

    @property
    def total(self) -> NDArray[np.float32]:
        """[K] heat on all that counts."""
        return np.tensordot(self.heat, self.valid, 2)

    def warm(self, grid: tuple[int, int]) -> NDArray[np.float32]:
        """[K, h, w] share of each cell of another grid over the view that counts and has heat."""
        return self._warm(self.valid, grid)

    def off_and_warm(self, grid: tuple[int, int]) -> NDArray[np.float32]:
        """[K, h, w] share of each cell of another grid over the view that is off the object and has heat."""
        return self._warm(self.off, grid)

    def _warm(self, counted: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
        down, across = (cell_shares(0, GRID, 0, GRID, cells) for cells in grid)
        return np.asarray(down @ ((self.heat > 0) * counted) @ across.T, np.float32)


def coverage(view: View, mask: NDArray[np.int16]) -> tuple[dict[int, NDArray[np.float32]], NDArray[np.float32]]:
    """Share of each cell of the view's grid [G, G] that each class in the view covers, by class id, and that counts.

    What the view holds beyond the image (padding) does not count.
    """
    rows, columns = view.inside(*mask.shape)
    visible = mask[rows, columns]
    present = _present(visible)
    height, width = visible.shape
    chosen = np.empty((height, len(present) + 1, width), np.float32)
    for place, class_id in enumerate(present):
        chosen[:, place] = visible == class_id + 1
    chosen[:, -1] = visible >= 0
    # A pixel lies in one cell or two a side, so the taller product, with all its zeros, is left to a sparse matrix.
    strips = _sparse_shares(view.y0, view.y1, rows.start, rows.stop) @ chosen.reshape(height, -1)
    across = cell_shares(view.x0, view.x1, columns.start, columns.stop)
    shares = (strips.reshape(GRID, -1, width) @ across.T).transpose(1, 0, 2)
    return dict(zip(present, shares, strict=False)), np.ascontiguousarray(shares[-1])


def _present(visible: NDArray[np.int16]) -> list[int]:
    """Classes in a mask, ascending."""
    if int(visible.max(initial=0)) < 255:  # void, -1, becomes 255
        levels = Image.fromarray(visible.astype(np.uint8)).histogram()
        return [value - 1 for value in range(1, 255) if levels[value]]
    return np.flatnonzero(np.bincount((visible + 1).ravel())[2:]).tolist()


def heat_on_grid(maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """Maps [K, h, w] -> heat [K, G, G], not negative: bilinear, or the mean over each cell where maps are finer."""
    h, w = maps.shape[-2:]
    if min(h, w) > GRID:
        heat = np.maximum(maps.astype(np.float32), 0)
        means: NDArray[np.float32] = cell_shares(0, h, 0, h) @ heat @ cell_shares(0, w, 0, w).T
        return means
    down = interpolation_matrix(h, 0.0, float(GRID), 0, GRID)
    across = interpolation_matrix(w, 0.0, float(GRID), 0, GRID)
    on_grid: NDArray[np.float32] = down @ maps.astype(np.float32) @ across.T
    return np.maximum(on_grid, 0)


@lru_cache(maxsize=64)
def cell_shares(low: float, high: float, start: int, stop: int, cells: int = GRID) -> NDArray[np.float32]:
    """[cells, stop - start] share of each of so many cells over low..high that each pixel covers."""
    edges = low + (high - low) / cells * np.arange(cells + 1)
    pixels = np.arange(start, stop)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: NDArray[np.float32] = (np.maximum(overlap, 0) * cells / (high - low)).astype(np.float32)
    shares.setflags(write=False)
    return shares


@lru_cache(maxsize=64)
def _sparse_shares(low: float, high: float, start: int, stop: int) -> sparse.csr_array:
    return sparse.csr_array(cell_shares(low, high, start, stop))


def _frame(view: View, size: tuple[int, int]) -> tuple[float, float, float, float]:
    rows, columns = view.inside(*size)
    down, across = GRID / (view.y1 - view.y0), GRID / (view.x1 - view.x0)
    y0, y1 = ((edge - view.y0) * down for edge in (rows.start, rows.stop))
    x0, x1 = ((edge - view.x0) * across for edge in (columns.start, columns.stop))
    return max(y0, 0.0), max(x0, 0.0), min(y1, float(GRID)), min(x1, float(GRID))
