"""Superpixels: heat is the same all over a region of like colour, so it ends where the regions end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import felzenszwalb

from audit.segmentation.refine.resolution import reduce_heat, reduce_image, working_size
from audit.segmentation.refine.step import Features, Heat, Pixels, Step


@dataclass(frozen=True, kw_only=True)
class Superpixel(Step):
    """Each superpixel takes its mean heat; the mean over several segmentations of the image.

    Superpixels are those of Felzenszwalb and Huttenlocher (IJCV 2004): graph-based, larger for a larger scale. The
    image is segmented at a bounded resolution, at which the scale counts. It takes 12 MB more
    for each map and megapixel.

    Attributes:
        scale: of one segmentation, or of several as `100+300`.
        pixels: the image is segmented at no more pixels than these.
    """

    name: ClassVar[str] = "superpixel"
    description: ClassVar[str] = "each superpixel takes its mean heat"
    paper: ClassVar[str] = "Felzenszwalb and Huttenlocher, IJCV 2004"

    scale: str = "100+300"
    pixels: int = 65536

    def __post_init__(self) -> None:
        if not self._scales or min(self._scales) <= 0:
            raise ValueError(f"Expected `scale` to be numbers above 0, as 100+300, got {self.scale!r}")
        if self.pixels < 1:
            raise ValueError(f"Expected `pixels` of at least 1, got {self.pixels}")

    def refine(self, heat: Heat, image: Pixels, features: Features) -> Heat:
        size = working_size(image.shape, self.pixels)
        small, cells = reduce_heat(heat, size), reduce_image(image, size)
        total = np.zeros_like(heat)
        for scale in self._scales:
            regions = felzenszwalb(cells, scale=scale, sigma=_SIGMA, min_size=_SMALLEST)
            total += mean_in(small, regions)[:, _enlarged(regions, *image.shape[:2])]
        return total / np.float32(len(self._scales))

    @property
    def _scales(self) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in self.scale.split("+"))
        except ValueError:
            return ()


def mean_in(heat: Heat, regions: NDArray[np.integer]) -> Heat:
    """Mean [K, regions] of maps [K, h, w] in each region; regions [h, w] are numbered from 0 without gaps."""
    count = np.bincount(regions.ravel())
    means = [np.bincount(regions.ravel(), weights=each.ravel()) / count for each in heat]
    return np.stack(means).astype(np.float32)


def _enlarged(regions: NDArray[np.integer], height: int, width: int) -> NDArray[np.integer]:
    picture = Image.fromarray(regions.astype(np.int32))
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST))


_SIGMA = 0.8
_SMALLEST = 20
