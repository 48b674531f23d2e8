"""Views: which box of the upright image the network saw, and how a map lies on it.

A map covers its view. A crop's view is smaller than the image; a letterbox's is larger, since the network also saw the
padding. Every upsampling goes through the view, so scores and pseudo-masks agree with the picture, however fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from audit.images.resizing import INTERPOLATIONS, scale_and_cut

FITS = ("squash", "crop", "letterbox")
"""`squash`: the whole image, its shape not kept. `crop`: the centre, the shorter side first scaled to `resize`.
`letterbox`: the whole image, its shape kept, the rest padded."""


@dataclass(frozen=True, slots=True)
class View:
    """The box that the network saw, in pixels of the upright image; beyond it where the network saw padding.

    >>> View(0.0, 0.0, 500.0, 375.0).inside(height=375, width=500)
    (slice(0, 375, None), slice(0, 500, None))
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def inside(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the upright image whose pixel centres lie in the view."""
        return _pixels(self.y0, self.y1, height), _pixels(self.x0, self.x1, width)


@dataclass(frozen=True, slots=True)
class Fit:
    """How an upright image becomes the network's square input.

    Attributes:
        size: side of the input, pixels.
        mode: one of `FITS`.
        resize: for `crop`, the length the shorter side is scaled to before the centre is cut out.
        interpolation: `bilinear` or `bicubic`, both antialiased.
    """

    size: int
    mode: str = "squash"
    resize: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.mode not in FITS:
            raise ValueError(f"Expected `mode` to be one of {', '.join(FITS)}, got {self.mode!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"Expected `interpolation` to be bilinear or bicubic, got {self.interpolation!r}")
        if self.size < 1:
            raise ValueError(f"Expected `size` of at least 1 pixel, got {self.size}")
        if self.mode == "crop" and (self.resize or self.size) < self.size:
            raise ValueError(f"Expected `resize` of at least the crop's {self.size} pixels, got {self.resize}")

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], View]:
        """Fit an upright image [H, W, 3] to the input [size, size, 3] and say which view of it that is."""
        return _FITTING[self.mode](self, image)


def upsample(maps: NDArray[np.floating], view: View, height: int, width: int) -> NDArray[np.float32]:
    """Maps [..., h, w] on their view -> [..., rows, columns] at the upright pixels inside the view.

    Bilinear between the cells' centres, constant beyond the outermost (align_corners = false).
    """
    rows, columns = view.inside(height, width)
    h, w = maps.shape[-2:]
    down = interpolation_matrix(h, view.y0, view.y1, rows.start, rows.stop)
    across = interpolation_matrix(w, view.x0, view.x1, columns.start, columns.stop)
    return down @ maps.astype(np.float32, copy=False) @ across.T


def cut_to_image(maps: NDArray[np.floating], view: View, height: int, width: int) -> NDArray[np.float32]:
    """Maps [..., h, w] on their view -> [..., h', w'] on the part of it inside the image, at about the same resolution.

    Unchanged, but for the type, where the view reaches nowhere beyond the image.
    """
    if view.x0 >= 0 and view.y0 >= 0 and view.x1 <= width and view.y1 <= height:
        return maps.astype(np.float32, copy=False)
    inside = view.inside(height, width)
    sides = ((view.y0, view.y1), (view.x0, view.x1))
    down, across = (
        _resampling(cells, *side, pixels) for cells, side, pixels in zip(maps.shape[-2:], sides, inside, strict=True)
    )
    return down @ maps.astype(np.float32, copy=False) @ across.T


def _resampling(cells: int, low: float, high: float, pixels: slice) -> NDArray[np.float32]:
    """Weights [about the cells inside, cells] that carry `cells` values spread over low..high to a range of pixels."""
    length = pixels.stop - pixels.start
    kept = max(round(cells * length / (high - low)), 1)
    scale = kept / length
    return interpolation_matrix(cells, (low - pixels.start) * scale, (high - pixels.start) * scale, 0, kept)


@lru_cache(maxsize=64)
def interpolation_matrix(cells: int, low: float, high: float, start: int, stop: int) -> NDArray[np.float32]:
    """Weights [stop - start, cells] that carry `cells` values spread over low..high to the pixels start..stop."""
    place = (np.arange(start, stop) + 0.5 - low) / (high - low) * cells - 0.5
    place = place.clip(0, cells - 1)
    left = np.minimum(place.astype(np.intp), max(cells - 2, 0))
    share = (place - left).astype(np.float32)
    weights = np.zeros((stop - start, cells), np.float32)
    row = np.arange(stop - start)
    weights[row, left] = 1 - share
    weights[row, np.minimum(left + 1, cells - 1)] += share
    weights.setflags(write=False)
    return weights


def _pixels(low: float, high: float, length: int) -> slice:
    """Indices of the pixels whose centres lie in low..high, never empty."""
    start = min(max(int(np.ceil(low - 0.5)), 0), length - 1)
    return slice(start, max(min(int(np.ceil(high - 0.5)), length), start + 1))


def _squash(fit: Fit, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], View]:
    height, width = image.shape[:2]
    return scale_and_cut(image, fit.size, fit.size, fit.interpolation), View(0.0, 0.0, float(width), float(height))


def _crop(fit: Fit, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], View]:
    height, width = image.shape[:2]
    short = fit.resize or fit.size
    # The longer side is cut to a whole number, as torchvision's Resize does.
    tall, wide = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    top, left = round((tall - fit.size) / 2), round((wide - fit.size) / 2)
    x, y = width / wide, height / tall
    view = View(left * x, top * y, (left + fit.size) * x, (top + fit.size) * y)
    window = (left, top, left + fit.size, top + fit.size)
    return scale_and_cut(image, tall, wide, fit.interpolation, window), view


def _letterbox(fit: Fit, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], View]:
    height, width = image.shape[:2]
    scale = fit.size / max(height, width)
    tall, wide = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (fit.size - tall) // 2, (fit.size - wide) // 2
    canvas = np.full((fit.size, fit.size, 3), PADDING, np.uint8)
    canvas[top : top + tall, left : left + wide] = scale_and_cut(image, tall, wide, fit.interpolation)
    x, y = width / wide, height / tall
    return canvas, View(-left * x, -top * y, (fit.size - left) * x, (fit.size - top) * y)


PADDING = 124
"""Grey near the ImageNet mean: zero after normalisation, near enough."""
_FITTING = {"squash": _squash, "crop": _crop, "letterbox": _letterbox}
