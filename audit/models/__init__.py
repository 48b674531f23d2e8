"""Models: where they come from, and the classifier that the audit asks."""

from audit.models.classifier import Classifier, Preprocessing, weights_fingerprint
from audit.models.execution import PRECISIONS, Execution
from audit.models.layers import Layout, find_target_layer
from audit.models.scalars import group, scalar_outputs
from audit.models.sources import ModelSpec, build_architecture, load_classifier, save_checkpoint

__all__ = [
    "PRECISIONS",
    "Classifier",
    "Execution",
    "Layout",
    "ModelSpec",
    "Preprocessing",
    "build_architecture",
    "find_target_layer",
    "group",
    "load_classifier",
    "save_checkpoint",
    "scalar_outputs",
    "weights_fingerprint",
]
