"""Tiny detectors with random weights, of every family of torchvision's, for inputs of 64 x 64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from audit.models import small

SIZE = 64
CATEGORIES = 4
_PLAIN: dict[str, Any] = {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}
_INPUT: dict[str, Any] = {"min_size": SIZE, "max_size": SIZE, **_PLAIN}


class Pyramid(nn.Module):
    """Three levels, as a feature pyramid network makes them: 8 x 8, 4 x 4 and 2 x 2 cells."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([_block(3, 8, 8), _block(8, 12, 2), _block(12, 16, 2)])
        self.fpn = FeaturePyramidNetwork([8, 12, 16], 32)
        self.out_channels = 32  # FCOS normalises in 32 groups

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        levels = {}
        for place, block in enumerate(self.body):
            images = block(images)
            levels[str(place)] = images
        pyramid: dict[str, torch.Tensor] = self.fpn(levels)
        return pyramid


class Chain(nn.Module):
    """Two levels, each made from the one before, as SSD's are."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.extra = _block(3, 8, 8), _block(8, 8, 2)
        self.out_channels = [8, 8]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        first = self.features(images)
        return {"0": first, "1": self.extra(first)}


def _block(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, stride + 1, stride, stride // 2), nn.ReLU())


def faster_rcnn(seed: int = 0) -> FasterRCNN:
    return FasterRCNN(_seeded(Pyramid, seed), CATEGORIES, **_rcnn())


def mask_rcnn(seed: int = 0) -> MaskRCNN:
    pool = MultiScaleRoIAlign(["0", "1", "2"], 4, 2)
    return MaskRCNN(_seeded(Pyramid, seed), CATEGORIES, **_rcnn(), mask_roi_pool=pool)


def _rcnn() -> dict[str, Any]:
    return {
        **_INPUT,
        "box_score_thresh": 0.0,
        "box_detections_per_img": 20,
        "rpn_post_nms_top_n_test": 30,
        "rpn_anchor_generator": AnchorGenerator(((8,), (16,), (32,)), ((0.5, 1.0, 2.0),) * 3),
        "box_roi_pool": MultiScaleRoIAlign(["0", "1", "2"], 4, 2),
    }


def retinanet(seed: int = 0) -> RetinaNet:
    anchors = AnchorGenerator(((8,), (16,), (32,)), ((0.5, 1.0, 2.0),) * 3)
    options = {"score_thresh": 0.0, "detections_per_img": 20, "topk_candidates": 15}
    return RetinaNet(_seeded(Pyramid, seed), CATEGORIES, anchor_generator=anchors, **_INPUT, **options)


def fcos(seed: int = 0) -> FCOS:
    anchors = AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3)
    options = {"score_thresh": 0.0, "detections_per_img": 20, "topk_candidates": 15}
    return FCOS(_seeded(Pyramid, seed), CATEGORIES, anchor_generator=anchors, **_INPUT, **options)


def ssd(seed: int = 0) -> SSD:
    anchors = DefaultBoxGenerator([[2], [2]], scales=[0.2, 0.4, 0.8])
    options = {"score_thresh": 0.0, "detections_per_img": 20, "topk_candidates": 15}
    return SSD(_seeded(Chain, seed), anchors, (SIZE, SIZE), CATEGORIES, **_PLAIN, **options)


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make()


DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "faster_rcnn": faster_rcnn,
    "mask_rcnn": mask_rcnn,
    "retinanet": retinanet,
    "fcos": fcos,
    "ssd": ssd,
}


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode with larger random weights: as they come, all scores are nearly alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                fan = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2.0 / fan) ** 0.5)
            else:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.eval()


def build_classifier() -> nn.Module:
    """A network that is no detector."""
    return small.build(3)


def build() -> nn.Module:
    """A Faster R-CNN of the classes `one`, `two` and `three`, as `--model FILE.py:build` names it."""
    network = lively(faster_rcnn(), 3)
    network.classes = ("__background__", "one", "two", "three")  # type: ignore[assignment]
    return network


def build_silent() -> nn.Module:
    """The same, which gives no box."""
    network: Any = build()
    network.roi_heads.score_thresh = 1.0
    silent: nn.Module = network
    return silent
