from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from audit.scores.boxes import box_ious
from audit.scores.given.detection_metrics import average_precision
from audit.scores.given.errors import Truths

CLASSES = ("a", "b", "never")


def _slow_precision(truths: list[tuple[int, Truths]], found: list[dict[str, Any]], class_id: int, hit: float) -> float:
    """The precision at 101 recalls, each the best at that recall or a higher one; a box after the other."""
    objects = {row: of.boxes[of.class_ids == class_id] for row, of in truths}
    total = sum(len(boxes) for boxes in objects.values())
    taken = {row: [False] * len(boxes) for row, boxes in objects.items()}
    rights = []
    for box in sorted((b for b in found if b["class_id"] == class_id), key=lambda b: -b["score"]):
        corners = np.array([[box["x0"], box["y0"], box["x1"], box["y1"]]])
        ious = box_ious(corners, objects[box["sample"]])[0] if len(objects[box["sample"]]) else []
        free = [(iou, place) for place, iou in enumerate(ious) if iou >= hit and not taken[box["sample"]][place]]
        if free:
            taken[box["sample"]][max(free)[1]] = True
        rights.append(bool(free))
    precision, recall = [], []
    for count in range(1, len(rights) + 1):
        precision.append(sum(rights[:count]) / count)
        recall.append(sum(rights[:count]) / total)
    best = [
        max((p for p, r in zip(precision, recall, strict=True) if r >= at), default=0.0)
        for at in np.linspace(0, 1, 101)
    ]
    return float(np.mean(best))


def drawn(seed: int = 0) -> tuple[list[tuple[int, Truths]], list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for row in range(12):
        corner = rng.uniform(0, 60, (3, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 30, (3, 2))], axis=1)
        of = Truths(rng.integers(0, 2, 3), boxes)
        truths.append((row, of))
        for class_id, box in zip(of.class_ids.tolist(), of.boxes, strict=True):
            for spread in (1, 4):
                moved = box + rng.normal(0, spread, 4)
                named = class_id if rng.random() < 0.8 else 1 - class_id
                corners = dict(zip(("x0", "y0", "x1", "y1"), moved.tolist(), strict=True))
                found.append({"sample": row, "class_id": named, "score": float(rng.random()), **corners})
    return truths, found


def test_average_precision_is_that_of_a_slow_count() -> None:
    truths, found = drawn()
    record = average_precision(truths, found, CLASSES)
    assert [row["class"] for row in record["classes"]] == ["a", "b"]
    by_class = [[_slow_precision(truths, found, i, hit) for hit in np.arange(0.5, 1, 0.05)] for i in (0, 1)]
    for row, expected in zip(record["classes"], by_class, strict=True):
        assert row["ap"] == pytest.approx(np.mean(expected), abs=0.004)
        assert row["ap50"] == pytest.approx(expected[0], abs=0.004)
    assert record["ap75"] == pytest.approx(np.mean([expected[5] for expected in by_class]), abs=0.004)
    assert 0.2 < record["ap"] < record["ap50"] < 1


def test_without_objects_there_is_no_precision_and_without_boxes_it_is_nothing() -> None:
    truths, _ = drawn()
    nothing = [(0, Truths(np.zeros(0, np.int64), np.zeros((0, 4))))]
    assert average_precision(nothing, [], CLASSES)["ap"] is None
    assert average_precision(truths, [], CLASSES)["ap"] == 0
