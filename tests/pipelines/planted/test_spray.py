"""SpRAy by CoRelAy, as the benchmark runs it, and how it is judged."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tests.benchmarks.truth.spray import best_purity, purity, spray


def test_spray_tells_two_groups_of_maps_apart_and_repeats(rng: np.random.Generator) -> None:
    pytest.importorskip("corelay", reason="corelay is not installed")
    corner = np.tile([True, False], 30)
    maps = rng.uniform(0, 0.2, (60, 7, 7))
    maps[corner, 5:, 5:] += 1
    maps[~corner, 2:5, 2:5] += 1
    labels = spray(maps, 2, seed=3)
    assert adjusted_rand_score(corner, labels) == 1
    np.testing.assert_array_equal(labels, spray(maps, 2, seed=3))


def test_the_best_cluster_is_the_purest_that_is_large_enough() -> None:
    labels = np.repeat([-1, 0, 1, 2], [10, 40, 20, 4])
    truth = np.zeros(74, bool)
    truth[10:30], truth[50:65], truth[70:] = True, True, True
    best = best_purity(labels, truth)
    assert best == purity(labels, truth, 1)
    assert best is not None
    assert (best.purity, best.size, best.recall) == (15 / 20, 20, 15 / 39)


def test_without_a_large_cluster_there_is_no_best() -> None:
    assert best_purity(np.full(30, -1), np.ones(30, bool)) is None
    assert best_purity(np.repeat([0, 1, -1], [4, 4, 22]), np.ones(30, bool)) is None
