"""Regions, fills, matching and what they say, against loops and by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import oracles
import pandas as pd
import pytest
from numpy.typing import NDArray

from audit.images.views import View
from audit.interventions import outcomes, removals, suspects
from audit.interventions.outcomes import Drops, decide, target_outcomes
from audit.interventions.removals import (
    DRAWS,
    FILLS,
    Changed,
    at_input,
    beside,
    change,
    elsewhere,
    focus_region,
    hot_region,
    mask_at_input,
    object_with_rim,
    without,
)
from audit.interventions.suspects import match_controls, spread
from audit.interventions.tried import Arms, Tried
from audit.wording import percent

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


@pytest.mark.parametrize(("low", "high"), [(0.0, 10.0), (2.6, 7.1), (-3.4, 13.7), (0.3, 0.9)])
def test_the_value_at_an_input_is_that_under_its_centre(low: float, high: float) -> None:
    mask = np.arange(1, 101, dtype=np.int16).reshape(10, 10)
    found = mask_at_input(mask, View(low, 0.0, high, 10.0), 7)
    for row in range(7):
        for column in range(7):
            y, x = math.floor((row + 0.5) * 10 / 7), math.floor(low + (column + 0.5) * (high - low) / 7)
            assert found[row, column] == (mask[y, x] if 0 <= x < 10 else 0)


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
    assert lengths(made) == {
        **{"hot": 1, "random": DRAWS, "object": 1, "focus": 0, "beside": 0},
        **{"patterns": 5, "colours": 4},
    }
    for changed, other in zip(made.patterns[1:], others, strict=True):
        np.testing.assert_array_equal(changed[:, kept], image[:, kept])
        shift = image[:, ~kept].mean(axis=1) - other.reshape(3, -1).mean(axis=1)
        np.testing.assert_allclose(changed[:, ~kept], other[:, ~kept] + shift[:, None], atol=1e-5)
    grain = made.patterns[0]
    np.testing.assert_array_equal(grain[:, kept], image[:, kept])
    np.testing.assert_allclose(grain[:, ~kept].mean(axis=1), image[:, ~kept].mean(axis=1), atol=0.05)
    assert 0.25 < grain[:, ~kept].std(axis=1).mean() < 0.35
    for changed, other in zip(made.colours, others, strict=True):
        np.testing.assert_array_equal(changed[:, kept], image[:, kept])
        moved = changed[:, ~kept] - image[:, ~kept]
        np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1], moved.shape), atol=1e-5)
        np.testing.assert_allclose(changed[:, ~kept].mean(axis=1), other.reshape(3, -1).mean(axis=1), atol=1e-5)
    changed = (made.object[0] != image).any(axis=0)
    np.testing.assert_array_equal(changed, kept)
    count = len(list(made.inputs()))
    drops = made.drops(0.9, np.arange(count) / 100)
    assert drops.hot.tolist() == [0.9]
    assert drops.colours == pytest.approx(0.9 - np.arange(count - len(others), count) / 100)


def lengths(made: Changed) -> dict[str, int]:
    return {name: len(inputs) for name, inputs in vars(made).items()}


def test_where_no_object_is_known_only_the_hot_region_is_held_against_random_ones(rng: np.random.Generator) -> None:
    heat = np.where(block(slice(18, 21), slice(18, 22)), 1.0, 0.1)
    made = change(image_of(rng), heat, None, [], "patch", rng)
    assert {name: count for name, count in lengths(made).items() if count} == {"hot": 1, "random": DRAWS}
    drops = made.drops(0.9, np.array([0.1, 0.9, 0.9]))
    assert drops.reliance == pytest.approx(0.8 / 0.9)
    assert np.isnan(drops.mean("object"))
    nothing = change(image_of(rng), np.zeros((SIDE, SIDE)), None, [], "blur", rng).drops(0.9, np.empty(0))
    assert np.isnan(nothing.reliance)


def test_an_object_that_fills_the_view_has_no_background_to_change(rng: np.random.Generator) -> None:
    made = change(image_of(rng), np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE), bool), [image_of(rng)], "mean", rng)
    assert (made.hot, made.random, made.patterns, made.colours) == ([], [], [], [])


def test_the_hottest_region_is_tried_where_it_takes_some_of_the_object() -> None:
    kept = block(slice(4, 20), slice(4, 20))
    across, off = block(slice(16, 18), slice(0, SIDE)), block(slice(0, 3), slice(0, 3))
    np.testing.assert_array_equal(focus_region(np.where(across, 1.0, 0.2), kept), across)
    assert not focus_region(np.where(off, 1.0, 0.2), kept).any()
    assert not focus_region(np.zeros((SIDE, SIDE)), kept).any()


@pytest.mark.parametrize("seed", range(3))
def test_beside_it_as_much_of_the_object_is_taken_in_another_place(seed: int) -> None:
    kept, line = block(slice(4, 20), slice(4, 20)), block(slice(16, 18), slice(0, SIDE))
    found = beside(line, kept, np.random.default_rng(seed))
    assert len(found) == DRAWS
    for region in found:
        assert region.sum() == line.sum()
        assert abs(int((region & kept).sum()) - 32) <= 8
        assert (region & line).sum() <= line.sum() / 4
    assert beside(kept, kept, np.random.default_rng(seed)) == []


def test_another_place_takes_as_much_of_the_object_within_a_quarter() -> None:
    line = block(slice(4, 5), slice(0, 20))
    for taken, count in ((15, DRAWS), (14, 0)):
        kept = line | block(slice(14, 15), slice(0, taken))
        found = [region for region in beside(line, kept, np.random.default_rng(0)) if not (region & line).any()]
        assert len(found) == count
        assert all((region & kept).sum() == taken for region in found)


def test_the_patch_is_the_first_other_image_or_without_any_the_image_half_a_turn_on(rng: np.random.Generator) -> None:
    image, heat = image_of(rng), np.where(block(slice(18, 21), slice(18, 22)), 1.0, 0.1)
    (hot,) = change(image, heat, block(slice(2, 12), slice(2, 12)), [], "patch", rng).hot
    np.testing.assert_array_equal(hot[:, 18:21, 18:22], image[:, 6:9, 6:10])
    first, second = image_of(rng), image_of(rng)
    (hot,) = change(image, heat, block(slice(2, 12), slice(2, 12)), [first, second], "patch", rng).hot
    np.testing.assert_array_equal(hot[:, 18:21, 18:22], first[:, 18:21, 18:22])


def drops_of(
    patterns: list[float],
    hot: float = 0.0,
    random: float = 0.0,
    colours: tuple[float, ...] = (0.0,) * 4,
    p: float = 1.0,
) -> Drops:
    none = np.empty(0)
    values = (np.array([hot]), np.array([random] * 2), np.array([0.9]), none, none)
    return Drops(p, *values, np.array(patterns), np.array(colours))


@pytest.mark.parametrize(
    ("drops", "reliance"),
    [
        (drops_of([0.9, 0.8, 0.7, 0.6]), 0.7),
        (drops_of([0.9, 0.0, 0.7, 0.8]), 0.7),
        (drops_of([0.9, 0.8, 0.0, 0.1]), 0.1),
        (drops_of([0.9, 0.8, 0.7]), 0.0),
        (drops_of([0.0] * 4, colours=(0.9, 0.7, 0.1, 0.8, 0.2)), 0.7),
        (drops_of([0.0] * 4, colours=(0.8, 0.7, 0.9)), 0.0),
        (drops_of([0.0] * 4, hot=0.9, random=0.2), 0.7),
        (drops_of([0.0] * 4, hot=0.3, random=-0.2), 0.3),
        (drops_of([-0.2, -0.1, -0.1, 0.0], hot=-0.3, colours=()), -0.1),
        (drops_of([0.45] * 4, p=0.6), 0.75),
        (drops_of([0.01] * 4, p=0.02), 0.02),
    ],
)
def test_the_kindest_change_but_one_decides_as_a_share_of_the_probability(drops: Drops, reliance: float) -> None:
    assert drops.reliance == pytest.approx(reliance)


def test_what_the_hottest_part_of_the_object_does_is_less_what_another_part_does() -> None:
    none, swaps = np.empty(0), np.zeros(4)
    both = Drops(0.9, none, none, none, np.array([0.7]), np.array([0.1, 0.3]), swaps, swaps)
    assert both.foreign == pytest.approx(0.5)
    assert Drops(0.9, none, none, none, np.array([0.7]), none, swaps, swaps).foreign == pytest.approx(0.7)
    assert np.isnan(drops_of([0.0] * 4).foreign)


def effects_of(class_id: int, arm: str, reliance: Sequence[float], **columns: object) -> pd.DataFrame:
    """Rows of targets whose every other change did nothing but the object's."""
    table = pd.DataFrame({"class_id": class_id, "arm": arm, "reliance": np.asarray(reliance, float)})
    plain = {"probability": 1.0, "object": 0.9, "foreign": np.nan, "background": 0.0, "colour": 0.0}
    return table.assign(**(plain | columns))


