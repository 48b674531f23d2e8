"""Working at a bounded resolution: what a step costs does not grow with the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.images import View, upsample
from audit.segmentation.refine.step import Heat, Pixels


def working_size(shape: Sequence[int], pixels: int) -> tuple[int, int]:
    """(height, width) of about the same shape as (height, width, ...) with at most `pixels` pixels.

    >>> working_size((375, 500, 3), 65536)
    (221, 295)
    """
    height, width = shape[:2]
    scale = sqrt(pixels / (height * width))
    if scale >= 1:
        return height, width
    rows = min(max(int(height * scale), 1), pixels)
    return rows, max(min(int(width * scale), pixels // rows), 1)


def reduce_image(image: Pixels, size: tuple[int, int]) -> Pixels:
    """An image [h, w, 3] at another size, each pixel the mean of those that it covers."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def reduce_heat(heat: Heat, size: tuple[int, int]) -> Heat:
    """Maps [K, h, w] at another size, each pixel the mean of those that it covers."""
    maps = [np.asarray(Image.fromarray(each).resize(size[::-1], Image.Resampling.BOX)) for each in heat]
    return np.stack(maps)


def enlarge_heat(heat: Heat, size: tuple[int, int]) -> Heat:
    """Maps [K, h, w] at another size, bilinear between centres of pixels."""
    height, width = size
    return heat if heat.shape[1:] == size else upsample(heat, View(0, 0, width, height), height, width)


def on_grid(layer: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """A layer [channels, h, w] on another grid: means of its cells where they are more, else between them."""
    values = layer.astype(np.float32, copy=False)
    rows, columns = values.shape[1:]
    return reduce_heat(values, size) if rows * columns > size[0] * size[1] else enlarge_heat(values, size)
