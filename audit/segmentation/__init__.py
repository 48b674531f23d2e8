"""Pseudo-masks from maps."""

from audit.segmentation.thresholds import pseudo_mask

__all__ = ["pseudo_mask"]