def said(*effects: pd.DataFrame, accused: tuple[int, ...] = ()) -> list[str]:
    return target_outcomes(Tried(pd.concat(effects, ignore_index=True), []), accused)


def test_an_image_is_confirmed_where_flagged_images_rely_more_than_others_of_the_class() -> None:
    flagged, controls = [0.9] * 8 + [0.0], [0.0] * 7 + [0.8]
    found = said(effects_of(3, "flagged", flagged), effects_of(3, "control", controls))
    assert found == ["confirmed"] * 8 + ["refuted"] + ["refuted"] * 7 + ["inconclusive"]


def test_where_others_of_the_class_rely_as_much_both_need_their_context() -> None:
    found = said(effects_of(3, "flagged", [0.7, 0.8, 0.75]), effects_of(3, "control", [0.72] * 6))
    assert found == ["needs context"] * 9
    just = said(effects_of(3, "flagged", [0.5] * 3), effects_of(3, "control", [0.5] * 6))
    assert just == ["needs context"] * 9


def test_an_image_is_held_against_classes_that_nothing_is_found_about_where_its_own_has_no_others() -> None:
    flagged, elsewhere = effects_of(3, "flagged", [0.9]), effects_of(1, "control", np.linspace(0, 0.1, 20))
    assert said(flagged, elsewhere)[0] == "confirmed"
    assert said(flagged, elsewhere, accused=(1,))[0] == "inconclusive"
    assert said(flagged, effects_of(1, "control", np.linspace(0, 0.1, 10)))[0] == "inconclusive"
    assert said(flagged) == ["inconclusive"]


