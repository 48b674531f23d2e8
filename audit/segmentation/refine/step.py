"""A step of refinement: from the heat of an image's classes to heat that follows the image's edges.

Steps are made once a worker and called once a sample. They compose in any order, and one threshold is comparable after
any of them, because each map leaves a step with the peak that it came with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Heat = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Features = Sequence[NDArray[np.floating]]
"""Activations [channels, rows, columns] of layers, from fine to coarse; each covers all pixels of the heat."""


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """A step of refinement; its fields are its options.

    Attributes:
        name: by which the command line knows it.
        needs_features: whether it reads activations of the network.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    paper: ClassVar[str]
    needs_features: ClassVar[bool] = False

    def __call__(self, heat: Heat, image: Pixels, features: Features | None = None) -> Heat:
        """Refine all maps of an image at once.

        A map keeps its peak, and a map without heat stays so. Takes about 12 MB for each map and megapixel, beside
        what a step says of its own.

        Args:
            heat: [K, h, w] in 0..1, K of 0 or more.
            image: [h, w, 3] the same pixels.
            features: needed if `needs_features`.

        Returns:
            [K, h, w] in 0..1.

        Raises:
            ValueError: shapes do not fit, heat is outside 0..1, or features are needed and missing.
        """
        self._check(heat, image, features)
        warm = heat.any(axis=(1, 2))
        refined = np.zeros(heat.shape, np.float32)
        if warm.any():
            refined[warm] = with_peak_of(heat[warm], self.refine(heat[warm], image, features or ()))
        return refined

    @abstractmethod
    def refine(self, heat: Heat, image: Pixels, features: Features) -> Heat:
        """What `__call__` gives, for maps [K, h, w] that all hold heat, K of 1 or more; peaks may be any."""

    def _check(self, heat: Heat, image: Pixels, features: Features | None) -> None:
        if heat.ndim != 3 or heat.dtype != np.float32:
            raise ValueError(f"Expected heat [K, h, w] of float32, got {list(heat.shape)} of {heat.dtype}")
        if image.shape != (*heat.shape[1:], 3) or image.dtype != np.uint8:
            expected = [*heat.shape[1:], 3]
            raise ValueError(f"Expected an image {expected} of uint8, got {list(image.shape)} of {image.dtype}")
        if heat.size and not (heat.min() >= 0 and heat.max() <= 1):  # NaN is neither
            raise ValueError(f"Expected heat in 0..1, got {heat.min():.3g} to {heat.max():.3g}")
        if self.needs_features and not features:
            raise ValueError(f"Expected activations of the network for {self.name}, got none")


def with_peak_of(heat: Heat, refined: Heat) -> Heat:
    """Refined maps [K, h, w] with the peaks of the maps that they were made from; one without heat stays so."""
    peak, before = refined.max(axis=(1, 2), keepdims=True), heat.max(axis=(1, 2), keepdims=True)
    scale = np.divide(before, peak, out=np.zeros_like(peak), where=peak > 0)
    result: Heat = np.clip(refined * scale, 0, 1)
    return result
