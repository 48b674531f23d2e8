"""Regions, fills, matching and what they say, against loops and by hand."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from numpy.typing import NDArray

from audit.images.views import View
from audit.interventions import removals, suspects
from audit.interventions.outcomes import Drops, decide, outcome
from audit.interventions.removals import (
    FILLS,
    at_input,
    change,
    elsewhere,
    hot_region,
    object_with_rim,
    without,
)
from audit.interventions.suspects import match_controls, spread

SIDE = 24


def block(rows: slice, columns: slice, side: int = SIDE) -> NDArray[np.bool_]:
    region = np.zeros((side, side), bool)
    region[rows, columns] = True
    return region


def image_of(rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.normal(size=(3, SIDE, SIDE)).astype(np.float32)


def test_the_object_takes_the_void_around_it_along_and_no_other() -> None:
    mask = np.zeros((9, 12), np.int16)
    mask[2:7, 1:6] = -1
    mask[3:6, 2:5] = 2
    mask[2:7, 8:11] = -1
    mask[3:6, 9] = 1
    found = object_with_rim(mask, 1)
    for place in np.ndindex(*mask.shape):
        assert found[place] == (2 <= place[0] < 7 and 1 <= place[1] < 6)
    assert not object_with_rim(mask, 7).any()


def test_the_input_shows_the_pixel_under_each_centre_and_nothing_beyond_the_image(rng: np.random.Generator) -> None:
    pixels = rng.random((10, 16)) < 0.5
    view = View(-3.0, -2.0, 17.0, 12.0)
    found = at_input(pixels, view, 7)
    for i, j in np.ndindex(7, 7):
        y, x = int(np.floor(-2 + (i + 0.5) * 14 / 7)), int(np.floor(-3 + (j + 0.5) * 20 / 7))
        inside = 0 <= y < 10 and 0 <= x < 16
        assert found[i, j] == (inside and pixels[y, x])


def test_the_hot_region_is_half_of_the_peak_off_the_object(rng: np.random.Generator) -> None:
    heat, kept = rng.random((SIDE, SIDE)), rng.random((SIDE, SIDE)) < 0.4
    heat[kept] *= 3
    found = hot_region(heat, kept)
    peak = max(heat[place] for place in np.ndindex(*heat.shape) if not kept[place])
    for place in np.ndindex(*heat.shape):
        assert found[place] == (not kept[place] and heat[place] >= peak / 2)


def test_without_heat_off_the_object_there_is_no_hot_region() -> None:
    kept = block(slice(3, 9), slice(3, 9))
    assert not hot_region(np.where(kept, 1.0, 0.0), kept).any()
    assert not hot_region(np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE), bool)).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_random_region_is_the_hot_one_rolled_off_what_is_kept(seed: int) -> None:
    region, kept = block(slice(18, 22), slice(1, 6)), block(slice(4, 16), slice(6, 18))
    region[18, 1] = False
    found = elsewhere(region, kept, np.random.default_rng(seed))
    assert found.sum() == region.sum()
    assert not (found & kept).any()
    assert (found & region).sum() <= region.sum() / 4
    rolls = (np.roll(region, shift, (0, 1)) for shift in np.ndindex(SIDE, SIDE))
    assert any((found == rolled).all() for rolled in rolls)


def test_overlaps_at_all_shifts_are_those_of_rolling(rng: np.random.Generator) -> None:
    region, other = rng.random((6, 6)) < 0.3, rng.random((6, 6)) < 0.5
    found = removals._overlaps(region, other)
    for shift in np.ndindex(6, 6):
        assert found[shift] == (np.roll(region, shift, (0, 1)) & other).sum()


def test_a_region_that_fits_nowhere_else_keeps_its_area_off_what_is_kept(rng: np.random.Generator) -> None:
    kept = ~block(slice(0, 5), slice(0, SIDE))
    region = block(slice(0, 4), slice(0, 20))
    found = elsewhere(region, kept, rng)
    assert found.sum() == region.sum()
    assert not (found & kept).any()


@pytest.mark.parametrize("fill", FILLS)
def test_a_fill_changes_the_region_and_nothing_else(fill: str, rng: np.random.Generator) -> None:
    image, region = image_of(rng), block(slice(5, 12), slice(3, 9))
    found = without(image, region, fill, image_of(rng), rng)
    np.testing.assert_array_equal(found[:, ~region], image[:, ~region])
    assert (found[:, region] != image[:, region]).mean() > 0.99
    assert without(image, np.zeros_like(region), fill, image, rng) is image


def test_the_mean_is_that_of_the_ring_around_the_region(rng: np.random.Generator) -> None:
    image, region = image_of(rng), block(slice(8, 12), slice(8, 12))
    found = without(image, region, "mean", image, rng)
    steps, ring = round(SIDE / 10), []
    for y, x in np.ndindex(SIDE, SIDE):
        far = max(8 - y, y - 11, 0) + max(8 - x, x - 11, 0)
        if 0 < far <= steps:
            ring.append(image[:, y, x])
    np.testing.assert_allclose(found[:, 9, 9], np.mean(ring, axis=0), rtol=1e-5)


def test_the_patch_is_the_other_image_and_the_blur_a_gaussian_of_a_tenth(rng: np.random.Generator) -> None:
    image, other, region = image_of(rng), image_of(rng), block(slice(5, 12), slice(3, 9))
    patched = without(image, region, "patch", other, rng)
    np.testing.assert_array_equal(patched[:, region], other[:, region])
    blurred = without(image, region, "blur", other, rng)
    expected = oracles.gaussian_blur(image, SIDE / 10)
    np.testing.assert_allclose(blurred[:, region], expected[:, region], atol=1e-4)


def test_an_unknown_fill_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="--fill to be one of inpaint, blur, mean, patch, got 'grey'"):
        without(image_of(rng), block(slice(1, 2), slice(1, 2)), "grey", image_of(rng), rng)


def test_changes_keep_the_object_on_other_backgrounds_and_take_it_from_its_own(rng: np.random.Generator) -> None:
    image, kept = image_of(rng), block(slice(4, 12), slice(4, 12))
    heat = np.where(block(slice(18, 21), slice(18, 22)), 1.0, 0.1)
    others = [image_of(rng) for _ in range(4)]
    made = change(image, heat, kept, others, "mean", rng)
    assert [len(own) for own in (made.hot, made.random, made.object, made.swaps)] == [1, 3, 1, 4]
    for background, other in zip(made.swaps, others, strict=True):
        np.testing.assert_array_equal(background[:, kept], image[:, kept])
        shift = image[:, ~kept].mean(axis=1) - other.reshape(3, -1).mean(axis=1)
        np.testing.assert_allclose(background[:, ~kept], other[:, ~kept] + shift[:, None], atol=1e-5)
    changed = (made.object[0] != image).any(axis=0)
    np.testing.assert_array_equal(changed, kept)
    assert len(list(made.inputs())) == 9
    drops = made.drops(0.9, np.arange(9) / 10)
    assert drops.hot.tolist() == [0.9]
    assert drops.swaps == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_where_no_object_is_known_only_the_hot_region_is_held_against_random_ones(rng: np.random.Generator) -> None:
    heat = np.where(block(slice(18, 21), slice(18, 22)), 1.0, 0.1)
    made = change(image_of(rng), heat, None, [], "patch", rng)
    assert (len(made.hot), len(made.random), made.object, made.swaps) == (1, 3, [], [])
    drops = made.drops(0.9, np.array([0.1, 0.9, 0.9, 0.9]))
    assert drops.reliance == pytest.approx(0.8)
    assert np.isnan(drops.mean("object"))
    nothing = change(image_of(rng), np.zeros((SIDE, SIDE)), None, [], "blur", rng).drops(0.9, np.empty(0))
    assert np.isnan(nothing.reliance)
    assert outcome(nothing) == "inconclusive"


def test_an_object_that_fills_the_view_has_no_background_to_change(rng: np.random.Generator) -> None:
    made = change(image_of(rng), np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE), bool), [image_of(rng)], "mean", rng)
    assert (made.hot, made.random, made.swaps) == ([], [], [])


def drops_of(others: list[float], hot: float = 0.0, random: float = 0.0, without_object: float = 0.9) -> Drops:
    draws = np.array([random] * 3)
    return Drops(0.95, np.array([hot]), draws, np.array([without_object]), np.array(others))


@pytest.mark.parametrize(
    ("drops", "reliance", "said"),
    [
        (drops_of([0.9, 0.8, 0.7, 0.6]), 0.7, "confirmed"),
        (drops_of([0.9, 0.0, 0.7, 0.8]), 0.7, "confirmed"),
        (drops_of([0.9, 0.8, 0.0, 0.1]), 0.1, "refuted"),
        (drops_of([0.9, 0.8, 0.7]), 0.0, "inconclusive"),
        (drops_of([0.0] * 4, hot=0.9, random=0.2), 0.7, "confirmed"),
        (drops_of([0.0] * 4, hot=0.3, random=-0.2), 0.3, "inconclusive"),
        (drops_of([0.0] * 4, without_object=0.1), 0.0, "inconclusive"),
        (drops_of([-0.2, -0.1, -0.1, 0.0], hot=-0.3), -0.1, "refuted"),
    ],
)
def test_the_kindest_backgrounds_but_one_and_the_hot_region_decide(drops: Drops, reliance: float, said: str) -> None:
    assert drops.reliance == pytest.approx(reliance)
    assert outcome(drops) == said


@pytest.mark.parametrize(
    ("reliance", "control", "said"),
    [
        ([0.9] * 8 + [0.1] * 2, [0.0] * 10, "confirmed"),
        ([0.9] * 8 + [0.1] * 2, [], "inconclusive"),
        ([0.9] * 8 + [0.1] * 2, [0.9] * 10, "confirmed"),
        ([0.05] * 20, [0.0] * 10, "refuted"),
        ([0.9] * 4, [0.0] * 4, "inconclusive"),
        ([0.95] * 9 + [0.0] * 11, [0.0] * 5, "inconclusive"),
    ],
)
def test_a_finding_is_confirmed_where_most_targets_rely(reliance: list[float], control: list[float], said: str) -> None:
    found = decide("class:disc", np.array(reliance), np.array(control), "disc")
    assert found.outcome == said
    assert (found.targets, found.controls) == (len(reliance), len(control))
    assert found.effect == pytest.approx(np.mean(reliance))
    assert f"p(disc) falls by {np.mean(reliance):.2f} [" in found.says


def test_what_the_interventions_do_to_any_class_confirms_nothing() -> None:
    reliance = np.array([0.9] * 8 + [0.1] * 2)
    assert decide("class:disc", reliance, np.empty(0), "disc", floor=0.1).outcome == "confirmed"
    assert decide("class:disc", reliance, np.empty(0), "disc", floor=0.7).outcome == "inconclusive"


def test_without_anything_to_compare_with_nothing_is_confirmed_and_that_is_said() -> None:
    reliance, none = np.full(8, 0.9), np.empty(0)
    alone, own = decide("class:disc", reliance, none, "disc"), decide("class:disc", reliance, np.zeros(3), "disc")
    others = decide("class:disc", reliance, none, "disc", floor=0.1)
    assert alone.outcome == "inconclusive"
    assert alone.says.endswith("is the cause. There were no controls to compare with.")
    assert own.outcome == "confirmed"
    assert own.says.endswith("is the cause. There was no class without a claim to compare with.")
    assert others.outcome == "confirmed"
    assert others.says.endswith("the background is the cause.")
    assert decide("class:disc", np.zeros(8), none, "disc").outcome == "refuted"


def test_a_sentence_says_what_was_measured() -> None:
    says = decide("class:disc", np.full(6, 0.61), np.full(5, 0.03), "disc").says
    assert says == (
        "Without its background p(disc) falls by 0.61 [0.61, 0.61] on average in the 6 most severe flagged images, "
        "by 0.03 in 5 controls: the background is the cause. There was no class without a claim to compare with."
    )
    assert decide("class:disc", np.empty(0), np.empty(0), None).outcome == "inconclusive"


def test_the_worst_and_the_second_of_every_class_come_before_the_third_of_any() -> None:
    class_id = np.array([0, 0, 0, 0, 1, 2, 2])
    severity = np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.5, 0.65])
    assert spread(class_id, severity, 3).tolist() == [0, 6, 4]
    assert spread(class_id, severity, 5).tolist() == [0, 1, 6, 5, 4]
    assert spread(class_id, severity, 100).tolist() == [0, 1, 2, 6, 3, 5, 4]


def test_controls_are_matched_as_a_plain_search_would(rng: np.random.Generator) -> None:
    class_id, probability = rng.integers(0, 3, 80), rng.random(80)
    drawn, free = np.arange(0, 20), np.arange(80) >= 20
    expected, used = [], set()
    for target in drawn:
        best, key = -1, (2, 2.0)
        for other in np.flatnonzero(free):
            same_band = suspects._band(probability[other]) == suspects._band(probability[target])
            if other in used or not same_band:
                continue
            offer = (int(class_id[other] != class_id[target]), abs(probability[other] - probability[target]))
            if offer < key:
                best, key = int(other), offer
        used.add(best)
        expected.append(best)
    assert match_controls(class_id, probability, drawn, free).tolist() == expected


def test_a_target_alone_in_its_band_has_no_control() -> None:
    found = match_controls(np.zeros(3, int), np.array([0.99, 0.6, 0.2]), np.array([0]), np.array([False, True, True]))
    assert found.tolist() == [-1]
