"""Pseudo-masks from maps, and the label images that they make."""

from audit.segmentation.labels import UNKNOWN, LabelImage, LabelSource, ThresholdedRun
from audit.segmentation.thresholds import pseudo_mask

__all__ = ["UNKNOWN", "LabelImage", "LabelSource", "ThresholdedRun", "pseudo_mask"]
