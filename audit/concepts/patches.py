"""Patches: the part of an image that a cell of the explained layer goes by.

A cell goes by a square about its middle whose side the run measured (`audit.attribution.inside.receptive`). It is cut
out of the upright image, moved inwards where it would reach beyond what the network saw of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.reach import BELOW_ROOT, Reach
from audit.drawing.pixels import thumbnail
from audit.errors import AuditError
from audit.images import View, decode_image, read_bytes
from audit.store import Run

TILE = 112
"""Side of a patch as it is drawn, pixels."""
GROUND = 240
"""Brightness of a sheet where it shows nothing."""
_ROW = ["height", "width", "x0", "y0", "x1", "y1", "digest"]
_UNKNOWN_SIDE = 1 / 3

Target = tuple[int, int, int]
"""Sample, slot and cell."""


@dataclass(frozen=True)
class Box:
    """A part of an upright image, in its pixels; x1 and y1 exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float


def patch_box(cell: int, grid: tuple[int, int], view: View, side: float, size: tuple[int, int]) -> Box:
    """The part of the upright image that a cell goes by.

    Args:
        cell: row by row from the top left.
        grid: (h, w) of the layer.
        view: what the network saw of the image.
        side: of the part, as a share of the view's sides.
        size: (height, width) of the image.

    Example:
        >>> patch_box(0, (4, 4), View(0.0, 0.0, 80.0, 80.0), 0.5, (80, 80))
        Box(x0=0.0, y0=0.0, x1=40.0, y1=40.0)
    """
    row, column = divmod(cell, grid[1])
    x0, x1 = _span(view.x0, view.x1, (column + 0.5) / grid[1], side, size[1])
    y0, y1 = _span(view.y0, view.y1, (row + 0.5) / grid[0], side, size[0])
    return Box(x0, y0, x1, y1)


def _span(low: float, high: float, middle: float, side: float, length: int) -> tuple[float, float]:
    """Of a side of the view, about a place on it, moved into the image as far as that reaches."""
    least, most = max(low, 0.0), min(high, float(length))
    width = min(side * (high - low), most - least)
    start = min(max(low + middle * (high - low) - width / 2, least), most - width)
    return start, start + width


def receptive_side(run: Run) -> float:
    """Side of what a cell goes by, as a share of the view's; a third where the run did not measure it."""
    return float(run.record.get("receptive_side", _UNKNOWN_SIDE))


class PatchReader:
    """Reads patches of a run's images, each image once at a time.

    Args:
        reach: which images may be read.
    """

    def __init__(self, run: Run, reach: Reach = BELOW_ROOT) -> None:
        self.run, self._reach = run, reach
        self._side = receptive_side(run)
        self._image = lru_cache(maxsize=8)(self._read)
        self._rows = lru_cache(maxsize=8)(self._read_rows)

    def box(self, target: Target) -> Box:
        """Where a patch lies, in pixels of the upright image."""
        row, (height, width) = self._row(target[0]), self.run.record["grid"]
        size = (row["height"], row["width"])
        return patch_box(target[2], (height, width), self._view(target[0]), self._side, size)

    def patch(self, target: Target, tile: int = TILE) -> NDArray[np.uint8] | None:
        """The patch, [tile, tile, 3]; None where the image cannot be read as the run saw it."""
        image = self._image(target[0])
        if image is None:
            return None
        box = self.box(target)
        corners = box.x0, box.y0, box.x1, box.y1
        return np.asarray(Image.fromarray(image).resize((tile, tile), Image.Resampling.BILINEAR, box=corners))

    def overlay(self, sample: int, heat: NDArray[np.floating] | None, tile: int = TILE) -> NDArray[np.uint8] | None:
        """The whole image, [tile, tile, 3], with a map [h, w] over it or none; None where it cannot be read."""
        image = self._image(sample)
        if image is None:
            return None
        small = thumbnail(image, heat, self._view(sample), None, (tile, tile))
        return np.where(small[..., 3:] > 0, small[..., :3], np.uint8(GROUND)).astype(np.uint8)

    def patches(self, targets: Sequence[Target], tile: int = TILE) -> list[NDArray[np.uint8]]:
        """Those that can be read."""
        return [pixels for target in targets if (pixels := self.patch(target, tile)) is not None]

    def _read(self, sample: int) -> NDArray[np.uint8] | None:
        """The upright image; None where it cannot be read, or has changed since."""
        manifest = self.run.manifest(sample, sample + 1)
        (listed,) = manifest
        try:
            data = read_bytes(self._reach.locate(listed.image, manifest.root), attempts=1)
            image = decode_image(data, listed.image)
        except AuditError:
            return None
        same = hashlib.blake2b(data, digest_size=8).hexdigest() == self._row(sample)["digest"]
        return image if same else None

    def _view(self, sample: int) -> View:
        return View(*(float(self._row(sample)[name]) for name in ("x0", "y0", "x1", "y1")))

    def _row(self, sample: int) -> dict[str, Any]:
        """Of the table `samples`."""
        size = self.run.record["shard_size"]
        row: dict[str, Any] = self._rows(sample // size)[sample % size]
        return row

    def _read_rows(self, shard: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.run.read("samples", self.run.shards[shard], _ROW).to_pylist()
        return rows
