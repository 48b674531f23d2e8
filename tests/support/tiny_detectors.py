"""Detectors of transformers: tiny configurations with random weights, and their image processors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

SIDE = 64
LABELS = {0: "one", 1: "two", 2: "three"}
_SMALL: dict[str, Any] = {"id2label": LABELS, "label2id": {name: place for place, name in LABELS.items()}}


def _resnet(stages: list[str]) -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 8, 12, 16], "depths": [1, 1, 1, 1]}
    return transformers.ResNetConfig(layer_type="basic", out_features=stages, **sizes)


def detr() -> tuple[nn.Module, Any]:
    transformers = pytest.importorskip("transformers")
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=_resnet(["stage4"]),
        num_queries=12,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        **_SMALL,
    )
    processor = transformers.DetrImageProcessor(size={"shortest_edge": SIDE, "longest_edge": SIDE})
    return transformers.DetrForObjectDetection(config), processor


def rt_detr() -> tuple[nn.Module, Any]:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 12, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 12, 16],
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        num_queries=12,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_n_points=2,
        **_SMALL,
    )
    processor = transformers.RTDetrImageProcessor(size={"height": SIDE, "width": SIDE})
    return transformers.RTDetrForObjectDetection(config), processor


def yolos() -> tuple[nn.Module, Any]:
    transformers = pytest.importorskip("transformers")
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[SIDE, SIDE],
        patch_size=16,
        num_detection_tokens=10,
        **_SMALL,
    )
    processor = transformers.YolosImageProcessor(size={"shortest_edge": SIDE, "longest_edge": SIDE})
    return transformers.YolosForObjectDetection(config), processor


DETECTORS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {"detr": detr, "rt_detr": rt_detr, "yolos": yolos}


def drawn(name: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A detector whose head's weights are large enough for its boxes to differ."""
    torch.manual_seed(seed)
    network, processor = DETECTORS[name]()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                fan = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2.0 / fan) ** 0.5)
    return network.eval(), processor
