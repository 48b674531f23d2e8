"""Where heat lies: cells of the frame, distances, other classes and relevance, against plain loops."""

from __future__ import annotations

from math import hypot

import numpy as np
import pytest

from audit.datasets.manifest import Box
from audit.images.masks import draw_boxes
from audit.images.reading import difference_hash
from audit.images.views import Fit, View
from audit.scores.faithfulness import centre_map
from audit.scores.features import WIDTH, features_of, relevance_by_channel
from audit.scores.placed import GRID, Placed, cell_shares
from audit.scores.placement import by_cell, centre_energy, on_other_classes, peak_distance

WHOLE = View(0, 0, 64, 64)


def place(maps: np.ndarray, mask: np.ndarray | None, view: View = WHOLE, ids: tuple[int, ...] = (0,)) -> Placed:
    size = (64, 64) if mask is None else mask.shape
    return Placed.of(maps, view, mask, np.array(ids), size)


def a_scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A map at the grid's own resolution, and a mask with an object, another class and void."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((64, 64), np.int16)
    mask[10:30, 6:22] = 1
    mask[40:60, 44:62] = 3
    mask[30:32, 6:22] = -1
    return rng.random((1, GRID, GRID)), mask


@pytest.mark.parametrize("seed", range(3))
def test_heat_by_cell_is_what_a_loop_over_the_pixels_adds_up(seed: int) -> None:
    maps, mask = a_scene(seed)
    found = by_cell(place(maps, mask))
    on_heat, off_heat, off_area = np.zeros((3, 8, 8))
    for y in range(64):
        for x in range(64):
            if mask[y, x] >= 0:
                value = maps[0, y // 2, x // 2]
                on_heat[y // 8, x // 8] += value * (mask[y, x] == 1)
                off_heat[y // 8, x // 8] += value * (mask[y, x] != 1)
                off_area[y // 8, x // 8] += mask[y, x] != 1
    total = on_heat.sum() + off_heat.sum()
    np.testing.assert_allclose(found["on_heat"][0], on_heat.ravel() / total, atol=1e-5)
    np.testing.assert_allclose(found["off_heat"][0], off_heat.ravel() / total, atol=1e-5)
    np.testing.assert_allclose(found["off_area"][0], off_area.ravel() / (mask >= 0).sum(), atol=1e-5)


@pytest.mark.parametrize(
    ("grid", "reach"), [((32, 32), (1, 1)), ((7, 7), (5, 5)), ((4, 16), (8, 2)), ((64, 64), (0, 0))]
)
def test_cells_are_clear_where_half_of_them_is_out_of_reach_of_the_object(
    grid: tuple[int, int], reach: tuple[int, int]
) -> None:
    _, mask = a_scene(0)
    found = by_cell(place(np.ones((1, *grid)), mask))["clear"][0].reshape(8, 8)
    on = (mask == 1).reshape(GRID, 2, GRID, 2).any(axis=(1, 3))
    for row in range(8):
        for column in range(8):
            clear = 0.0
            for y in range(4 * row, 4 * row + 4):
                for x in range(4 * column, 4 * column + 4):
                    near = on[max(y - reach[0], 0) : y + reach[0] + 1, max(x - reach[1], 0) : x + reach[1] + 1]
                    clear += (mask[2 * y : 2 * y + 2, 2 * x : 2 * x + 2] >= 0).mean() if not near.any() else 0
            assert found[row, column] == (clear >= 8)


def test_without_an_object_all_of_the_frame_is_clear() -> None:
    assert by_cell(place(np.ones((1, 7, 7)), None))["clear"].all()


def test_without_a_mask_all_heat_counts_as_off_the_object() -> None:
    maps = np.random.default_rng(0).random((2, 7, 7))
    found = by_cell(place(maps, None, ids=(0, 1)))
    assert not found["on_heat"].any()
    np.testing.assert_allclose(found["off_heat"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("mode", ["squash", "crop", "letterbox"])
def test_cells_divide_what_was_seen_of_the_image_however_it_was_fitted(mode: str) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    _, view = Fit(32, mode)(pixels)
    corner = np.zeros((40, 80), np.int16)
    rows, columns = view.inside(40, 80)
    corner[rows.stop - 5 :, columns.stop - (columns.stop - columns.start) // 8 :] = 1
    area = by_cell(Placed.of(np.ones((1, 7, 7)), view, corner, np.array([0]), (40, 80)))["off_area"][0]
    np.testing.assert_allclose(area[:-1], 1 / 64, atol=1e-3)
    assert area[-1] == pytest.approx(0, abs=1e-3)


def test_the_peaks_distance_is_that_to_the_nearest_cell_of_the_object() -> None:
    maps, mask = a_scene(0)
    maps[0] = 0
    maps[0, 25, 28] = 1
    nearest = min(hypot(25 - y, 28 - x) for y in range(5, 15) for x in range(3, 11))
    assert peak_distance(place(maps, mask))[0] == pytest.approx(nearest / hypot(GRID, GRID))
    maps[0, 25, 28], maps[0, 6, 6] = 0, 1
    assert peak_distance(place(maps, mask))[0] == 0
    assert np.isnan(peak_distance(place(maps, mask, ids=(7,)))[0])


def test_the_centres_energy_is_the_energy_of_a_map_of_the_centre() -> None:
    maps, mask = a_scene(1)
    centre = np.kron(centre_map((GRID, GRID)), np.ones((2, 2)))
    expected = centre[mask == 1].sum() / centre[mask >= 0].sum()
    assert centre_energy(place(maps, mask))[0] == pytest.approx(expected, abs=1e-5)


def test_heat_on_other_classes_is_counted_beside_their_area() -> None:
    maps, mask = a_scene(2)
    ((target, other, heat, area),) = on_other_classes(place(maps, mask), np.array([0]))
    pixels = np.kron(maps[0], np.ones((2, 2)))
    assert (target, other) == (0, 2)
    assert heat == pytest.approx(pixels[mask == 3].sum() / pixels[mask >= 0].sum(), abs=1e-5)
    assert area == pytest.approx((mask == 3).sum() / (mask >= 0).sum(), abs=1e-5)


def test_classes_of_one_image_are_context_to_one_another_and_never_to_themselves() -> None:
    maps, mask = a_scene(2)
    placed = place(np.concatenate([maps, maps]), mask, ids=(0, 2))
    assert [row[:2] for row in on_other_classes(placed, np.array([0, 2]))] == [(0, 2), (1, 0)]
    assert on_other_classes(place(maps, np.ones((64, 64), np.int16)), np.array([0])) == []


def test_a_map_without_heat_has_none_on_other_classes() -> None:
    maps, mask = a_scene(2)
    ((_, _, heat, area),) = on_other_classes(place(0 * maps, mask), np.array([0]))
    assert (heat, area > 0) == (0, True)


def test_what_is_off_the_object_and_warm_goes_to_another_grid_as_its_share() -> None:
    maps, mask = a_scene(0)
    maps[maps < 0.4] = 0
    found = place(maps, mask).off_and_warm((4, 8))
    off = (np.kron(maps[0], np.ones((2, 2))) > 0) & (mask >= 0) & (mask != 1)
    np.testing.assert_allclose(found[0], off.reshape(4, 16, 8, 8).mean(axis=(1, 3)), atol=1e-5)


@pytest.mark.parametrize("grid", [(3, 4), (1, 1)])
def test_relevance_is_weight_times_activation_by_channel_over_a_part_at_unit_length(
    grid: tuple[int, int],
) -> None:
    rng = np.random.default_rng(0)
    part, weights, activation = rng.random((2, 3, 4)), rng.standard_normal((2, 5, *grid)), rng.random((5, 3, 4))
    for target, row in enumerate(features_of(relevance_by_channel(part, weights, activation))):
        expected = np.zeros(5)
        for channel in range(5):
            for y in range(3):
                for x in range(4):
                    weight = weights[target, channel, y % grid[0], x % grid[1]]
                    expected[channel] += part[target, y, x] * weight * activation[channel, y, x]
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), rtol=1e-5)
    assert features_of(relevance_by_channel(np.zeros((1, 3, 4)), weights[:1], activation)) == [None]


def test_many_channels_are_projected_and_keep_their_angles() -> None:
    rng = np.random.default_rng(1)
    activation = rng.standard_normal((2048, 1, 30))
    weights = np.ones((30, 2048, 1, 1))
    under = features_of(relevance_by_channel(np.eye(30)[:, None], weights, activation))
    kept = np.stack([row for row in under if row is not None])
    own = activation[:, 0].T / np.linalg.norm(activation[:, 0].T, axis=1, keepdims=True)
    assert kept.shape == (30, WIDTH)
    assert np.abs(kept @ kept.T - own @ own.T).std() < 0.1


def test_boxes_are_drawn_the_smaller_over_the_larger() -> None:
    mask = draw_boxes((Box(1, 2, 2, 4, 4), Box(0, 0.4, -3, 6, 5)), (6, 8), 2)
    expected = np.zeros((6, 8), int)
    expected[:5, :6] = 1
    expected[2:4, 2:4] = 2
    np.testing.assert_array_equal(mask, expected)


def test_a_scaled_brightened_copy_has_the_same_difference_hash_and_another_image_has_not() -> None:
    rng = np.random.default_rng(3)
    image = np.kron(rng.integers(0, 200, (8, 9, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    assert difference_hash(image) == difference_hash(image[::2, ::2] + 10)
    assert difference_hash(image) != difference_hash(image[:, ::-1].copy())


def test_shares_of_cells_of_a_whole_number_of_pixels_are_means() -> None:
    np.testing.assert_allclose(cell_shares(0, 8, 0, 8, 4) @ np.arange(8), [0.5, 2.5, 4.5, 6.5])
