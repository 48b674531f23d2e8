"""Scores against loops: counts at every level, energy, pointing, overlap, ranking."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from audit.images.views import View
from audit.scores import Confusion, Scene, auroc, class_iou_curves, iou_curve, mean_iou_curve, score
from audit.scores.histograms import TrueClasses, confusion, inside_outside, quantise
from audit.scores.localization import energy_inside, peak_pixel, pointing_hit

LEVELS_TRIED = (0, 1, 17, 64, 128, 200, 254, 255)
CLASSES = 4


def scene(rng: np.random.Generator, height: int = 13, width: int = 17, slots: int = 3) -> Scene:
    """Maps on a grid of 16ths, so that ties and exact thresholds occur, and a mask with void."""
    heat = (rng.integers(0, 17, (slots, height, width)) / 16).astype(np.float32)
    heat[:, 0, 0] = 1
    mask = rng.integers(-1, CLASSES + 1, (height, width)).astype(np.int16)
    return Scene(heat, mask, rng.permutation(CLASSES)[:slots])


def test_levels_are_those_that_a_threshold_search_finds() -> None:
    values = np.array([-0.5, 0.0, 1 / 256, np.nextafter(np.float32(1 / 256), 0), 0.5, 0.999, 1.0], np.float32)
    assert quantise(values).tolist() == [0, 0, 1, 0, 128, 255, 255]
    assert quantise(values).tolist() == [oracles.level_of(float(value)) for value in values]


def test_counts_inside_and_outside_are_those_of_a_loop(rng: np.random.Generator) -> None:
    seen = scene(rng)
    inside, outside = inside_outside(seen.counts, seen.true, seen.class_ids)
    for slot in range(len(seen.heat)):
        own = seen.mask == seen.class_ids[slot] + 1
        np.testing.assert_array_equal(inside[slot], oracles.level_counts(seen.heat[slot], own))
        np.testing.assert_array_equal(outside[slot], oracles.level_counts(seen.heat[slot], ~own & (seen.mask >= 0)))


def test_counts_are_the_same_where_codes_take_more_than_16_bits(rng: np.random.Generator) -> None:
    mask = rng.permutation(np.repeat(np.arange(-1, 299), 2)).reshape(20, 30).astype(np.int16)
    heat = (rng.integers(0, 17, (2, 20, 30)) / 16).astype(np.float32)
    seen = Scene(heat, mask, np.array([297, 4000]))
    inside, outside = inside_outside(seen.counts, seen.true, seen.class_ids)
    np.testing.assert_array_equal(inside[0], oracles.level_counts(heat[0], mask == 298))
    np.testing.assert_array_equal(outside[0], oracles.level_counts(heat[0], (mask >= 0) & (mask != 298)))
    assert inside[1].sum() == 0  # of a class that the mask has not
    both = seen.confusion(np.ones(2, bool))
    for slot, wins in enumerate((heat[0] >= heat[1], heat[1] > heat[0])):
        for true in (0, 17, 298):
            chosen = (both.predicted == seen.class_ids[slot]) & (both.true == true)
            found = np.bincount(both.map_level[chosen], weights=both.count[chosen], minlength=256)
            np.testing.assert_array_equal(found, oracles.level_counts(heat.max(axis=0), wins & (mask == true)))


def test_an_iou_curve_holds_the_iou_at_each_threshold(rng: np.random.Generator) -> None:
    seen = scene(rng)
    curve = iou_curve(*inside_outside(seen.counts, seen.true, seen.class_ids))
    for slot in range(len(seen.heat)):
        for level in LEVELS_TRIED:
            expected = oracles.iou(seen.heat[slot] >= level / 256, seen.objects[slot], seen.valid)
            assert curve[slot, level] == pytest.approx(expected, nan_ok=True)


def test_an_iou_curve_is_nan_where_neither_object_nor_map_has_a_pixel() -> None:
    outside = np.zeros((1, 256), int)
    outside[0, 10] = 5
    curve = iou_curve(np.zeros((1, 256), int), outside)
    assert (curve[0, :11] == 0).all()
    assert np.isnan(curve[0, 11:]).all()


def test_class_and_mean_iou_are_those_of_a_confusion_matrix_at_each_threshold(rng: np.random.Generator) -> None:
    scenes = [scene(rng, 7 + index, 9, slots=index + 1) for index in range(3)]
    pooled = Confusion.merge([s.confusion(np.ones(len(s.heat), bool)) for s in scenes])
    curves, means = class_iou_curves(pooled, CLASSES), mean_iou_curve(pooled, CLASSES)
    for level in LEVELS_TRIED:
        pairs = [(s.mask, oracles.segment(s.heat, s.class_ids.tolist(), level / 256)) for s in scenes]
        ious = oracles.class_ious(oracles.confusion_matrix(pairs, CLASSES))
        np.testing.assert_allclose(curves[:, level], ious, rtol=1e-12)
        assert means[level] == pytest.approx(np.nanmean(ious))


def test_a_class_that_never_occurs_is_left_out_of_the_mean() -> None:
    one = np.array([1])
    pooled = Confusion(np.array([1]), np.array([2]), np.array([255]), one)
    curves = class_iou_curves(pooled, CLASSES)
    assert np.isnan(curves[[0, 1, 3, 4]]).all()
    assert (mean_iou_curve(pooled, CLASSES) == 1).all()


def test_no_counts_at_all_give_a_mean_of_zero_without_a_warning() -> None:
    assert (mean_iou_curve(Confusion.merge([]), CLASSES) == 0).all()


def test_only_the_chosen_maps_compete_for_pixels(rng: np.random.Generator) -> None:
    seen = scene(rng)
    alone = seen.confusion(np.array([False, True, False]))
    assert set(alone.predicted.tolist()) == {int(seen.class_ids[1])}
    assert alone.count.sum() == seen.valid.sum()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_merging_confusions_pools_their_counts_in_any_grouping(seeds: list[int]) -> None:
    parts = []
    for seed in seeds:
        s = scene(np.random.default_rng(seed), 4, 5, slots=2)
        parts.append(confusion(s.heat, s.class_ids, TrueClasses.of(s.mask)))
    tally: dict[tuple[int, ...], int] = {}
    for part in parts:
        for *key, count in zip(part.predicted, part.true, part.map_level, part.count, strict=True):
            tally[tuple(map(int, key))] = tally.get(tuple(map(int, key)), 0) + int(count)
    for merged in (Confusion.merge(parts), Confusion.merge([Confusion.merge(parts[:1]), Confusion.merge(parts[1:])])):
        keys = zip(merged.predicted.tolist(), merged.true.tolist(), merged.map_level.tolist(), strict=True)
        assert dict(zip(keys, merged.count.tolist(), strict=True)) == tally


def test_a_scene_of_void_alone_counts_nothing() -> None:
    heat = np.ones((1, 2, 2), np.float32)
    seen = Scene(heat, np.full((2, 2), -1, np.int16), np.array([0]))
    assert seen.confusion(np.array([True])).count.sum() == 0
    scores = score(seen)
    assert np.isnan(scores.energy[0])
    assert scores.area[0] == 0
    assert scores.hit[0] is None


def test_energy_is_the_share_of_heat_on_the_object(rng: np.random.Generator) -> None:
    seen = scene(rng)
    found = energy_inside(seen.heat, seen.objects, seen.valid)
    for slot, value in enumerate(found):
        expected = oracles.energy(seen.heat[slot], seen.objects[slot].astype(float), seen.valid.astype(float))
        assert value == pytest.approx(expected)


def test_energy_is_nan_where_all_heat_lies_on_void() -> None:
    heat = np.array([[[1.0, 0.0]]], np.float32)
    valid = np.array([[False, True]])
    assert np.isnan(energy_inside(heat, valid[None], valid)).all()


@pytest.mark.parametrize("tolerance", [0, 1, 2, 5])
def test_pointing_hits_are_those_of_a_loop_over_all_pixels(rng: np.random.Generator, tolerance: int) -> None:
    for _ in range(30):
        mask = np.where(rng.random((9, 8)) < 0.08, 1, np.where(rng.random((9, 8)) < 0.3, -1, 0))
        point = (int(rng.integers(9)), int(rng.integers(8)))
        found = pointing_hit(point, mask == 1, mask >= 0, tolerance)
        assert found is oracles.pointing_hit(point, mask == 1, mask >= 0, tolerance)


def test_pointing_at_void_is_neither_hit_nor_miss_unless_the_object_is_near() -> None:
    mask = np.array([[-1, 0, 1]])
    assert pointing_hit((0, 0), mask == 1, mask >= 0) is None
    assert pointing_hit((0, 0), mask == 1, mask >= 0, tolerance=2) is True
    assert pointing_hit((0, 1), mask == 1, mask >= 0) is False


def test_the_peak_is_the_first_of_several_in_reading_order() -> None:
    assert peak_pixel(np.array([[0, 2], [2, 1]], np.float32)) == (0, 1)


def test_a_scene_is_cut_to_the_pixels_that_were_seen_and_keeps_no_negative_heat(rng: np.random.Generator) -> None:
    maps = rng.random((2, 6, 6)).astype(np.float16) - np.float16(0.5)
    mask = rng.integers(-1, 3, (40, 60)).astype(np.int16)
    seen = Scene.of(maps, View(11, 2, 46, 37), mask, np.array([1, 0]))
    np.testing.assert_array_equal(seen.mask, mask[2:37, 11:46])
    for row, column in np.ndindex(35, 35):
        for slot in range(2):
            value = oracles.bilinear_at(maps[slot], (row + 0.5) / 35 * 6, (column + 0.5) / 35 * 6)
            assert seen.heat[slot, row, column] == pytest.approx(max(value, 0), abs=1e-5)


def test_all_scores_of_a_scene_agree_with_loops(rng: np.random.Generator) -> None:
    seen = scene(rng, 41, 50)
    scores, valid = score(seen), seen.mask >= 0
    for slot, class_id in enumerate(seen.class_ids):
        heat, own = seen.heat[slot], seen.mask == class_id + 1
        energy, area = oracles.energy(heat, own.astype(float), valid.astype(float)), own.sum() / valid.sum()
        found = (scores.area[slot], scores.energy[slot], scores.lift[slot])
        assert found == pytest.approx((area, energy, energy / area))
        curve = [oracles.iou(heat >= level / 256, own, valid) for level in range(256)]
        assert scores.best_iou[slot] == pytest.approx(np.nanmax(curve))
        assert scores.best_map_level[slot] == int(np.nanargmax(curve))


@pytest.mark.parametrize("tolerance", [0, 15])
def test_peak_and_centre_of_a_scene_are_pointed_at(rng: np.random.Generator, tolerance: int) -> None:
    seen = scene(rng, 41, 50)
    seen.mask[rng.random((41, 50)) < 0.97] = 0  # objects far enough apart to miss
    scores, suffix = score(seen), "_15px" if tolerance else ""
    for slot, class_id in enumerate(seen.class_ids):
        for name, point in (("hit", (0, 0)), ("centre_hit", (20, 25))):
            expected = oracles.pointing_hit(point, seen.mask == class_id + 1, seen.mask >= 0, tolerance)
            assert getattr(scores, name + suffix)[slot] is expected


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_auroc_is_the_share_of_pairs_ranked_right(rows: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([float(s) for s, _ in rows]), np.array([p for _, p in rows])
    if positive.all() or not positive.any():
        assert np.isnan(auroc(scores, positive))
        return
    expected = mannwhitneyu(scores[positive], scores[~positive]).statistic / positive.sum() / (~positive).sum()
    assert auroc(scores, positive) == pytest.approx(expected)
    assert auroc(scores, positive) == pytest.approx(oracles.auroc(scores.tolist(), positive.tolist()))


def test_centre_and_peak_hit_an_object_that_lies_under_them() -> None:
    mask = np.zeros((40, 40), np.int16)
    mask[20, 20], mask[0, 14] = 1, 2
    heat = np.zeros((2, 40, 40), np.float32)
    heat[:, 20, 20] = 1
    scores = score(Scene(heat, mask, np.array([0, 1])))
    assert scores.hit.tolist() == scores.centre_hit.tolist() == [True, False]
    heat[:, 0, 0] = 2
    scores = score(Scene(heat, mask, np.array([0, 1])))
    assert (scores.hit.tolist(), scores.hit_15px.tolist()) == ([False, False], [False, True])
    assert scores.centre_hit_15px.tolist() == [True, False]
