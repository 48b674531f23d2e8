"""Attribution maps: where in the image the evidence for a class lies."""

from audit.attribution.engine import WeightedActivations
from audit.attribution.method import Attribution, Cost, Method
from audit.attribution.methods.aligned import Aligned
from audit.attribution.methods.around import Flip, MultiScale, SmoothGrad
from audit.attribution.methods.attnlrp import AttnLRP
from audit.attribution.methods.backprop import Deconvnet, GuidedBackprop, IntegratedGradients, Saliency
from audit.attribution.methods.compositions import GuidedGradCAM, LayerCAMFused
from audit.attribution.methods.gradient_free import AblationCAM, ScoreCAM
from audit.attribution.methods.legrad import LeGrad
from audit.attribution.methods.lrp import LRP
from audit.attribution.methods.perturbation import RISE, Occlusion
from audit.attribution.methods.registry import AROUND, METHODS, check_method, make_method
from audit.attribution.methods.rollout import GradientRollout
from audit.attribution.methods.weighted import (
    CAM,
    Counterfactual,
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from audit.attribution.targets import ROLES, choose_targets

__all__ = [
    "AROUND",
    "CAM",
    "LRP",
    "METHODS",
    "RISE",
    "ROLES",
    "AblationCAM",
    "Aligned",
    "AttnLRP",
    "Attribution",
    "Cost",
    "Counterfactual",
    "Deconvnet",
    "EigenCAM",
    "EigenGradCAM",
    "Flip",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientRollout",
    "GuidedBackprop",
    "GuidedGradCAM",
    "HiResCAM",
    "IntegratedGradients",
    "LayerCAM",
    "LayerCAMFused",
    "LeGrad",
    "Method",
    "MultiScale",
    "Occlusion",
    "Saliency",
    "ScoreCAM",
    "SmoothGrad",
    "WeightedActivations",
    "XGradCAM",
    "check_method",
    "choose_targets",
    "make_method",
]
