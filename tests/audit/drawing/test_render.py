"""Pictures: colours that rise in lightness, overlays that keep to the view, contours along the edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from audit.drawing.pixels import (
    UNSEEN,
    colour,
    contour,
    draw_contour,
    enlarge,
    overlay,
    resize_mask,
    shrink,
    thumbnail,
    tint,
)
from audit.images.views import View

RNG = np.random.default_rng(5)


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def luminance(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Relative luminance of sRGB (IEC 61966-2-1)."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def neighbours_differ(mask: NDArray[np.bool_], row: int, column: int) -> bool:
    around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    inside = [(r, c) for r, c in around if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1]]
    return any(not mask[place] for place in inside)


def test_more_heat_is_always_lighter_and_the_steps_of_lightness_are_even() -> None:
    lightness = np.cbrt(luminance(colour(np.linspace(0, 1, 256))))
    coarse = np.diff(lightness[::15])
    assert (coarse > 0).all()
    assert coarse.max() < 2 * coarse.min()
    assert lightness[0] < 0.25
    assert lightness[-1] > 0.9


def test_heat_that_is_no_number_or_out_of_range_has_the_colour_of_the_nearest_end() -> None:
    ends = colour(np.array([0.0, 1.0]))
    assert (colour(np.array([-3.0, np.nan])) == ends[0]).all()
    assert (colour(np.array([7.0])) == ends[1]).all()


def test_without_opacity_the_seen_pixels_are_the_image_and_the_rest_is_dimmed() -> None:
    image = picture(6, 10)
    result = overlay(image, np.ones((2, 2)), View(2.0, 0.0, 8.0, 6.0), 0.0)
    assert (result[:, 2:8] == image[:, 2:8]).all()
    dimmed = np.rint(image * np.float32(UNSEEN))
    assert (result[:, :2] == dimmed[:, :2]).all()
    assert (result[:, 8:] == dimmed[:, 8:]).all()


def test_an_overlay_mixes_image_and_colour_pixel_by_pixel() -> None:
    image, heat = picture(4, 4), RNG.random((4, 4))
    result = overlay(image, heat, View(0.0, 0.0, 4.0, 4.0), 0.25)
    for row, column, channel in np.ndindex(4, 4, 3):
        mixed = 0.75 * image[row, column, channel] + 0.25 * colour(heat[row, column])[channel]
        assert result[row, column, channel] == pytest.approx(mixed, abs=1)


def test_a_hot_cell_is_lightest_where_it_lies_in_the_image() -> None:
    heat = np.zeros((5, 5))
    heat[1, 3] = 1
    result = overlay(np.zeros((50, 50, 3), np.uint8), heat, View(0.0, 0.0, 50.0, 50.0), 1.0)
    assert np.unravel_index(luminance(result).argmax(), (50, 50)) in {(r, c) for r in (14, 15) for c in (34, 35)}


def test_opacity_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `opacity` between 0 and 1, got 1\.5"):
        overlay(picture(2, 2), np.ones((1, 1)), View(0.0, 0.0, 2.0, 2.0), 1.5)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 9))
def test_the_contour_is_the_masks_pixels_beside_a_pixel_outside(seed: int, height: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.6
    expected = [[bool(mask[r, c]) and neighbours_differ(mask, r, c) for c in range(width)] for r in range(height)]
    assert contour(mask).tolist() == expected


def test_a_contour_of_nothing_or_of_everything_draws_nothing() -> None:
    image = picture(8, 8)
    for mask in (np.zeros((8, 8), bool), np.ones((8, 8), bool)):
        assert (draw_contour(image, mask) == image).all()


@pytest.mark.parametrize(("width", "reach"), [(1, 0), (3, 1), (5, 2)])
def test_a_contour_is_as_wide_as_asked_and_leaves_the_image_as_it_was(width: int, reach: int) -> None:
    image, mask = np.full((21, 21, 3), 255, np.uint8), np.zeros((21, 21), bool)
    mask[:, 10:] = True
    drawn = draw_contour(image, mask, (255, 0, 0), width)
    red = (drawn[10] == (255, 0, 0)).all(axis=-1)
    assert np.flatnonzero(red).tolist() == list(range(10 - reach, 11 + reach))
    assert (image == 255).all()


def test_a_contour_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `width` of at least 1 pixel"):
        draw_contour(picture(3, 3), np.ones((3, 3), bool), width=0)


def test_a_tint_colours_the_mask_and_darkens_the_rest() -> None:
    image, mask = np.full((1, 2, 3), 100, np.uint8), np.array([[True, False]])
    assert tint(image, mask, (200, 0, 50)).tolist() == [[[150, 50, 75], [50, 50, 50]]]


@pytest.mark.parametrize(("size", "expected"), [((300, 400), (90, 120)), ((40, 20), (40, 20)), ((1, 1000), (1, 120))])
def test_shrinking_keeps_the_shape_and_never_enlarges(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrink(picture(*size), 120).shape == (*expected, 3)


def test_enlarging_repeats_every_pixel() -> None:
    image = picture(3, 4)
    large = enlarge(image, 5)
    assert large.shape == (15, 20, 3)
    assert all((large[row, column] == image[row // 5, column // 5]).all() for row, column in np.ndindex(15, 20))


def test_a_small_image_fills_its_thumbnail_as_far_as_whole_pixels_go() -> None:
    result = thumbnail(np.zeros((10, 10, 3), np.uint8), None, View(0.0, 0.0, 10.0, 10.0), None, (35, 50))
    assert (result == (0, 0, 0, 255)).all(axis=-1).sum() == (result[..., 3] > 0).sum() == 30 * 30


def test_a_mask_keeps_its_share_when_resized() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 15:45] = True
    small = resize_mask(mask, 8, 12)
    assert small.mean() == mask.mean()
    assert small[2:6, 3:9].all()


@pytest.mark.parametrize("size", [(30, 500), (500, 30), (37, 53), (1, 1)])
def test_a_thumbnail_has_the_size_asked_for_whatever_the_image(size: tuple[int, int]) -> None:
    view = View(0.0, 0.0, float(size[1]), float(size[0]))
    result = thumbnail(picture(*size), np.ones((3, 3)), view, np.ones(size, bool), (60, 80))
    assert result.shape == (60, 80, 4)


def test_a_thumbnail_without_map_and_mask_is_the_image_alone_on_its_ground() -> None:
    image = np.zeros((100, 50, 3), np.uint8)
    result = thumbnail(image, None, View(0.0, 0.0, 50.0, 100.0), None, (20, 30))
    assert (result[:, 10:20] == (0, 0, 0, 255)).all()
    assert (result[:, :10, 3] == 0).all()
    assert (result[:, 20:, 3] == 0).all()
