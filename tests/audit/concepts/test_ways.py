"""Ways to find concepts: what was mixed is found again, amounts are as a slow oracle has them, draws agree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from audit.concepts.ways.nmf import Parts, joined_signs, split_signs
from audit.concepts.ways.registry import WAYS
from audit.concepts.ways.way import DRAWN, Factors, Held, nearest_cosine


def factorise(rows: np.ndarray, count: int, seed: int = 0) -> Factors:
    """By parts that only add up, each row an image of its own."""
    return WAYS["nmf"].factorise(Held(rows, np.arange(len(rows))), count, seed)


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
    held = Held(rows, np.repeat(np.arange(50), 4))
    for seed in range(1, 4):
        again = WAYS["nmf"].factorise(held.part(seed), 3, seed)
        assert nearest_cosine(directions[0], again.directions) > 0.99


def test_a_part_of_the_images_has_all_rows_of_each_and_differs_by_its_seed() -> None:
    held = Held(np.arange(60)[:, None], np.repeat(np.arange(20), 3), np.ones(1))
    first, other = held.part(0), held.part(1)
    assert len(first.rows) == len(other.rows) == DRAWN * 60
    assert (np.bincount(first.image)[np.unique(first.image)] == 3).all()
    assert (first.rows[:, 0] // 3 == first.image).all()
    assert first.weights is held.weights
    assert set(first.image) != set(other.image)


@pytest.mark.parametrize("images", [2, 3, 5, 10])
def test_a_part_never_has_all_images(images: int) -> None:
    kept = set(Held(np.ones((images, 1)), np.arange(images)).part(0).image.tolist())
    assert len(kept) == min(round(DRAWN * images), images - 1)


def test_draws_are_compared_from_five_images_on_and_where_each_gives_as_many_concepts(rng: np.random.Generator) -> None:
    rows = rng.gamma(1.0, 1.0, (10, 8))
    for images, count, draws in ((4, 2, 0), (5, 2, 3), (5, 8, 3), (5, 9, 0)):
        held = Held(rows, np.arange(10) % images)
        assert len(WAYS["nmf"].again(held, count, range(3))) == draws
    few = Held(rows[:5], np.arange(5))  # of which a part has four rows
    assert WAYS["nmf"].most(few) == 5
    assert WAYS["nmf"].again(few, 5, range(3)) == []


@pytest.mark.filterwarnings("error")
def test_concepts_that_come_to_nothing_are_left_out_and_amounts_stay_numbers(rng: np.random.Generator) -> None:
    fewer = 0
    for seed in range(20):
        rows = np.outer(rng.gamma(1.0, 1.0, 10), rng.gamma(1.0, 1.0, 5) * (np.arange(5) < 3))
        found = factorise(rows, 3, seed)
        fewer += len(found.directions) < 3
        np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1)
        np.testing.assert_allclose(found.amounts(rows) @ found.directions, rows, atol=1e-2)
    assert fewer
    nowhere = Parts(np.array([[1.0, 0.0], [0.0, 0.0]]), 0.0)
    np.testing.assert_array_equal(nowhere.amounts(np.ones((1, 2))), [[1, 0]])


def test_of_activations_that_are_all_0_there_is_no_concept() -> None:
    assert WAYS["nmf"].most(Held(np.zeros((6, 4)), np.arange(6))) == 0


def test_activations_below_zero_are_split_and_joined_again(rng: np.random.Generator) -> None:
    both = rng.standard_normal((5, 6))
    parts = split_signs(both)
    assert parts.shape == (5, 12)
    assert (parts >= 0).all()
    np.testing.assert_array_equal(joined_signs(parts, 6), both)
    assert split_signs(abs(both)).shape == (5, 6)


def test_what_cannot_be_factorised_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected at most 3 concepts of 3 activations, got 4"):
        factorise(np.ones((3, 5)), 4)
    with pytest.raises(ValueError, match="not negative"):
        factorise(-np.ones((3, 5)), 2)


def by_hand(held: Held, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class-wise neural PCA as the paper has it, image by image: eigenvectors, mean psi, shares of the variance."""
    images = sorted(set(held.image.tolist()))
    psi = np.array([np.mean(held.rows[held.image == image] * held.weights, axis=0) for image in images])
    mean = np.zeros(psi.shape[1])
    for row in psi:
        mean += row / len(psi)
    covariance = np.zeros((psi.shape[1],) * 2)
    for row in psi:
        covariance += np.outer(row - mean, row - mean) / len(psi)
    values, vectors = np.linalg.eigh(covariance)
    leading = np.argsort(-values)[:count]
    return vectors[:, leading].T, mean, values[leading] / values.sum()


