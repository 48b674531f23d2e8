"""Scores of maps against masks: counts first, ratios once."""

from audit.scores.histograms import Confusion, ConfusionPool
from audit.scores.mask_confusion import MaskConfusion
from audit.scores.metrics.ranking import (
    auroc,
    average_precision,
    mean_average_precision,
    pixel_average_precision,
    relevance_rank_accuracy,
)
from audit.scores.overlap import class_iou_curves, iou_curve, mean_iou_curve
from audit.scores.scene import Scene, Scores, score

__all__ = [
    "Confusion",
    "ConfusionPool",
    "MaskConfusion",
    "Scene",
    "Scores",
    "auroc",
    "average_precision",
    "class_iou_curves",
    "iou_curve",
    "mean_average_precision",
    "mean_iou_curve",
    "pixel_average_precision",
    "relevance_rank_accuracy",
    "score",
]
