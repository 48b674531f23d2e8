"""Detectors: what each family gives before suppression, and asking again about the boxes that are left."""

from audit.models.detectors.detector import AimedNetwork, Detector
from audit.models.detectors.loading import make_detector
from audit.models.detectors.registry import family_of
from audit.models.detectors.suppression import Detections

__all__ = ["AimedNetwork", "Detections", "Detector", "family_of", "make_detector"]
