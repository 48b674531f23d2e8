from __future__ import annotations

import numpy as np
import pytest

from audit.datasets.manifest import Box, Sample
from audit.datasets.objects import Objects
from audit.scores.given.errors import ERRORS, Truths, judge_boxes, true_objects

Corners = tuple[float, float, float, float]


def _iou(a: Corners, b: Corners) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _slow_kinds(boxes: list[Corners], classes: list[int], true: list[Corners], true_classes: list[int]) -> list[str]:
    """One box after another, one object after another, from the definitions."""
    owner: dict[int, int] = {}
    kinds = []
    for place, box in enumerate(boxes):
        candidates = [
            (_iou(box, other), -index)
            for index, other in enumerate(true)
            if true_classes[index] == classes[place] and index not in owner and _iou(box, other) >= 0.5
        ]
        if candidates:
            owner[-max(candidates)[1]] = place
    for place, box in enumerate(boxes):
        of_class = [_iou(box, o) for o, c in zip(true, true_classes, strict=True) if c == classes[place]]
        of_others = [_iou(box, o) for o, c in zip(true, true_classes, strict=True) if c != classes[place]]
        own, other = max(of_class, default=0.0), max(of_others, default=0.0)
        if place in owner.values():
            kinds.append("right")
        elif 0.1 <= own < 0.5:
            kinds.append("misplaced")
        elif other >= 0.5:
            kinds.append("confused")
        elif own >= 0.5:
            kinds.append("duplicate")
        elif own <= 0.1 and other <= 0.1:
            kinds.append("background")
        else:
            kinds.append("both")
    return kinds


def test_kinds_are_those_of_the_definitions_on_boxes_at_random() -> None:
    rng = np.random.default_rng(0)
    seen: set[str] = set()
    for _ in range(300):
        true = _random_boxes(rng, rng.integers(0, 5))
        true_classes = rng.integers(0, 3, len(true))
        near = [true[rng.integers(len(true))] + rng.normal(0, 3, 4) * [1, 1, 0, 0] for _ in range(4) if len(true)]
        boxes = np.array([*near, *_random_boxes(rng, 3)]).reshape(-1, 4)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        classes = rng.integers(0, 3, len(boxes))
        judged = judge_boxes(boxes, classes, Truths(true_classes, true))
        expected = _slow_kinds(*(list(part) for part in (boxes, classes, true, true_classes)))  # type: ignore[arg-type]
        assert judged.errors.tolist() == expected
        assert (~judged.missed).sum() == expected.count("right")
        seen |= set(expected)
    assert seen == set(ERRORS)


def _random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.integers(0, 20, (count, 2)).astype(float)
    return np.concatenate([corner, corner + rng.integers(4, 16, (count, 2))], axis=1)


@pytest.mark.parametrize(
    ("box", "class_id", "kind", "iou"),
    [
        ((0, 0, 10, 10), 0, "right", 1.0),
        ((0, 0, 10, 10), 1, "confused", 1.0),
        ((0, 0, 10, 3), 0, "misplaced", 0.3),
        ((0, 0, 10, 3), 1, "both", 0.3),
        ((30, 30, 40, 40), 0, "background", 0.0),
    ],
)
def test_each_kind_by_hand(box: Corners, class_id: int, kind: str, iou: float) -> None:
    truths = Truths(np.array([0]), np.array([[0.0, 0.0, 10.0, 10.0]]))
    judged = judge_boxes(np.array([box], float), np.array([class_id]), truths)
    assert judged.errors.tolist() == [kind]
    assert judged.ious[0] == pytest.approx(iou)
    assert judged.missed.tolist() == [kind != "right"]


def test_the_surer_of_two_boxes_on_an_object_is_right_and_the_other_a_duplicate() -> None:
    truths = Truths(np.array([0]), np.array([[0.0, 0.0, 10.0, 10.0]]))
    judged = judge_boxes(np.array([[0, 0, 10, 9], [0, 0, 10, 10]], float), np.array([0, 0]), truths)
    assert judged.errors.tolist() == ["right", "duplicate"]


def test_where_no_object_is_there_every_box_is_background() -> None:
    judged = judge_boxes(np.array([[0, 0, 10, 9]], float), np.array([0]), Truths(np.zeros(0, int), np.zeros((0, 4))))
    assert judged.errors.tolist() == ["background"]
    assert judged.ious.tolist() == [0]
    assert not len(judged.missed)


def test_each_part_of_a_mask_is_an_object_where_the_manifest_lists_no_boxes() -> None:
    mask = np.zeros((20, 30), np.int16)
    mask[2:6, 3:9] = 1
    mask[10:12, 20:25] = 1
    mask[15:20, 0:5] = 3
    found = true_objects(Sample("a", "a.png"), Objects(mask, "mask"), 3)
    assert found is not None
    assert found.class_ids.tolist() == [0, 0, 2]
    assert found.boxes.tolist() == [[3, 2, 9, 6], [20, 10, 25, 12], [0, 15, 5, 20]]
    listed = true_objects(Sample("a", "a.png", boxes=(Box(1, 0, 0, 4, 4),)), Objects(mask, "mask"), 3)
    assert listed is not None
    assert listed.class_ids.tolist() == [1]
    assert true_objects(Sample("a", "a.png"), Objects(), 3) is None