@pytest.mark.parametrize(
    "columns",
    [{"object": 0.1}, {"object": np.nan}, {"foreign": 0.4}, {"background": np.nan}, {"colour": np.nan}],
    ids=["stays without the object", "no object known", "a mark on it", "no other backgrounds", "no other colours"],
)
def test_an_image_is_refuted_only_where_all_was_tried_and_the_object_matters(columns: dict[str, float]) -> None:
    assert said(effects_of(0, "flagged", [0.05])) == ["refuted"]
    assert said(effects_of(0, "flagged", [0.05], **columns)) == ["inconclusive"]


@pytest.mark.parametrize("shape", [(0.3, 0.3), (2, 0.7), (0.3, 3)], ids=["some", "most", "few"])
def test_images_that_rely_as_others_do_are_said_to_rely_more_at_most_at_the_level(
    shape: tuple[float, float], rng: np.random.Generator
) -> None:
    """Whatever a class does on other backgrounds, as buses off their road, and whichever of its images are flagged."""
    sizes = rng.integers(5, 40, (400, 2))
    found = [outcomes._rely_more(rng.beta(*shape, flagged), rng.beta(*shape, others)) for flagged, others in sizes]
    assert np.mean(found) <= 0.06


def arms_of(
    reliance: Sequence[float], controls: Sequence[float] = (), unaccused: Sequence[float] = (), **other: float
) -> Arms:
    flagged = np.asarray(reliance, float)
    possible, object_share = (
        np.full(len(flagged), value) for value in (other.get("possible", 0), other.get("object", 0.9))
    )
    own, others = np.asarray(controls, float), np.asarray(unaccused, float)
    known = np.full(len(flagged), other.get("known", 1) > 0)
    return Arms(flagged, np.fmax(flagged, possible), object_share, known, own, own, others)


@pytest.mark.parametrize(
    ("arms", "outcome"),
    [
        (arms_of([0.9] * 8 + [0.1] * 2, [0.0] * 10), "confirmed"),
        (arms_of([0.9] * 8 + [0.1] * 2), "inconclusive"),
        (arms_of([0.9] * 8 + [0.1] * 2, [0.9] * 10), "confirmed"),
        (arms_of([0.05] * 20, [0.0] * 10), "refuted"),
        (arms_of([0.05] * 20, [0.0] * 10, object=0.1), "inconclusive"),
        (arms_of([0.05] * 20, [0.0] * 10, object=0.25), "refuted"),
        (arms_of([0.25] * 20, [0.0] * 10), "inconclusive"),
        (arms_of([0.05] * 20, [0.0] * 10, possible=0.5), "inconclusive"),
        (arms_of([0.9] * 4, [0.0] * 4), "inconclusive"),
        (arms_of([0.0] * 4, [0.0] * 4), "inconclusive"),
        (arms_of([0.95] * 9 + [0.0] * 11, [0.0] * 5), "inconclusive"),
    ],
)
def test_a_finding_is_confirmed_where_most_targets_rely(arms: Arms, outcome: str) -> None:
    found = decide("class:disc", arms, "disc")
    assert found.outcome == outcome
    assert (found.targets, found.controls) == (len(arms.reliance), len(arms.controls))
    assert found.effect == pytest.approx(np.mean(arms.reliance))
    assert found.object_effect == pytest.approx(np.mean(arms.object_share))
    assert f"p(disc) falls by {percent(float(np.mean(arms.reliance)))} [" in found.says


