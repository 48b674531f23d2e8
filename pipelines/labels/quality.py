"""What `camaudit labels` tells about a label set: how good it is, where masks are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from audit.progress import Progress, silent
from audit.segmentation.cut import Cut
from audit.segmentation.quality import Masks, pool_regions
from audit.segmentation.regions import best_level, best_levels
from audit.store.label_store import LabelStore
from audit.store.layout import LEVELS
from audit.store.tables.records import finite


def quality_record(store: LabelStore, progress: Progress = silent) -> dict[str, Any]:
    """Mean IoU by the way of choosing a threshold, by class, and of the images most trusted; empty without masks."""
    pool = pool_regions(store, progress)
    if not pool.known:
        return {"thresholds": [], "classes": [], "by_trust": []}
    one, each = best_level(pool), best_levels(pool)
    best, otsu = (Masks.of(store, cut, progress) for cut in (Cut(one / LEVELS), Cut(None)))
    thresholds = [
        {"threshold": "0.5", "mean_iou": float(pool.mean_iou(np.full(len(each), LEVELS // 2)))},
        {"threshold": f"{one / LEVELS:.3f}, the best", "mean_iou": best.mean_iou()},
        {"threshold": "the best of each class", "mean_iou": float(pool.mean_iou(each))},
        {"threshold": "Otsu's of each mask", "mean_iou": otsu.mean_iou()},
    ]
    names = ("background", *store.run.classes)
    own = zip(names, best.iou().tolist(), [None, *(each / LEVELS).tolist()], strict=True)
    classes = [{"class": name, "iou": iou, "threshold": threshold} for name, iou, threshold in own]
    trust = [{"share": share, "mean_iou": value} for share, value in best.by_trust().items()]
    rows = {"thresholds": thresholds, "classes": classes, "by_trust": trust}
    return {name: [finite(row) for row in part] for name, part in rows.items()}
