"""MaxBoxAcc, MaxBoxAccV2 and localization error against loops over thresholds, flood fills and pycocotools' boxes."""

from __future__ import annotations

import numpy as np
import pycocotools.mask
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from audit.images import View
from audit.scores.boxes import BoxCounts, Lit, box_ious, ious_by_level, largest_part_iou, parts, tight_box

Box = tuple[int, int, int, int]


def flooded(mask: NDArray[np.bool_]) -> list[tuple[Box, int]]:
    """Box and pixels of each part, by filling from pixel to pixel over sides and corners."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        todo, part = [left.pop()], []
        while todo:
            y, x = todo.pop()
            part.append((y, x))
            for place in [(y + v, x + u) for v in (-1, 0, 1) for u in (-1, 0, 1)]:
                if place in left:
                    left.remove(place)
                    todo.append(place)
        ys, xs = zip(*part, strict=True)
        found.append(((min(xs), min(ys), max(xs) + 1, max(ys) + 1), len(part)))
    return found


def iou(one: Box, other: Box) -> float:
    """By counting pixels of two drawn boxes."""
    canvas = np.zeros((2, 64, 64), bool)
    for layer, (x0, y0, x1, y1) in zip(canvas, (one, other), strict=True):
        layer[y0:y1, x0:x1] = True
    return float((canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum())


def smooth(rng: np.random.Generator, size: tuple[int, int] = (24, 31)) -> NDArray[np.uint8]:
    heat = gaussian_filter(rng.random(size), 2)
    heat = (heat - heat.min()) / np.ptp(heat)
    levels: NDArray[np.uint8] = np.minimum(heat * 256, 255).astype(np.uint8)
    return levels


def test_parts_are_those_that_a_flood_fills(rng: np.random.Generator) -> None:
    for share in (0.1, 0.3, 0.5):
        mask = rng.random((13, 17)) < share
        boxes, sizes = parts(mask)
        found = sorted((tuple(map(int, box)), int(size)) for box, size in zip(boxes, sizes, strict=True))
        assert found == sorted(flooded(mask))
    assert len(parts(np.zeros((4, 4), bool))[0]) == 0


def test_box_ious_are_pycocotools_own(rng: np.random.Generator) -> None:
    corners = np.sort(rng.random((9, 2, 2)) * 50, axis=1)
    boxes = corners.reshape(9, 4)
    as_coco = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    expected = pycocotools.mask.iou(as_coco, as_coco[:4], [False] * 4)
    np.testing.assert_allclose(box_ious(boxes, boxes[:4]), expected)
    assert box_ious(np.zeros((1, 4)), boxes[:1]) == 0


def test_ious_by_level_are_those_of_a_loop_over_thresholds(rng: np.random.Generator) -> None:
    truth: list[Box] = [(3, 2, 15, 11), (20, 10, 28, 22)]
    for _ in range(3):
        levels = smooth(rng)
        largest, best = ious_by_level(levels, np.array(truth, float))
        for level in range(256):
            found = flooded(levels >= level)
            expected = [max(iou(box, true) for true in truth) for box, _ in found]
            assert best[level] == pytest.approx(max(expected, default=0))
            most = max((size for _, size in found), default=0)  # parts of equal size may come in any order
            assert any(
                largest[level] == pytest.approx(e) for e, (_, s) in zip(expected, found, strict=True) if s == most
            )


def a_target(box: Box, said: Box, rank: int, size: tuple[int, int] = (224, 224)) -> Lit:
    """A map that is 1 on one box, with the truth at another."""
    heat = np.zeros(size, np.float32)
    heat[said[1] : said[3], said[0] : said[2]] = 1
    return Lit(heat, np.array([box], float), rank)


HIT, NEAR, MISS = (10, 10, 60, 60), (10, 10, 60, 100), (150, 150, 200, 200)


def test_the_measures_are_the_shares_that_a_person_would_count() -> None:
    counts = BoxCounts()
    counts.add([a_target(HIT, HIT, 0)])  # right at once
    counts.add([a_target(HIT, NEAR, 3)])  # IoU 50 / 90, fourth named
    counts.add([a_target(HIT, HIT, 7), a_target(HIT, MISS, 0)])  # hit but named eighth; named but missed
    counts.add([Lit(None, np.array([HIT], float), 0)])  # without a map
    counts.add([])  # without a box
    found = counts.result()
    assert (found["targets"], found["images"]) == (5, 4)
    assert found["max_box_acc"] == 3 / 5
    assert found["max_box_acc_v2"] == pytest.approx((3 / 5 + 3 / 5 + 2 / 5) / 3)
    assert (found["top1_error"], found["top5_error"]) == (3 / 4, 2 / 4)


def test_any_part_counts_for_version_two_and_the_largest_alone_for_the_first() -> None:
    heat = np.zeros((224, 224), np.float32)
    heat[10:60, 10:60] = 1
    heat[100:200, 100:200] = 1
    counts = BoxCounts()
    counts.add([Lit(heat, np.array([HIT], float), 0)])
    found = counts.result()
    assert (found["max_box_acc"], found["max_box_acc_v2"], found["top1_error"]) == (0, 1, 1)


def test_counts_of_shards_add_up_to_those_of_the_whole(rng: np.random.Generator) -> None:
    whole, parts_of_it = BoxCounts(), [BoxCounts(), BoxCounts()]
    for place in range(6):
        heat = (smooth(rng, (50, 50)) / 255).astype(np.float32)
        image = [Lit(heat, np.array([[5.0, 5, 30, 40]]), place)]
        whole.add(image)
        parts_of_it[place % 2].add(image)
    parts_of_it[0].merge(parts_of_it[1])
    assert parts_of_it[0].result() == whole.result()


def test_a_map_is_looked_at_where_its_view_lies() -> None:
    values = np.zeros((4, 4), np.float32)
    values[:2, 2:] = 1  # the upper right quarter of the view, a middle crop of an image of 100 x 200
    view = View(50.0, 0.0, 150.0, 100.0)
    lit = Lit.of(values, view, (100, 200), np.array([[100.0, 0.0, 150.0, 50.0]]), 0)
    assert lit.heat is not None
    assert lit.heat.shape == (224, 112)
    assert largest_part_iou(lit.heat >= 0.5, lit.truth) > 0.95


def test_a_tight_box_is_around_all_pixels_of_a_mask() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2, 3] = mask[6, 5] = True
    assert tight_box(mask).tolist() == [[3, 2, 6, 7]]
    assert tight_box(np.zeros((3, 3), bool)).shape == (0, 4)
