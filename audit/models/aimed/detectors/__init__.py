"""Detectors: what each family gives before suppression, and asking again about the boxes that are left."""

from audit.models.aimed.detectors.detector import AimedNetwork, Detector
from audit.models.aimed.detectors.loading import make_detector
from audit.models.aimed.detectors.registry import family_of
from audit.models.aimed.detectors.suppression import Detections

__all__ = ["AimedNetwork", "Detections", "Detector", "family_of", "make_detector"]
