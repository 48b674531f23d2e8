"""Attribution maps: where in the image the evidence for a class lies."""

from audit.attribution.engine import Attribution, WeightedActivations
from audit.attribution.targets import ROLES, choose_targets
from audit.attribution.weighted import (
    CAM,
    METHODS,
    Counterfactual,
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)

__all__ = [
    "CAM",
    "METHODS",
    "ROLES",
    "Attribution",
    "Counterfactual",
    "EigenCAM",
    "EigenGradCAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "LayerCAM",
    "WeightedActivations",
    "XGradCAM",
    "choose_targets",
]
