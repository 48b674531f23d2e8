"""Scaling an upright image, antialiased, and cutting a window out of it: a fit does so once for every image.

Bilinear scaling is torch's kernel for bytes, four times as fast as Pillow's and nowhere more than one level from it.
Its bicubic kernel departs by up to 24 levels where contrast is high; there, and for the nearest pixel, Pillow scales,
unless torch's kernel is asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "bicubic-torch": Image.Resampling.BICUBIC,
}
"""By name the filter of Pillow. `bicubic-torch` is the kernel of torch, for networks whose images were made by it."""
_BY_TORCH = {"bilinear": "bilinear", "bicubic-torch": "bicubic"}
_LARGE_CANVAS = 25_000_000
Window = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, the last two exclusive."""


def scale_and_cut(
    image: NDArray[np.uint8], tall: int, wide: int, interpolation: str, window: Window | None = None
) -> NDArray[np.uint8]:
    """Scale an image [H, W, 3] to `tall` x `wide` pixels and cut the window out of it; all of it without one.

    A long, thin image is cut before it is scaled, so that no huge canvas is made.
    """
    window = window or (0, 0, wide, tall)
    if tall * wide > _LARGE_CANVAS:
        return _scale_inside(image, tall, wide, interpolation, window)
    left, top, right, bottom = window
    if image.shape[:2] == (tall, wide):
        return image[top:bottom, left:right]
    if interpolation in _BY_TORCH:
        return _scale_by_torch(image, tall, wide, _BY_TORCH[interpolation], window)
    scaled = Image.fromarray(image).resize((wide, tall), INTERPOLATIONS[interpolation])
    return np.asarray(scaled)[top:bottom, left:right]


def _scale_by_torch(image: NDArray[np.uint8], tall: int, wide: int, mode: str, window: Window) -> NDArray[np.uint8]:
    import torch  # here, so that scores and the dashboard, which import this room, start without it

    left, top, right, bottom = window
    # A copy: torch takes no array that is read-only. With a batch of one in front it is channels-last to the kernel.
    pixels = torch.from_numpy(image[None].copy()).permute(0, 3, 1, 2)
    scaled = torch.nn.functional.interpolate(pixels, (tall, wide), mode=mode, antialias=True)
    fitted: NDArray[np.uint8] = scaled[0, :, top:bottom, left:right].permute(1, 2, 0).contiguous().numpy()
    return fitted


def _scale_inside(
    image: NDArray[np.uint8], tall: int, wide: int, interpolation: str, window: Window
) -> NDArray[np.uint8]:
    left, top, right, bottom = window
    x, y = image.shape[1] / wide, image.shape[0] / tall
    box = (left * x, top * y, right * x, bottom * y)
    size = (right - left, bottom - top)
    return np.asarray(Image.fromarray(image).resize(size, INTERPOLATIONS[interpolation], box=box))
