"""Where models come from: one file a source, one line of a registry each."""

from audit.models.sources.checkpoint import save_checkpoint
from audit.models.sources.function import build_with
from audit.models.sources.loading import load_classifier
from audit.models.sources.registry import SOURCES, build_architecture
from audit.models.sources.source import Built, Source
from audit.models.sources.spec import ModelSpec

__all__ = [
    "SOURCES",
    "Built",
    "ModelSpec",
    "Source",
    "build_architecture",
    "build_with",
    "load_classifier",
    "save_checkpoint",
]
