"""The quick check: what it changes in an image, and whom it asks about."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from audit.findings.rules import suspicion
from audit.images import View
from audit.images.masks import VOID
from audit.interventions.quick import Candidate, Candidates, without_background
from audit.interventions.removals import SHIFTS, mask_at_input, on_scattered

SIDE = 32


def an_image() -> np.ndarray:
    return np.random.default_rng(4).normal(0.3, 0.1, (3, SIDE, SIDE)).astype(np.float32)


def a_mask(value: int = 1) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.int16)
    mask[10:18, 12:20] = value
    return mask


def candidate(sample: int, misplaced: float, class_id: int = 0) -> Candidate:
    pixels, mask = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.int16)
    return Candidate(sample, 0, class_id, 0.9, misplaced, pixels, mask, (2, 2), class_id)


def asked(rows: list[tuple[int, float, int]], most: int, least: float = 0.05) -> list[int]:
    candidates = Candidates(least)
    for row in rows:
        candidates.add(candidate(*row))
    return [one.sample for one in candidates.chosen(most)]


def test_the_object_stays_and_the_background_is_the_mean_of_its_own_shifts() -> None:
    """Against loops over pixels, with the same numbers drawn."""
    image, kept = an_image(), a_mask() > 0
    changed = on_scattered(image, kept, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    shifts, turns = rng.integers(SIDE, size=(SHIFTS, 2)), rng.choice([1, -1], (SHIFTS, 2))
    bare = image.copy()
    for channel in range(3):
        bare[channel][kept] = image[channel][~kept].mean()
    for y, x in ((0, 0), (5, 31), (12, 14), (30, 2)):
        expected = np.zeros(3)
        for (down, right), (flip_y, flip_x) in zip(shifts, turns, strict=True):
            row, column = (y - down) % SIDE, (x - right) % SIDE
            row, column = (row if flip_y == 1 else SIDE - 1 - row), (column if flip_x == 1 else SIDE - 1 - column)
            expected += bare[:, row, column] / SHIFTS
        assert_allclose(changed[:, y, x], image[:, y, x] if kept[y, x] else expected, rtol=1e-5)


def test_a_mark_is_gone_and_the_mean_colour_stays() -> None:
    image, kept = an_image(), a_mask() > 0
    marked = image.copy()
    marked[:, -4:, -4:] = 5
    changed = on_scattered(marked, kept, np.random.default_rng(0))
    assert changed[:, ~kept].max() < 5 * 3 / SHIFTS
    assert_allclose(changed.mean(axis=(1, 2)), marked.mean(axis=(1, 2)), atol=0.05)


def test_nothing_can_be_taken_away_where_the_object_is_nowhere_or_everywhere() -> None:
    rng = np.random.default_rng(0)
    assert without_background(an_image(), a_mask(), 1, rng) is None
    assert without_background(an_image(), np.full((SIDE, SIDE), 2, np.int16), 1, rng) is None
    assert without_background(an_image(), a_mask(2), 1, rng) is not None


def test_the_rim_goes_with_the_object() -> None:
    image, mask = an_image(), a_mask()
    mask[8:20, 10:22] = np.where(mask[8:20, 10:22] == 1, 1, VOID)
    changed = without_background(image, mask, 0, np.random.default_rng(0))
    assert changed is not None
    assert_array_equal(changed[:, 8:20, 10:22], image[:, 8:20, 10:22])
    assert np.any(changed[:, :6] != image[:, :6])


def test_a_mask_at_the_input_is_the_value_under_each_centre_and_background_beyond_the_image() -> None:
    mask = np.array([[1, 2], [3, VOID]], np.int16)
    assert_array_equal(mask_at_input(mask, View(0, 0, 2, 2), 4), mask.repeat(2, axis=0).repeat(2, axis=1))
    padded = mask_at_input(mask, View(-1, 0, 3, 2), 4)
    assert_array_equal(padded, [[0, 1, 2, 0], [0, 1, 2, 0], [0, 3, VOID, 0], [0, 3, VOID, 0]])


def test_flagged_targets_are_asked_and_as_many_of_their_class_that_come_nearest() -> None:
    rows = [(0, 0.5, 0), (1, 0.01, 0), (2, 0.04, 0), (3, 0.3, 0), (4, 0.02, 0), (5, 0.04, 1), (6, 0.9, 2)]
    assert asked(rows, most=100) == [0, 2, 3, 4, 6]


def test_of_few_places_the_flagged_take_all_but_one_for_eight() -> None:
    flagged = [(row, 0.5, 0) for row in range(9)]
    others = [(row, row / 1000, 0) for row in range(9, 30)]
    assert asked(flagged + others, most=4) == [*range(9), 28, 29]
    assert asked(flagged + others, most=12) == [*range(9), 27, 28, 29]
    assert asked(others, most=12) == []


def test_those_that_come_nearest_are_kept_however_many_there_are() -> None:
    misplaced = np.random.default_rng(2).permutation(500) / 10_001
    rows = [(0, 0.5, 0), (1, 0.6, 0), *((2 + i, float(value), 0) for i, value in enumerate(misplaced))]
    assert asked(rows, most=100) == sorted([0, 1, 2 + int(misplaced.argmax()), 2 + int(misplaced.argsort()[-2])])


@pytest.mark.parametrize("seed", range(3))
def test_suspicion_is_half_the_targets_own_and_half_the_mean_of_its_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    severity, class_id = rng.random(40), rng.integers(0, 5, 40)
    quick = np.where(rng.random(40) < 0.7, rng.uniform(-1, 1, 40), np.nan)
    own = [s if q != q else (s + max(q, 0)) / 2 for s, q in zip(severity, quick, strict=True)]
    for i, found in enumerate(suspicion(severity, quick, class_id)):
        alike = [own[k] for k in range(40) if class_id[k] == class_id[i]]
        assert found == pytest.approx((own[i] + sum(alike) / len(alike)) / 2)
