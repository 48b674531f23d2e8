"""Attribution maps: where in the image the evidence for a class lies."""

from audit.attribution.targets import ROLES, choose_targets
from audit.attribution.weighted import CAM, METHODS, Attribution, GradCAM

__all__ = ["CAM", "METHODS", "ROLES", "Attribution", "GradCAM", "choose_targets"]
