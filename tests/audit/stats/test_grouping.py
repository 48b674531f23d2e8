"""k-means from Ward's tree, and how many groups there are, against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from audit.stats.grouping import STABLE, adjusted_rand, k_means, nearest, stability, stable_groups


def blobs(rng: np.random.Generator, groups: int, points: int = 120, spread: float = 0.3) -> NDArray[np.float64]:
    """Points about so many places far apart, the groups in turn."""
    middles = 3 * np.eye(8)[:groups]
    return np.asarray(middles[np.arange(points) % groups] + spread * rng.normal(size=(points, 8)), np.float64)


def test_the_adjusted_rand_index_is_that_of_sklearn(rng: np.random.Generator) -> None:
    for groups in (1, 2, 5):
        one, other = rng.integers(0, groups, 60), rng.integers(0, 3, 60)
        for second in (other, np.where(rng.random(60) < 0.7, one, 0)):
            assert adjusted_rand(one, second) == pytest.approx(adjusted_rand_score(one, second))
    assert adjusted_rand(np.zeros(5, int), np.zeros(5, int)) == 1


def test_the_nearest_middle_is_the_one_that_a_loop_finds(rng: np.random.Generator) -> None:
    points, middles = rng.normal(size=(30, 4)), rng.normal(size=(5, 4))
    group, distance = nearest(points, middles)
    for i, point in enumerate(points):
        distances = [float(np.linalg.norm(point - middle)) for middle in middles]
        assert group[i] == int(np.argmin(distances))
        assert distance[i] == pytest.approx(min(distances))


def test_k_means_is_about_as_tight_as_the_best_of_many_starts(rng: np.random.Generator) -> None:
    points = rng.normal(size=(200, 4)) * [3, 2, 1, 1]
    for count, middles in zip((2, 3, 5), k_means(points, (2, 3, 5)), strict=True):
        best = KMeans(count, n_init=20, random_state=0).fit(points)
        assert (nearest(points, middles)[1] ** 2).sum() < 1.1 * best.inertia_


def test_middles_are_the_means_of_what_is_nearest_to_them(rng: np.random.Generator) -> None:
    points = blobs(rng, 3, spread=1.5)
    (middles,) = k_means(points, [3])
    group = nearest(points, middles)[0]
    for number in range(3):
        np.testing.assert_allclose(middles[number], points[group == number].mean(axis=0))


@pytest.mark.parametrize("groups", [2, 3, 4, 5])
def test_as_many_groups_are_found_as_there_are(rng: np.random.Generator, groups: int) -> None:
    points = blobs(rng, groups)
    middles = stable_groups(points, least=5)
    assert middles is not None
    assert adjusted_rand(nearest(points, middles)[0], np.arange(120) % groups) == 1


@pytest.mark.parametrize("points", [40, 400])
def test_points_without_groups_have_none(points: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert stable_groups(rng.normal(size=(points, 8)), seed=seed) is None
        assert stability(rng.normal(size=(points, 8)), (2, 3), seed).max() < STABLE - 0.1


def test_groups_that_are_too_small_are_none_and_equal_points_are_one(rng: np.random.Generator) -> None:
    lone = np.concatenate([blobs(rng, 1, 57), 9 + rng.normal(size=(3, 8))])
    assert stable_groups(lone, least=5) is None
    assert stable_groups(np.ones((40, 3)), least=5) is None
    assert stable_groups(rng.normal(size=(9, 3)), least=5) is None


def test_groups_are_the_same_every_time(rng: np.random.Generator) -> None:
    points = blobs(rng, 3)
    first, second = stable_groups(points), stable_groups(points)
    assert first is not None
    np.testing.assert_array_equal(first, second)
