"""The sources that have a word of their own; each is one file and one line here."""

from __future__ import annotations

from torch import nn

from audit.models.sources import huggingface, open_clip, timm, torchvision
from audit.models.sources.function import build_with
from audit.models.sources.source import Source

SOURCES: dict[str, Source] = {
    source.prefix: source
    for source in (
        torchvision.SOURCE,
        timm.SOURCE,
        huggingface.SOURCE,
        open_clip.SOURCE,
    )
}
"""Sources by the word ahead of the colon."""


def build_architecture(arch: str, class_count: int) -> nn.Module:
    """A module of `torchvision:NAME`, `timm:NAME` or `module:function` with `class_count` outputs and fresh weights."""
    kind, _, name = arch.rpartition(":")
    return SOURCES[kind].architecture(name, class_count) if kind in SOURCES else build_with(arch, class_count)
