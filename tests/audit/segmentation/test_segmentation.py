"""Pseudo-masks against a loop, and against the counts that scoring leaves."""

from __future__ import annotations

import numpy as np
import oracles
import pytest

from audit.images.views import Fit, View, upsample
from audit.scores import Scene, class_iou_curves
from audit.segmentation import pseudo_mask

SIZE = (21, 34)


def maps_of(rng: np.random.Generator, count: int = 3) -> np.ndarray:
    maps = rng.random((count, 5, 5))
    scaled: np.ndarray = (maps / maps.max(axis=(1, 2), keepdims=True)).astype(np.float16)
    return scaled


@pytest.mark.parametrize("mode", ["squash", "crop", "letterbox"])
def test_a_pseudo_mask_has_each_pixels_highest_class_where_it_reaches_the_threshold(
    rng: np.random.Generator, mode: str
) -> None:
    _, view = Fit(16, mode)(np.zeros((*SIZE, 3), np.uint8))
    maps, class_ids = maps_of(rng), np.array([7, 0, 3])
    found = pseudo_mask(maps, class_ids, view, SIZE, 0.6)
    rows, columns = view.inside(*SIZE)
    expected = np.zeros(SIZE, int)
    expected[rows, columns] = oracles.segment(upsample(maps, view, *SIZE), class_ids.tolist(), 0.6)
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 2


def test_what_a_crop_left_unseen_is_background(rng: np.random.Generator) -> None:
    found = pseudo_mask(maps_of(rng), np.arange(3), View(7, 0, 28, 21), SIZE, 0.0)
    assert not found[:, :7].any()
    assert not found[:, 28:].any()
    assert found[:, 7:28].all()


def test_no_map_gives_background_alone() -> None:
    assert not pseudo_mask(np.zeros((0, 5, 5)), np.zeros(0, int), View(0, 0, 34, 21), SIZE, 0.0).any()


@pytest.mark.parametrize("level", [1, 77, 128, 230, 255])
def test_a_pseudo_mask_has_the_iou_that_the_counts_promise_at_its_threshold(
    rng: np.random.Generator, level: int
) -> None:
    maps, class_ids, view = maps_of(rng), np.array([1, 0, 3]), View(0, 0, 34, 21)
    mask = rng.integers(-1, 5, SIZE).astype(np.int16)
    counts = Scene.of(maps, view, mask, class_ids).confusion(np.ones(3, bool))
    found = pseudo_mask(maps, class_ids, view, SIZE, level / 256)
    ious = oracles.class_ious(oracles.confusion_matrix([(mask, found)], 4))
    np.testing.assert_allclose(class_iou_curves(counts, 4)[:, level], ious)
