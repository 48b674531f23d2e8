"""Weights in files: tensors and plain values, never code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from audit.errors import ModelError

CHECKPOINT_FORMAT = "camaudit-checkpoint-1"


def load_state(path: str) -> dict[str, Any]:
    """Tensors and plain values of a .pt, .pth or .safetensors file; nothing in it is executed.

    Raises:
        ModelError: the file is missing, damaged, or holds anything but tensors and plain values.
    """
    if not Path(path).is_file():
        raise ModelError(f"No weights file at {path}")
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own errors for a damaged file
        raise ModelError(f"Expected weights only (a state dict) in {path}, got: {first_line(error)}") from None
    if not isinstance(state, dict):
        raise ModelError(f"Expected a state dict in {path}, got {type(state).__name__}")
    inner = state.get("state_dict", state)
    values = inner if isinstance(inner, dict) else state
    return {str(key).removeprefix("module."): value for key, value in values.items()}


def load_all_but_head(module: nn.Module, path: str) -> None:
    """Start a module from a state dict or checkpoint; a head for another number of classes stays as it is.

    Raises:
        ModelError: more than one layer does not fit.
    """
    state = load_state(path)
    state = state.get("state", state) if state.get("format") == CHECKPOINT_FORMAT else state
    fresh = module.state_dict()
    fitting = {name for name in fresh.keys() & state.keys() if fresh[name].shape == state[name].shape}
    layers = {name.rpartition(".")[0] for name in (fresh.keys() | state.keys()) - fitting}
    if len(layers) > 1:
        raise ModelError(f"Expected weights of {type(module).__name__}, its head aside, got others in {path}")
    module.load_state_dict(fresh | {name: state[name] for name in fitting})


def first_line(error: BaseException) -> str:
    """Of an error's message, 200 characters at most."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
