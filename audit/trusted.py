"""Whose code a name may run: that of the libraries and of camaudit itself; other code is run when the user names it."""

from __future__ import annotations

import os
from pathlib import Path

KNOWN_CODE = ("torchvision", "timm", "hf", "clip", "audit.models.small")
"""Whose functions a checkpoint or a run may name."""
_FOLDERS = ("hf", "clip")
"""Whose models may lie in a folder."""
STATE_SUFFIXES = (".pt", ".pth", ".safetensors")
"""Of files that hold weights, or a checkpoint: nothing in them is executed."""


def is_code(name: str) -> bool:
    """Whether a model's name is one of a function, other than those of the libraries and of camaudit itself.

    >>> is_code("torchvision:resnet50"), is_code("mine.py:build")
    (False, True)
    """
    place, colon, _ = name.rpartition(":")
    return bool(colon) and place not in KNOWN_CODE


def absolute_name(name: str) -> str:
    """A model's name as a run records it, for workers that start elsewhere: files and folders by absolute paths."""
    kind, _, folder = name.partition(":")
    if kind in _FOLDERS and Path(folder).is_dir():
        return f"{kind}:{os.path.abspath(folder)}"
    place, colon, function = name.partition(".py:")
    if colon and Path(f"{place}.py").is_file():
        return f"{os.path.abspath(place)}.py:{function}"
    return os.path.abspath(name) if Path(name).is_file() else name
