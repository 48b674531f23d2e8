"""Views: which box of the upright image the network saw, and how a map lies on it.

A map covers its view. A crop's view is smaller than the image; a letterbox's is larger, since the network also saw the
padding. Every upsampling goes through the view, so scores and pseudo-masks agree with the picture, however fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.images.resizing import INTERPOLATIONS, scale_and_cut

FITS = ("squash", "crop", "squash-crop", "letterbox", "native")
"""`squash`: the whole image, its shape not kept. `crop`: the centre, the shorter side first scaled to `resize`.
`squash-crop`: the centre, the whole image first squashed to `resize`. `letterbox`: the whole image, its shape kept, the
rest padded. `native`: the same at the top left, and the network is given no more of the square than holds the image, in
whole steps of 32 pixels."""

STEP = 32
"""Pixels between the cells of most networks' last layer: inputs of whole steps have whole cells."""

CROPS = ("crop", "squash-crop")
"""Fits that cut the centre out of what they scaled to `resize`."""
_HALVING: dict[str, Callable[[float], int]] = {"even": round, "down": math.floor}


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

    def to_upright(self, boxes: NDArray[np.floating], side: int, size: tuple[int, int]) -> NDArray[np.float64]:
        """Boxes [n, 4], x0, y0, x1, y1 on an input of `side` pixels, in the upright image, cut to its (H, W).

        In single precision, as they are kept.

        >>> View(0, -2, 8, 6).to_upright(np.array([[0, 0, 2, 4]]), 4, (4, 8)).tolist()
        [[0.0, 0.0, 4.0, 4.0]]
        """
        across, down = (self.x1 - self.x0) / side, (self.y1 - self.y0) / side
        upright = boxes * [across, down, across, down] + [self.x0, self.y0, self.x0, self.y0]
        cut = upright.clip(0, [size[1], size[0], size[1], size[0]])
        return cut.astype(np.float32).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Fit:
    """How an upright image becomes the network's square input.

    Attributes:
        size: side of the input, pixels; for `native` its longer side.
        mode: one of `FITS`.
        resize: for the crops, the length that the shorter side, or both, are scaled to before the centre is cut out.
        interpolation: `bilinear` or `bicubic`, both antialiased, `bicubic-torch`, by torch's kernel, or `nearest`.
        halved: how the margins of a crop are halved where they are odd: `even`, to the even neighbour, as torchvision
            does, or `down`, as transformers does.
    """

    size: int
    mode: str = "squash"
    resize: int | None = None
    interpolation: str = "bilinear"
    halved: str = "even"

    def __post_init__(self) -> None:
        if self.mode not in FITS:
            raise ValueError(f"Expected `mode` to be one of {', '.join(FITS)}, got {self.mode!r}")
        if self.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise ValueError(f"Expected `interpolation` to be one of {known}, got {self.interpolation!r}")
        if self.halved not in _HALVING:
            raise ValueError(f"Expected `halved` to be one of {', '.join(_HALVING)}, got {self.halved!r}")
        if self.size < 1:
            raise ValueError(f"Expected `size` of at least 1 pixel, got {self.size}")
        if self.mode in CROPS and (self.resize or self.size) < self.size:
            raise ValueError(f"Expected `resize` of at least the crop's {self.size} pixels, got {self.resize}")

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], View]:
        """Fit an upright image [H, W, 3] to the input [size, size, 3] and say which view of it that is."""
        return _FITTING[self.mode](self, image)

    def given(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the input, from the top left, that the network is given of an image so large.

        >>> Fit(320, "native").given(375, 500), Fit(320).given(375, 500)
        ((256, 320), (320, 320))
        """
        if self.mode != "native":
            return self.size, self.size
        tall, wide = (min(-(-side // STEP) * STEP, self.size) for side in _scaled(self, height, width))
        return tall, wide


def cut(pixels: NDArray[np.generic], fit: Fit, size: tuple[int, int]) -> NDArray[Any]:
    """The part of a fitted image [size, size, 3] that the network is given, where the upright one has `size` (H, W)."""
    tall, wide = fit.given(*size)
    return pixels[:tall, :wide]


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
    if fit.mode == "squash-crop":
        tall, wide = short, short
    else:  # the longer side is cut to a whole number, as torchvision's Resize does
        tall, wide = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    top, left = (_HALVING[fit.halved]((side - fit.size) / 2) for side in (tall, wide))
    x, y = width / wide, height / tall
    view = View(left * x, top * y, (left + fit.size) * x, (top + fit.size) * y)
    window = (left, top, left + fit.size, top + fit.size)
    return scale_and_cut(image, tall, wide, fit.interpolation, window), view


def _letterbox(fit: Fit, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], View]:
    height, width = image.shape[:2]
    tall, wide = _scaled(fit, height, width)
    top, left = (0, 0) if fit.mode == "native" else ((fit.size - tall) // 2, (fit.size - wide) // 2)
    canvas = np.full((fit.size, fit.size, 3), PADDING, np.uint8)
    canvas[top : top + tall, left : left + wide] = scale_and_cut(image, tall, wide, fit.interpolation)
    x, y = width / wide, height / tall
    return canvas, View(-left * x, -top * y, (fit.size - left) * x, (fit.size - top) * y)


def _scaled(fit: Fit, height: int, width: int) -> tuple[int, int]:
    """Height and width of an image whose longer side becomes the input's."""
    scale = fit.size / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


PADDING = 124
"""Grey near the ImageNet mean: zero after normalisation, near enough."""
_FITTING = {"squash": _squash, "crop": _crop, "squash-crop": _crop, "letterbox": _letterbox, "native": _letterbox}
