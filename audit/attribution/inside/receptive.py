"""How much of the input a cell of the target layer goes by: its effective receptive field.

What a cell could see follows from the convolutions on the way, and is the whole image in most networks: 483 pixels of
224 for ResNet-50. What it does go by is far less, and falls off from the middle as a Gaussian does (Luo et al., NeurIPS
2016, "Understanding the effective receptive field in deep convolutional neural networks"). It is measured as there: by
the gradient of a cell with respect to the input, over random inputs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.attribution.taps import probing, tapped
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.layers import Layout

INPUTS = 2
"""Random inputs that are averaged over."""
HOLDS = 0.8
"""Share of the gradient's magnitude that the field holds."""
NARROWEST, WIDEST = 0.15, 0.5
"""Shares of the input's side that a field is no narrower and no wider than: a patch is to be seen, and to be a part."""


def receptive_side(classifier: Classifier, seed: int = 0) -> float:
    """Side of the square that a cell of the target layer goes by, as a share of the input's side.

    The widest where the network lets no gradient through to its input.

    Raises:
        ModelError: the target layer has no grid.
    """
    magnitude = _magnitude(classifier, seed)
    if magnitude is None:
        return WIDEST
    return float(np.clip(side_holding(magnitude, HOLDS) / len(magnitude), NARROWEST, WIDEST))


def side_holding(magnitude: NDArray[np.floating], share: float) -> int:
    """Side of the smallest square about the middle of mass of [S, S] that holds a share of it, pixels.

    >>> spot = np.zeros((9, 9))
    >>> spot[3:6, 2:5] = 1
    >>> side_holding(spot, 1.0)
    3
    """
    total = magnitude.sum()
    place = np.arange(len(magnitude))
    y, x = (round(float((magnitude.sum(axis=axis) * place).sum() / total)) for axis in (1, 0))
    rows, columns = np.abs(place - y), np.abs(place - x)
    reach = np.maximum(rows[:, None], columns[None])
    held = np.cumsum(np.bincount(reach.ravel(), magnitude.ravel())) / total
    return 2 * int(np.searchsorted(held, share - 1e-9)) + 1


def _magnitude(classifier: Classifier, seed: int) -> NDArray[np.float64] | None:
    """Mean magnitude [S, S] of the gradient of the middle cell; None where there is none."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((INPUTS, *classifier.example().shape[1:]), generator=generator).to(classifier.device)
    kept: list[Tensor] = []
    with probing(classifier.module), torch.enable_grad(), tapped(classifier.target_layer, kept.append):
        images.requires_grad_()
        classifier.module(images)
        layout = Layout.of(kept[-1].shape)
        if layout is None:
            raise ModelError(f"Expected the layer {classifier.layer!r} to have a grid, got {list(kept[-1].shape)}")
        cells = layout.to_grid(kept[-1])
        middle = cells[:, :, cells.shape[2] // 2, cells.shape[3] // 2]
        if not middle.requires_grad:
            return None
        # Signs drawn for the channels: their gradients add up as independent ones do, and none is favoured.
        signs = torch.randint(0, 2, middle.shape, generator=generator).to(middle) * 2 - 1
        slope = torch.autograd.grad((middle * signs).sum(), images, allow_unused=True)[0]
    if slope is None or not slope.isfinite().all() or not slope.any():
        return None
    magnitude: NDArray[np.float64] = slope.abs().sum(dim=(0, 1)).double().cpu().numpy()
    return magnitude