def test_what_the_interventions_do_to_any_class_confirms_nothing() -> None:
    reliance = [0.9] * 8 + [0.1] * 2
    assert decide("class:disc", arms_of(reliance, unaccused=[0.1] * 8), "disc").outcome == "confirmed"
    assert decide("class:disc", arms_of(reliance, unaccused=[0.85] * 8), "disc").outcome == "inconclusive"


def test_without_anything_to_compare_with_nothing_is_confirmed_and_that_is_said() -> None:
    alone, own = arms_of([0.9] * 8), arms_of([0.9] * 8, [0.0] * 3)
    unsure, compared, others = (
        decide("class:disc", alone, "disc"),
        decide("class:disc", own, "disc"),
        decide("class:disc", arms_of([0.9] * 8, unaccused=[0.1] * 3), "disc"),
    )
    assert unsure.outcome == "inconclusive"
    assert unsure.says.endswith("is the cause. There were no controls to compare with.")
    assert compared.outcome == "confirmed"
    few = "is the cause. There were fewer than 5 controls of classes without a claim to compare with."
    assert compared.says.endswith(few)
    assert others.outcome == "confirmed"
    assert others.says.endswith(few)
    assert decide("class:disc", arms_of([0.0] * 8), "disc").outcome == "refuted"


def test_where_no_object_is_known_what_is_hot_may_be_it() -> None:
    unknown = decide("spot:person", arms_of([0.9] * 8, [0.0] * 8, [0.0] * 8, known=0), "person")
    assert unknown.outcome == "inconclusive"
    assert unknown.says.endswith("What the object is was not known, and what is hot may be it.")


def test_a_single_control_of_another_class_neither_confirms_nor_acquits() -> None:
    found = [decide("class:disc", arms_of([0.9] * 8, [0.1] * 3, [0.0] * count), "disc").outcome for count in (0, 1, 4)]
    assert found == ["confirmed"] * 3


def test_a_sentence_says_what_was_measured() -> None:
    says = decide("class:disc", arms_of([0.61] * 6, [0.03] * 5), "disc").says
    assert says == (
        "Without its background p(disc) falls by 61 % [61 %, 61 %] on average in the 6 most severe flagged images, "
        "by 3 % in 5 controls: the background is the cause. There were fewer than 5 controls of classes without a "
        "claim to compare with."
    )
    says = decide("class:disc", arms_of([0.02] * 6, [0.03] * 5), "disc").says
    assert says == (
        "Without its background p(disc) falls by 2 % [2 %, 2 %] on average in the 6 most severe flagged images, "
        "by 3 % in 5 controls, and without the object by 90 %: the background is not the cause."
    )
    says = decide("class:disc", arms_of([0.02] * 6, possible=0.5), "disc").says
    assert says.endswith("whether the background is the cause. Not all that may hold a cue could be taken away.")
    assert decide("class:disc", arms_of([]), None).outcome == "inconclusive"


def test_the_excess_over_others_of_the_class_is_given_with_its_interval() -> None:
    reliance, unflagged = [0.9, 0.8, 0.7, 0.9, 0.8, 0.85], [0.1, 0.0, 0.3, 0.2, 0.1]
    found = decide("class:disc", arms_of(reliance, unflagged), "disc")
    assert found.excess == pytest.approx(np.mean(reliance) - np.mean(unflagged))
    assert found.excess_low is not None
    assert found.excess_high is not None
    assert 0.5 < found.excess_low < found.excess < found.excess_high < 0.9
    assert np.isnan(decide("class:disc", arms_of(reliance, unflagged[:4]), "disc").excess)


def test_a_class_that_relies_whether_flagged_or_not_is_said_to_need_its_context() -> None:
    flagged, unflagged = [0.8, 0.7, 0.9, 0.75, 0.8], [0.8, 0.7, 0.85, 0.75, 0.9]
    water = decide("class:boat", arms_of(flagged, unflagged, [0.1] * 5), "boat")
    assert water.outcome == "confirmed"
    assert water.says.endswith("rely on it as well: the class needs its context.")
    mark = decide("class:disc", arms_of(flagged, [0.1] * 5, [0.1] * 5), "disc")
    assert mark.says.endswith("the background is the cause.")


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
