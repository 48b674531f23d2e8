"""Regions of label images: IoU at any thresholds, the best of them and Otsu's, against pixels and other packages."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from audit.segmentation.regions import NO_MAP, Pool, best_level, best_levels, count_regions, level_counts, otsu_level
from audit.store.layout import LEVELS, REGIONS
from audit.store.tables.parts import arrow_table

CLASSES = 4
Picture = tuple[np.ndarray, np.ndarray, list[int], np.ndarray]


def draw_picture(rng: np.random.Generator) -> Picture:
    """Winner, level, class ids and truth of an image whose levels tell something about its truth."""
    class_ids = sorted(rng.choice(CLASSES, rng.integers(0, 3), replace=False).tolist())
    truth = rng.choice([-1, 0, 0, 0, *range(1, CLASSES + 1)], (12, 15))
    winner = rng.integers(0, len(class_ids) + 1, truth.shape)
    right = np.array([0, *(class_id + 1 for class_id in class_ids)])[winner] == truth
    level = np.where(winner > 0, np.clip(rng.normal(100 + 60 * right, 50), 0, 255), 0).astype(int)
    return winner, level, class_ids, truth


def table_of(picture: Picture, row: int, known: bool = True) -> pa.Table:
    winner, level, class_ids, truth = picture
    return arrow_table(count_regions(row, winner, level, class_ids, truth if known else None).columns(), REGIONS)


def iou_of_pixels(pictures: list[Picture], levels: np.ndarray) -> np.ndarray:
    """IoU of background and classes by counting pixels, image after image."""
    both, either = np.zeros(CLASSES + 1), np.zeros(CLASSES + 1)
    for winner, level, class_ids, truth in pictures:
        named = np.zeros(truth.shape, int)
        for place, class_id in enumerate(class_ids):
            named[(winner == place + 1) & (level >= levels[class_id])] = class_id + 1
        for value in range(CLASSES + 1):
            shown, said = (truth == value), (named == value) & (truth >= 0)
            both[value] += (shown & said).sum()
            either[value] += (shown | said).sum()
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    rng = np.random.default_rng(3)
    return [draw_picture(rng) for _ in range(12)]


@pytest.fixture(scope="module")
def pool(pictures: list[Picture]) -> Pool:
    parts = (table_of(picture, row) for row, picture in enumerate(pictures))
    return reduce(add, (Pool.of(part, CLASSES) for part in parts))


@given(st.lists(st.integers(0, LEVELS), min_size=CLASSES, max_size=CLASSES))
def test_iou_at_any_thresholds_is_that_of_the_pixels(pictures: list[Picture], pool: Pool, levels: list[int]) -> None:
    np.testing.assert_allclose(pool.iou(np.array(levels)), iou_of_pixels(pictures, np.array(levels)))


def test_the_best_threshold_is_the_best_of_all(pictures: list[Picture], pool: Pool) -> None:
    means = [np.nanmean(iou_of_pixels(pictures, np.full(CLASSES, level))) for level in range(LEVELS)]
    assert best_level(pool) == int(np.argmax(means))


def test_thresholds_by_class_are_no_worse_and_none_of_them_alone_could_be_better(
    pictures: list[Picture], pool: Pool
) -> None:
    levels = best_levels(pool)
    found = np.nanmean(iou_of_pixels(pictures, levels))
    assert found > pool.mean_iou(np.full(CLASSES, best_level(pool)))
    for class_id in range(CLASSES):
        for other in range(0, LEVELS, 5):
            changed = levels.copy()
            changed[class_id] = other
            assert np.nanmean(iou_of_pixels(pictures, changed)) <= found + 1e-12


def test_images_without_a_mask_say_nothing_about_thresholds(pictures: list[Picture], pool: Pool) -> None:
    unknown = table_of(pictures[0], 99, known=False)
    assert unknown["object"].null_count == unknown.num_rows
    assert level_counts(unknown["pixels"]).sum() == pictures[0][0].size
    beside = Pool.of(pa.concat_tables([table_of(pictures[0], 0), unknown]), CLASSES)
    np.testing.assert_array_equal(beside.pixels, Pool.of(table_of(pictures[0], 0), CLASSES).pixels)
    assert not Pool.of(unknown, CLASSES).known


def test_a_class_of_the_mask_without_a_map_counts_as_missed() -> None:
    truth = np.array([[0, 2, 2, -1]])
    rows = count_regions(5, np.zeros((1, 4), int), np.zeros((1, 4), int), [], truth)
    assert rows.column("class_id") == [NO_MAP, 1]
    assert rows.column("object") == [1, 2]
    iou = Pool.of(arrow_table(rows.columns(), REGIONS), CLASSES).iou(np.full(CLASSES, 100))
    np.testing.assert_allclose(iou, [1 / 3, np.nan, 0, np.nan, np.nan])


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(1, 50)), min_size=2, max_size=20, unique_by=lambda one: one[0])
)
def test_otsus_level_is_scikit_images(blocks: list[tuple[int, int]]) -> None:
    counts = np.zeros(LEVELS, int)
    for level, pixels in blocks:
        counts[level] = pixels
    level = otsu_level(counts)
    kept, dropped = (between(counts, at) for at in (level, threshold_otsu(hist=(counts, np.arange(LEVELS))) + 1))
    assert kept == pytest.approx(dropped)  # of equal splits either may be named


def between(counts: np.ndarray, level: int) -> float:
    """Variance between the pixels below a level and those from it on."""
    values = np.repeat(np.arange(LEVELS), counts)
    low, high = values[values < level], values[values >= level]
    return len(low) * len(high) * (low.mean() - high.mean()) ** 2


def test_a_map_of_one_level_has_no_split() -> None:
    assert otsu_level(np.zeros(LEVELS, int)) == LEVELS
    assert otsu_level(np.bincount([70] * 9, minlength=LEVELS)) == LEVELS
