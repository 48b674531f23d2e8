"""A small U-Net, for drawn scenes and anything else that must learn masks in minutes, without weights to start from."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTHS = (16, 32, 64, 96)


class UNet(nn.Module):
    """Four levels of two 3x3 convolutions, down by max pooling and up again with skips.

    After Ronneberger et al., MICCAI 2015. Convolutions keep the size and have batch normalisation; what is coarse goes
    up by bilinear interpolation. So images of any height and width of at least 8 pixels are taken.

    Input: float [B, 3, H, W]. Output: logits [B, outputs, H, W].
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(map(_level, (3, *_WIDTHS[:-1]), _WIDTHS))
        self.up = nn.ModuleList(_level(coarse + fine, fine) for fine, coarse in pairwise(_WIDTHS))
        self.head = nn.Conv2d(_WIDTHS[0], outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        levels = [self.down[0](images)]
        for level in self.down[1:]:
            levels.append(level(F.max_pool2d(levels[-1], 2)))
        grid = levels.pop()
        for level, skip in zip(reversed(self.up), reversed(levels), strict=True):
            grid = level(torch.cat([skip, resized(grid, skip)], dim=1))
        logits: Tensor = self.head(grid)
        return logits


def resized(grid: Tensor, like: Tensor) -> Tensor:
    """[B, C, h, w] interpolated to the height and width of another tensor."""
    return F.interpolate(grid, size=like.shape[-2:], mode="bilinear", align_corners=False)


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """3x3, with batch normalisation and ReLU; the size is kept."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _level(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs), convolution(outputs, outputs))
