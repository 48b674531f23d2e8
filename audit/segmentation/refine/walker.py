"""Random walker: from every doubtful pixel, the chance that a walk reaches a class's confident pixels first."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import random_walker

from audit.segmentation.refine.resolution import enlarge_heat, reduce_heat, reduce_image, working_size
from audit.segmentation.refine.step import Features, Heat, Pixels, Step


@dataclass(frozen=True, kw_only=True)
class Walker(Step):
    """The random walker (Grady, PAMI 2006) from confident pixels of the classes and of the background.

    A pixel is confident for the class of its highest heat where that reaches `high` of the map's peak, and for the
    background where no map reaches `low` of its peak. The walk crosses edges of the image unwillingly. A class that is
    nowhere confident keeps its heat. Works at a bounded resolution; 16,384 pixels take about 20 MB.

    Attributes:
        low, high: 0..1, shares of a map's peak.
        beta: how unwillingly edges are crossed.
        pixels: worked at.
    """

    name: ClassVar[str] = "walker"
    description: ClassVar[str] = "chance that a random walk reaches the class's confident pixels first"
    paper: ClassVar[str] = "Grady, PAMI 2006"

    low: float = 0.05
    high: float = 0.3
    beta: float = 130.0
    pixels: int = 16384

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"Expected 0 <= `low` < `high` <= 1, got {self.low} and {self.high}")
        if not 0 < self.beta < float("inf"):
            raise ValueError(f"Expected `beta` above 0, got {self.beta}")
        if self.pixels < 1:
            raise ValueError(f"Expected `pixels` of at least 1, got {self.pixels}")

    def refine(self, heat: Heat, image: Pixels, features: Features) -> Heat:
        size = working_size(image.shape, self.pixels)
        small = reduce_heat(heat, size)
        seeds = confident(small, self.low, self.high)
        chances = small.copy()
        kinds = np.unique(seeds[seeds > 0])  # 1 background, k + 2 class k
        arrivals = first_arrivals(reduce_image(image, size), seeds, kinds, self.beta)
        for kind, arrival in zip(kinds, arrivals, strict=True):
            if kind > 1:
                chances[kind - 2] = arrival
        return enlarge_heat(chances, image.shape[:2])


def confident(heat: Heat, low: float, high: float) -> NDArray[np.int64]:
    """Seeds [h, w] of maps [K, h, w]: 0 in doubt, 1 background, k + 2 class k."""
    share = heat / heat.max(axis=(1, 2), keepdims=True)
    highest = share.max(axis=0)
    seeds = np.where(highest >= high, share.argmax(axis=0) + 2, 0)
    return np.where(highest <= low, 1, seeds)


def first_arrivals(
    image: Pixels, seeds: NDArray[np.int64], kinds: NDArray[np.int64], beta: float
) -> NDArray[np.floating]:
    """Chance [kinds, h, w] that a walk from each pixel reaches seeds of each kind first."""
    if len(kinds) < 2 or (seeds > 0).all():
        return np.stack([seeds == kind for kind in kinds]).astype(np.float32)
    labels = np.where(seeds > 0, np.searchsorted(kinds, seeds) + 1, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that are not installed
        chances: NDArray[np.floating] = random_walker(
            image, labels, beta=beta, mode="cg_j", return_full_prob=True, channel_axis=-1
        )
    result: NDArray[np.floating] = np.nan_to_num(chances)
    return result
