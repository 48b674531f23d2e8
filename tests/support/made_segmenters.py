"""Tiny networks that segment, with random weights, of three families of torchvision's, for inputs of 64 x 64."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import FCN, LRASPP, DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

CATEGORIES = 4
NAMES = ("background", "one", "two", "three")


def fcn() -> FCN:
    return _named(lambda: FCN(_backbone(), FCNHead(16, CATEGORIES)))


def deeplab() -> DeepLabV3:
    return _named(lambda: DeepLabV3(_backbone(), DeepLabHead(16, CATEGORIES, atrous_rates=(2, 3, 4))))


def lraspp() -> LRASPP:
    return _named(lambda: LRASPP(_backbone(low=True), 8, 16, CATEGORIES, 8))


def plain() -> nn.Module:
    """One that gives logits alone, at a quarter of the input."""
    return _named(lambda: nn.Sequential(*_body(), nn.Conv2d(16, CATEGORIES, 1)))


def _body() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())


def _backbone(low: bool = False) -> IntermediateLayerGetter:
    return IntermediateLayerGetter(_body(), {"1": "low", "3": "high"} if low else {"3": "out"})


def _named(make: object) -> nn.Module:
    torch.manual_seed(3)
    module: nn.Module = make().eval()  # type: ignore[operator]
    for parameter in module.parameters():  # so that no category is the highest everywhere
        nn.init.normal_(parameter, 0, 0.3)
    module.class_names = NAMES
    return module
