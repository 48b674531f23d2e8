"""Ten families of transformers' image classifiers: tiny configurations, random weights, and their image processors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

SIDE = 64
LABELS = ("disc", "box", "bar", "ring", "star")
_WHOLE = {"height": SIDE, "width": SIDE}
_WIDER = {"height": 77, "width": 77}
_VIT: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIDE,
    "patch_size": 16,
}
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
_MOBILEVIT: dict[str, Any] = {
    "hidden_sizes": [8, 12, 16],
    "neck_hidden_sizes": [4, 8, 8, 12, 16, 16, 24],
    "num_attention_heads": 2,
    "image_size": SIDE,
}
_SWIN: dict[str, Any] = {
    "image_size": SIDE,
    "patch_size": 4,
    "embed_dim": 12,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 4,
}
_EFFICIENTNET: dict[str, Any] = {
    "image_size": SIDE,
    "width_coefficient": 0.25,
    "depth_coefficient": 0.2,
    "hidden_dim": 320,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 20,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@dataclass(frozen=True)
class Family:
    """One family, and what is to be found in it.

    Attributes:
        name: of its classes, as transformers begins them.
        config: of a tiny network.
        processor: class and fields of its image processor.
        layer: the target layer, inside the network.
        side: of the layer's grid.
        prefix: tokens ahead of the grid's; None where the layer has channels first.
    """

    name: str
    config: dict[str, Any]
    processor: tuple[str, dict[str, Any]]
    layer: str
    side: int
    prefix: int | None = None


FAMILIES = {
    "ViT": Family("ViT", _VIT, ("ViT", {"size": _WHOLE}), "vit.layers.2.layernorm_before", 4, 1),
    "DeiT": Family(
        "DeiT", _VIT, ("DeiT", {"size": _WIDER, "crop_size": _WHOLE}), "deit.layers.2.layernorm_before", 4, 2
    ),
    "Swin": Family("Swin", _SWIN, ("ViT", {"size": _WHOLE, "resample": 3}), "swin.layernorm", 8, 0),
    "BEiT": Family("Beit", _VIT, ("Beit", {"size": _WHOLE}), "beit.layernorm", 4, 1),
    "DINOv2": Family(
        "Dinov2",
        _VIT,
        ("Bit", {"size": {"shortest_edge": 77}, "crop_size": _WHOLE, "image_mean": [0.485, 0.456, 0.406]}),
        "dinov2.layernorm",
        4,
        1,
    ),
    "ConvNeXt V2": Family(
        "ConvNextV2", _STAGES, ("ConvNext", {"size": {"shortest_edge": SIDE}}), "convnextv2.encoder.stages.3", 2
    ),
    "ResNet": Family(
        "ResNet",
        {**_STAGES, "embedding_size": 8, "layer_type": "basic"},
        ("ConvNext", {"size": {"shortest_edge": SIDE}, "crop_pct": 0.95, "resample": 2}),
        "resnet.encoder.stages.3",
        2,
    ),
    "MobileViT": Family(
        "MobileViT",
        _MOBILEVIT,
        ("MobileViT", {"size": {"shortest_edge": 77}, "crop_size": _WHOLE}),
        "mobilevit.conv_1x1_exp",
        2,
    ),
    "EfficientNet": Family(
        "EfficientNet",
        _EFFICIENTNET,
        ("EfficientNet", {"size": _WHOLE, "resample": 0}),
        "efficientnet.encoder.top_activation",
        2,
    ),
    "SigLIP": Family(
        "Siglip",
        {"vision_config": _VIT, "text_config": _TEXT},
        ("Siglip", {"size": _WHOLE}),
        "vision_model.post_layernorm",
        4,
        0,
    ),
}


def save_family(family: Family, folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """Write a network with random weights and its image processor, as the hub keeps them."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    named: Callable[[str], Any] = lambda kind: getattr(transformers, kind)  # noqa: E731
    config = named(f"{family.name}Config")(id2label=dict(enumerate(labels)), **family.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = named(f"{family.name}ForImageClassification")(config)
        _move_away_from_zero(network)
    network.save_pretrained(folder)
    kind, fields = family.processor
    named(f"{kind}ImageProcessor")(**fields).save_pretrained(folder)
    return folder


def _move_away_from_zero(network: torch.nn.Module) -> None:
    """Fresh heads are almost nothing, and fresh tokens and positions are: there would be nothing to explain."""
    with torch.no_grad():
        for value in network.parameters():
            if value.std() < 0.05 or value.numel() == 1:
                value.add_(0.1 * torch.randn_like(value))
