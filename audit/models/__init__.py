"""Models: where they come from, and the classifier that the audit asks."""

from audit.models.classifier import Classifier, Preprocessing, find_target_layer, weights_fingerprint
from audit.models.sources import ModelSpec, build_architecture, load_classifier, save_checkpoint

__all__ = [
    "Classifier",
    "ModelSpec",
    "Preprocessing",
    "build_architecture",
    "find_target_layer",
    "load_classifier",
    "save_checkpoint",
    "weights_fingerprint",
]
