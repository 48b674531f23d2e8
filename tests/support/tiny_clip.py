"""A CLIP of a few thousand weights in a folder, as open_clip keeps them; its text tower reads the real vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

SIDE = 64
VIT: dict[str, Any] = {"image_size": SIDE, "patch_size": 16, "width": 32, "layers": 3, "head_width": 16}
RESNET: dict[str, Any] = {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 8}
TIMM: dict[str, Any] = {
    "image_size": SIDE,
    "timm_model_name": "resnet10t",
    "timm_pool": "",
    "timm_proj": "linear",
    "timm_model_pretrained": False,
}
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}


def save_clip(folder: Path, tower: dict[str, Any] | None = None, **more: Any) -> Path:
    """Write the model with random weights to a folder.

    Args:
        tower: `vision_cfg`; VIT by default.
        more: of `model_cfg`.
    """
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    record = {"model_cfg": {"embed_dim": 16, "vision_cfg": tower or VIT, "text_cfg": _TEXT, **more}}
    (folder / "open_clip_config.json").write_text(json.dumps(record))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.create_model(f"local-dir:{folder}")
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder
