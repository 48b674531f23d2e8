"""Attribution maps: where in the image the evidence for a class lies."""

from audit.attribution.aligned import Aligned
from audit.attribution.around import Flip, MultiScale, SmoothGrad
from audit.attribution.attnlrp import AttnLRP
from audit.attribution.backprop import Deconvnet, GuidedBackprop, IntegratedGradients, Saliency
from audit.attribution.compositions import GuidedGradCAM, LayerCAMFused
from audit.attribution.engine import WeightedActivations
from audit.attribution.gradient_free import AblationCAM, ScoreCAM
from audit.attribution.legrad import LeGrad
from audit.attribution.lrp import LRP
from audit.attribution.method import Attribution, Cost, Method
from audit.attribution.methods import AROUND, METHODS, check_method, make_method
from audit.attribution.perturbation import RISE, Occlusion
from audit.attribution.rollout import GradientRollout
from audit.attribution.targets import ROLES, choose_targets
from audit.attribution.weighted import (
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