def drawn_images(rng: np.random.Generator) -> Held:
    """Twelve cells of each of 30 images, 10 channels, weights of both signs; images differ strongly and weakly."""
    image = np.repeat(np.arange(30), 12)
    of_image = rng.standard_normal((30, 10)) * np.linspace(3, 0.2, 10)
    return Held(of_image[image] + rng.standard_normal((360, 10)), image, rng.standard_normal(10))


def test_components_add_to_the_logit_what_the_paper_says_cell_by_cell(rng: np.random.Generator) -> None:
    held = drawn_images(rng)
    factors = WAYS["pca"].factorise(held, 3)
    vectors, mean, variance = by_hand(held, 3)
    amounts = factors.amounts(held.rows)
    for k in range(3):
        for row, amount in zip(held.rows, amounts[:, k], strict=True):
            alpha = vectors[k].sum() * np.dot(held.weights * row - mean, vectors[k])
            # What is taken out of the layer is amount * direction; the class's weights make it what the logit loses.
            assert np.dot(held.weights, amount * factors.directions[k]) == pytest.approx(max(alpha, 0), abs=1e-9)
    assert factors.error == pytest.approx(1 - variance.sum())
    np.testing.assert_allclose(np.linalg.norm(factors.directions, axis=1), 1)


def test_a_direction_times_the_weights_is_the_component_it_stands_for(rng: np.random.Generator) -> None:
    held = drawn_images(rng)
    factors = WAYS["pca"].factorise(held, 2)
    vectors, _, _ = by_hand(held, 2)
    for direction, vector in zip(factors.directions, vectors, strict=True):
        weighted = direction * held.weights
        assert abs(np.dot(weighted, vector)) / np.linalg.norm(weighted) == pytest.approx(1)
        assert weighted.sum() > 0


def test_what_the_class_does_not_go_by_is_no_component(rng: np.random.Generator) -> None:
    image = np.arange(40)
    cue, noise = rng.gamma(1.0, 1.0, 40), 50 * rng.standard_normal(40)
    rows = np.stack([cue, noise, rng.standard_normal(40) / 10], axis=1)
    (direction,) = WAYS["pca"].factorise(Held(rows, image, np.array([1.0, 0.0, 1.0])), 1).directions
    assert abs(direction[0]) > 5 * abs(direction[2])
    by_nmf = factorise(abs(rows), 1).directions[0]
    assert by_nmf[1] > 0.99  # which takes whatever is there


def test_components_of_too_few_images_or_of_equal_ones_are_refused() -> None:
    rows = np.repeat(np.eye(2), 3, axis=0)
    held = Held(rows, np.repeat([0, 1], 3), np.ones(2))
    assert WAYS["pca"].most(held) == 1
    with pytest.raises(ValueError, match="Expected at most 1 concepts of 6 activations, got 2"):
        WAYS["pca"].factorise(held, 2)
    for none in (Held(np.ones((6, 2)), np.repeat([0, 1], 3), np.ones(2)), Held(rows, np.zeros(6, int), np.ones(2))):
        assert WAYS["pca"].most(none) == 0
    with pytest.raises(ValueError, match="Expected at most 3 concepts"):
        factorise(np.ones((3, 5)), 0)
