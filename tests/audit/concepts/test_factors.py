"""Concepts: directions that were mixed are found again, amounts are least squares, draws agree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from audit.concepts.factors import DRAWN, factorise, joined_signs, nearest_cosine, part_of_images, split_signs


def mixed(rng: np.random.Generator, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Activations [n, 12] that are sums of three directions without a channel in common, one of them rare."""
    directions = np.kron(np.eye(3), np.ones(4)) * rng.uniform(0.5, 1.5, 12)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    amounts = rng.gamma(1.0, 1.0, (n, 3)) * (rng.random((n, 3)) < [0.9, 0.6, 0.2])
    return amounts @ directions, directions


def test_directions_that_were_mixed_are_found_again(rng: np.random.Generator) -> None:
    rows, directions = mixed(rng)
    found = factorise(rows, 3)
    assert found.error < 1e-3
    for direction in directions:
        assert nearest_cosine(direction, found.directions) > 0.999
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1)


def test_amounts_are_the_non_negative_least_squares_row_by_row(rng: np.random.Generator) -> None:
    factors = factorise(rng.gamma(1.0, 1.0, (60, 8)), 4)
    rows = rng.gamma(1.0, 1.0, (20, 8))
    expected = np.array([nnls(factors.directions.T, row)[0] for row in rows])
    np.testing.assert_allclose(factors.amounts(rows), expected, atol=1e-4)


def test_a_concept_comes_back_in_other_draws_of_the_images(rng: np.random.Generator) -> None:
    rows, directions = mixed(rng)
    image = np.repeat(np.arange(50), 4)
    for seed in range(1, 4):
        again = factorise(rows[part_of_images(image, seed)], 3, seed)
        assert nearest_cosine(directions[0], again.directions) > 0.99


def test_a_part_of_the_images_has_all_rows_of_each_and_differs_by_its_seed() -> None:
    image = np.repeat(np.arange(20), 3)
    first, other = part_of_images(image, 0), part_of_images(image, 1)
    assert first.sum() == other.sum() == DRAWN * 60
    assert (first.reshape(20, 3).sum(axis=1) % 3 == 0).all()
    assert (first != other).any()
    assert part_of_images(np.zeros(2, int), 0).all()


def test_activations_below_zero_are_split_and_joined_again(rng: np.random.Generator) -> None:
    both = rng.standard_normal((5, 6))
    parts = split_signs(both)
    assert parts.shape == (5, 12)
    assert (parts >= 0).all()
    np.testing.assert_array_equal(joined_signs(parts, 6), both)
    assert split_signs(abs(both)).shape == (5, 6)


def test_what_cannot_be_factorised_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 1 to 3 concepts of 3 activations, got 4"):
        factorise(np.ones((3, 5)), 4)
    with pytest.raises(ValueError, match="not negative"):
        factorise(-np.ones((3, 5)), 2)
