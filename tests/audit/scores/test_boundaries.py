"""Boundary IoU and boundary F against the authors' formulas in plain loops, and by scikit-image's morphology."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.morphology import disk

from audit.scores.metrics.boundaries import boundary_f, boundary_overlap, boundary_region, outline

Mask = NDArray[np.bool_]
SIZES = [(9, 14), (40, 33), (120, 160), (1, 30)]


def blobs(rng: np.random.Generator, size: tuple[int, int]) -> Mask:
    mask = np.zeros(size, bool)
    for _ in range(4):
        y, x = rng.integers(0, size[0]), rng.integers(0, size[1])
        mask[y : y + rng.integers(1, size[0] + 1), x : x + rng.integers(1, size[1] // 2)] ^= True
    return mask


def eroded_region(mask: Mask) -> Mask:
    """The authors' way: a frame of zeros, then 3 x 3 erosions one after another."""
    rounds = max(round(0.02 * math.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2)), 1)
    framed = np.pad(mask, 1)
    inner = binary_erosion(framed, np.ones((3, 3), bool), rounds)[1:-1, 1:-1]
    return mask & ~inner


def davis_outline(mask: Mask) -> Mask:
    """Pixel by pixel: different from the right, the lower or the lower right neighbour, where there are any."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            for v, u in ((y, x + 1), (y + 1, x), (y + 1, x + 1)):
                down, right = min(v, height - 1), min(u, width - 1)
                found[y, x] |= mask[y, x] != mask[down, right]
    return found


def davis_f(said: Mask, true: Mask) -> float:
    """With dilations by a disk."""
    radius = math.ceil(0.008 * math.hypot(*true.shape))
    one, other = davis_outline(said), davis_outline(true)
    if not one.any() and not other.any():
        return 1.0
    if not one.any() or not other.any():
        return 0.0
    precision = (one & binary_dilation(other, disk(radius))).sum() / one.sum()
    recall = (other & binary_dilation(one, disk(radius))).sum() / other.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("size", SIZES)
def test_a_boundary_region_is_what_erosions_of_the_framed_mask_take(
    size: tuple[int, int], rng: np.random.Generator
) -> None:
    for _ in range(10):
        mask, other = blobs(rng, size), blobs(rng, size)
        expected, other_expected = eroded_region(mask), eroded_region(other)
        np.testing.assert_array_equal(boundary_region(mask), expected)
        shared, either = (expected & other_expected).sum(), (expected | other_expected).sum()
        assert boundary_overlap(mask, other) == (shared, either)


def test_the_boundary_region_of_a_large_square_is_a_frame_two_hundredths_of_the_diagonal_wide() -> None:
    mask = np.zeros((300, 400), bool)
    mask[100:200, 100:300] = True  # the diagonal is 500 pixels, so 10
    region = boundary_region(mask)
    assert region.sum() == 100 * 200 - 80 * 180
    assert not region[110:190, 110:290].any()


@pytest.mark.parametrize("size", SIZES)
def test_boundary_f_is_that_of_disks_around_outlines(size: tuple[int, int], rng: np.random.Generator) -> None:
    for _ in range(10):
        said, true = blobs(rng, size), blobs(rng, size)
        np.testing.assert_array_equal(outline(said), davis_outline(said))
        assert boundary_f(said, true) == pytest.approx(davis_f(said, true))


def test_boundary_f_forgives_a_shift_within_the_tolerance_and_none_beyond() -> None:
    true = np.zeros((300, 400), bool)
    true[100:200, 100:300] = True  # 0.8 % of 500 pixels is 4
    assert boundary_f(np.roll(true, 4, axis=1), true) == 1
    assert boundary_f(np.roll(true, 40, axis=(0, 1)), true) < 0.1


def test_without_outlines_boundary_f_is_one_and_with_one_alone_it_is_nought() -> None:
    nothing, something = np.zeros((20, 20), bool), np.eye(20, dtype=bool)
    assert boundary_f(nothing, nothing) == 1
    assert boundary_f(something, nothing) == boundary_f(nothing, something) == 0
