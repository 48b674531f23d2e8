"""Scores of maps against masks: counts first, ratios once."""

from audit.metrics.histograms import Confusion, ConfusionPool
from audit.metrics.overlap import class_iou_curves, iou_curve, mean_iou_curve
from audit.metrics.ranking import auroc
from audit.metrics.scoring import Scene, Scores, score

__all__ = [
    "Confusion",
    "ConfusionPool",
    "Scene",
    "Scores",
    "auroc",
    "class_iou_curves",
    "iou_curve",
    "mean_iou_curve",
    "score",
]
