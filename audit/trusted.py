"""Whose code a name may run: that of the libraries and of camaudit itself; other code is run when the user names it."""

from __future__ import annotations

KNOWN_CODE = ("torchvision", "timm", "audit.models.small")
"""Whose functions a checkpoint or a run may name."""
STATE_SUFFIXES = (".pt", ".pth", ".safetensors")
"""Of files that hold weights, or a checkpoint: nothing in them is executed."""


def is_code(name: str) -> bool:
    """Whether a model's name is one of a function, other than those of the libraries and of camaudit itself.

    >>> is_code("torchvision:resnet50"), is_code("mine.py:build")
    (False, True)
    """
    place, colon, _ = name.rpartition(":")
    return bool(colon) and place not in KNOWN_CODE
