"""Pictures of maps and masks as arrays: overlays, contours, thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import lab2rgb

from audit.images import View, upsample

_Pixel = TypeVar("_Pixel", np.uint8, np.bool_)

UNSEEN = 0.35
"""Brightness left to pixels outside the view."""


def colour(heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Heat 0..1 [...] as RGB [..., 3]: dark violet over red to pale yellow, lightness rising evenly with the heat."""
    places = np.clip(np.nan_to_num(heat) * 255, 0, 255)
    colours: NDArray[np.uint8] = colour_table()[np.rint(places).astype(np.uint8)]
    return colours


def overlay(image: NDArray[np.uint8], heat: NDArray[np.floating], view: View, opacity: float) -> NDArray[np.uint8]:
    """The image with a map laid over its view; what the network did not see is dimmed.

    Args:
        image: [H, W, 3] upright.
        heat: [h, w] on the view, 1 at its peak; negative values show as none.
        view: where the map lies, in pixels of the image.
        opacity: 0 shows the image alone, 1 the map alone.

    Returns:
        [H, W, 3].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"Expected `opacity` between 0 and 1, got {opacity}")
    height, width = image.shape[:2]
    window = view.inside(height, width)
    blend = image * np.float32(UNSEEN)
    blend[window] = (1 - opacity) * image[window] + opacity * colour(upsample(heat, view, height, width))
    return _to_uint8(blend)


def contour(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask [H, W] that touch a pixel outside it."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def draw_contour(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], rgb: tuple[int, int, int] = (0, 255, 200), width: int = 2
) -> NDArray[np.uint8]:
    """A copy of the image [H, W, 3] with the mask's contour drawn `width` pixels wide, within a dark rim."""
    if width < 1:
        raise ValueError(f"Expected `width` of at least 1 pixel, got {width}")
    line = ndimage.binary_dilation(contour(mask), np.ones((width, width), bool))
    picture = image.copy()
    picture[ndimage.binary_dilation(line)] //= 3
    picture[line] = rgb
    return picture


def tint(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], rgb: tuple[int, int, int] = (255, 176, 0)
) -> NDArray[np.uint8]:
    """The image [H, W, 3] with the mask's pixels half of colour `rgb` and the rest darkened."""
    half = np.where(mask[..., None], 0.5 * image + 0.5 * np.asarray(rgb), 0.5 * image)
    return _to_uint8(half)


def shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """The image [H, W, 3] with its longer side at most `longest` pixels; never enlarged."""
    height, width = image.shape[:2]
    scale = min(longest / max(height, width), 1)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def enlarge(pixels: NDArray[_Pixel], factor: int) -> NDArray[_Pixel]:
    """An image [H, W, 3] or mask [H, W] with every pixel repeated `factor` times both ways."""
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def resize_mask(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """The mask at another size, each pixel as the one under its centre."""
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(np.intp)
    resized: NDArray[np.bool_] = mask[rows[:, None], columns]
    return resized


def scale_view(view: View, across: float, down: float) -> View:
    """The view in pixels of an image that was scaled by `across` and `down`."""
    return View(view.x0 * across, view.y0 * down, view.x1 * across, view.y1 * down)


def thumbnail(
    image: NDArray[np.uint8],
    heat: NDArray[np.floating] | None,
    view: View,
    mask: NDArray[np.bool_] | None,
    size: tuple[int, int],
    opacity: float = 0.5,
) -> NDArray[np.uint8]:
    """An overlay with the object's contour, as large as fits a ground of `size` (height, width) that shows nothing.

    Args:
        image: [H, W, 3] upright.
        heat: [h, w] on the view, or None for the image alone.
        mask: [H, W] the object, or None.

    Returns:
        [height, width, 4]: red, green, blue and opacity, which is 0 where the ground is.
    """
    small = _fit_into(image, size)
    height, width = small.shape[:2]
    picture = small
    if heat is not None:
        scaled = scale_view(view, width / image.shape[1], height / image.shape[0])
        picture = overlay(small, heat, scaled, opacity)
    if mask is not None:
        picture = draw_contour(picture, resize_mask(mask, height, width))
    return _centred(np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)]), size)


def contact_sheet(thumbnails: Sequence[NDArray[np.uint8]], columns: int = 6, gap: int = 4) -> NDArray[np.uint8]:
    """Thumbnails [h, w, 4] of one size side by side on a pale ground, row by row, so many pixels apart: [H, W, 3]."""
    if not thumbnails:
        raise ValueError("Expected at least one thumbnail for a contact sheet, got none")
    columns = min(columns, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    height, width = (side + gap for side in thumbnails[0].shape[:2])
    sheet = np.full((rows * height + gap, columns * width + gap, 3), _GROUND, np.uint8)
    for place, picture in enumerate(thumbnails):
        top, left = place // columns * height + gap, place % columns * width + gap
        solid = picture[..., 3:] > 0
        np.copyto(sheet[top : top + height - gap, left : left + width - gap], picture[..., :3], where=solid)
    return sheet


def _fit_into(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    if scale >= 2:
        return enlarge(image, int(scale))
    return shrink(image, max(round(max(height, width) * scale), 1))


def _centred(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    ground = np.zeros((*size, picture.shape[2]), np.uint8)
    height, width = min(picture.shape[0], size[0]), min(picture.shape[1], size[1])
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    ground[top : top + height, left : left + width] = picture[:height, :width]
    return ground


_GROUND = 240


@cache
def colour_table() -> NDArray[np.uint8]:
    """[256, 3]: a walk through CIELAB whose lightness rises evenly while the hue turns from violet to yellow."""
    place = np.linspace(0, 1, 256)
    lightness = 8 + 86 * place
    hue = np.deg2rad(300 + 155 * place)
    chroma = 66 * np.sin(np.pi * (0.12 + 0.70 * place))
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    table = _to_uint8(255 * lab2rgb(lab))
    table.setflags(write=False)
    return table


def _to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return rounded
