"""Pixel-adaptive mask refinement: heat flows between neighbours of like colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from audit.segmentation.refine.resolution import enlarge_heat, reduce_heat, reduce_image, working_size
from audit.segmentation.refine.step import Features, Heat, Pixels, Step

_DILATIONS = (1, 2, 4, 8, 12, 24)
_OFFSETS = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0))
_LEAST = 1e-4
"""Least standard deviation, of intensities in 0..1: where all neighbours are alike, all count alike."""


@dataclass(frozen=True, kw_only=True)
class PAMR(Step):
    """PAMR (Araslanov and Roth, CVPR 2020): pixels take the weighted mean of their neighbours, in turns.

    Neighbours are those of 3 x 3 kernels at several dilations. A neighbour's weight is the softmax over all of them of
    -|I_i - I_j| / (width sigma_i), the mean over colours, with sigma_i the standard deviation over the
    neighbours. Beyond the border lies its last pixel. Works at a bounded resolution, in whose pixels dilations count;
    65,536 of them take about 100 MB, however large the photograph.

    Attributes:
        steps: turns.
        width: of the kernel, in standard deviations.
        pixels: worked at.
    """

    name: ClassVar[str] = "pamr"
    description: ClassVar[str] = "heat flows between near pixels of like colour"
    paper: ClassVar[str] = "Araslanov and Roth, CVPR 2020"

    steps: int = 10
    width: float = 0.1
    pixels: int = 65536

    def __post_init__(self) -> None:
        for option in ("steps", "pixels"):
            if getattr(self, option) < 1:
                raise ValueError(f"Expected `{option}` of at least 1, got {getattr(self, option)}")
        if not 0 < self.width < float("inf"):
            raise ValueError(f"Expected `width` above 0, got {self.width}")

    def refine(self, heat: Heat, image: Pixels, features: Features) -> Heat:
        size = working_size(image.shape, self.pixels)
        colours = torch.from_numpy(reduce_image(image, size).copy()).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            weights = neighbour_weights(colours, self.width)
            maps = torch.from_numpy(reduce_heat(heat, size))
            for _ in range(self.steps):
                maps = flow(maps, weights)
        return enlarge_heat(maps.numpy(), image.shape[:2])


def neighbour_weights(colours: Tensor, width: float) -> Tensor:
    """Weights [neighbours, h, w] of each pixel's neighbours, 1 in sum, for an image [channels, h, w] in 0..1."""
    neighbours = _neighbours(colours)
    mean = torch.zeros_like(colours)
    for neighbour in neighbours:
        mean.add_(neighbour, alpha=1 / len(neighbours))
    variance = torch.zeros_like(colours)
    for neighbour in neighbours:
        variance.add_((neighbour - mean).square_(), alpha=1 / len(neighbours))
    sharpness = 1 / (width * variance.sqrt_().clamp_(min=_LEAST))
    unlike = [(neighbour - colours).abs_().mul_(sharpness).mean(dim=0) for neighbour in neighbours]
    return torch.softmax(torch.stack(unlike).neg_(), dim=0)


def flow(maps: Tensor, weights: Tensor) -> Tensor:
    """One turn: each pixel of maps [K, h, w] takes the weighted mean of its neighbours."""
    total = torch.zeros_like(maps)
    for weight, neighbour in zip(weights, _neighbours(maps), strict=True):
        total.addcmul_(neighbour, weight)
    return total


def _neighbours(maps: Tensor) -> list[Tensor]:
    """Maps [K, h, w] moved by each offset of each dilation, the border's pixels repeated beyond it: views of one."""
    reach, (height, width) = _DILATIONS[-1], maps.shape[1:]
    padded = F.pad(maps[None], (reach,) * 4, mode="replicate")[0]
    starts = [(reach + d * row, reach + d * column) for d in _DILATIONS for row, column in _OFFSETS]
    return [padded[:, top : top + height, left : left + width] for top, left in starts]
