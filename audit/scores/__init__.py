"""Scores of maps against masks: counts first, ratios once."""

from audit.scores.histograms import Confusion, ConfusionPool
from audit.scores.overlap import class_iou_curves, iou_curve, mean_iou_curve
from audit.scores.ranking import auroc, pixel_average_precision, relevance_rank_accuracy
from audit.scores.scene import Scene, Scores, score

__all__ = [
    "Confusion",
    "ConfusionPool",
    "Scene",
    "Scores",
    "auroc",
    "class_iou_curves",
    "iou_curve",
    "mean_iou_curve",
    "pixel_average_precision",
    "relevance_rank_accuracy",
    "score",
]
