"""Pseudo-masks from maps."""

from audit.segmentation.threshold import pseudo_mask

__all__ = ["pseudo_mask"]
