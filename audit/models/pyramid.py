"""A feature pyramid on a classifier's own layers: any convolutional classifier as a segmentation network."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from audit.errors import ModelError
from audit.models.layers import find_grids, find_stage_layers
from audit.models.unet import convolution, resized

_WIDTH = 128
_SIDE = 224
_FINEST = 64
"""Side of the finest grid that is taken, of an input of 224: a stride of 4 in most networks."""


class FeaturePyramid(nn.Module):
    """Features of a classifier at several grids, from coarse to fine each added to the next (Lin et al., CVPR 2017).

    Each has a 1x1 convolution first; a 3x3 convolution and a linear layer follow at the finest. Where the classifier
    ends in a map of its classes, the features before it are taken. `encoder` has the classifier's names of weights.

    Input: float [B, 3, H, W]. Output: logits [B, outputs, h, w] at the finest grid.

    Raises:
        ModelError: the classifier's layers have no grid [B, C, h, w], or torch cannot trace it.
    """

    def __init__(self, classifier: nn.Module, class_count: int, outputs: int) -> None:
        """Take the layers of a classifier with `class_count` outputs."""
        super().__init__()
        stages = _stages(classifier.eval(), class_count)
        self.encoder = _encoder(classifier, list(stages))
        self.lateral = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for channels in stages.values())
        self.smooth = convolution(_WIDTH, _WIDTH)
        self.head = nn.Conv2d(_WIDTH, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = list(self.encoder(images).values())
        grid = self.lateral[-1](features[-1])
        for lateral, feature in zip(reversed(self.lateral[:-1]), reversed(features[:-1]), strict=True):
            fine = lateral(feature)
            grid = fine + resized(grid, fine)
        logits: Tensor = self.head(self.smooth(grid))
        return logits


def _stages(classifier: nn.Module, class_count: int) -> dict[str, int]:
    """Layers at the end of each grid size, from fine to coarse, and their channels."""
    grids = find_grids(classifier, torch.zeros(1, 3, _SIDE, _SIDE))
    wanted = {
        name: grid
        for name, grid in grids.items()
        if grid.layout.kind == "channels_first" and grid.channels != class_count and grid.side <= _FINEST
    }
    # In a transformer the patches alone have such a grid, and the rest would be left out.
    if not wanted or list(grids.values())[-1].layout.kind != "channels_first":
        raise ModelError("Expected a convolutional classifier below a feature pyramid, got another network")
    layers = find_stage_layers(wanted, list(wanted)[-1], count=4)
    return {name: wanted[name].channels for name in layers}


def _encoder(classifier: nn.Module, layers: list[str]) -> nn.Module:
    """The classifier up to these layers, giving the output of each."""
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of nodes that only one of training and evaluation has, as dropout
            encoder: nn.Module = create_feature_extractor(classifier, return_nodes={name: name for name in layers})
    except Exception as error:  # what cannot be traced fails in ways of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"Cannot build a feature pyramid on {type(classifier).__name__}: {reason}") from None
    return encoder
