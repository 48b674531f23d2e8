"""Which targets avoid their object: planted in drawn maps and objects, and weights against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_places import Avoids, avoidance_found
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from audit.findings.avoidance import RARE, class_weights, q_of_avoidance
from audit.stats.multiplicity import weighted_q


def simulated(avoids: Avoids, draws: int = 12, copies: int = 1) -> NDArray[np.float64]:
    return np.mean([avoidance_found(seed, avoids, copies) for seed in range(draws)], axis=0)


def test_one_target_in_a_hundred_is_found_where_they_are_of_one_class() -> None:
    rate, power, together = simulated(lambda class_id, rng: (class_id == 3) & (rng.random(len(class_id)) < 0.2))
    assert together == 0
    assert power >= 0.9
    assert rate <= 0.06


@pytest.mark.parametrize("copies", [1, 5])
def test_where_heat_is_put_at_random_hardly_anything_avoids(copies: int) -> None:
    rate, _, _ = simulated(lambda class_id, _: np.zeros(len(class_id), bool), copies=copies)
    assert rate <= 0.06


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_where_all_classes_avoid_alike_as_many_are_found_as_of_all_together(share: float) -> None:
    rate, power, together = simulated(lambda class_id, rng: rng.random(len(class_id)) < share)
    assert power >= together - 0.05
    assert rate <= 0.06


def test_weights_are_the_excess_of_each_class_drawn_towards_that_of_all(rng: np.random.Generator) -> None:
    class_id = rng.integers(0, 5, 2000)
    rare = rng.random(2000) < np.where(class_id == 2, 0.3, 0.02)
    weighed = rng.integers(0, 5, 500)
    together = sum(rare) / 2000
    shares = {k: np.mean([r for r, c in zip(rare, class_id, strict=True) if c == k]) for k in range(5)}
    spread = sum((class_id == k).sum() * (shares[k] - together) ** 2 for k in range(5))
    kept = 1 - 2 * 4 * together * (1 - together) / spread
    excess = np.array([max(together - RARE + kept * (shares[k] - together), 0) for k in weighed])
    np.testing.assert_allclose(class_weights(class_id, rare, weighed), excess / excess.mean())


def test_weights_are_one_where_classes_differ_by_luck_alone() -> None:
    rng = np.random.default_rng(0)
    class_id, weighed = rng.integers(0, 20, 5000), np.arange(20)
    np.testing.assert_allclose(class_weights(class_id, rng.random(5000) < 0.02, weighed), 1)
    np.testing.assert_array_equal(class_weights(class_id, np.zeros(5000, bool), weighed), 1)
    np.testing.assert_array_equal(class_weights(class_id[:0], np.zeros(0, bool), weighed), 1)


def test_weighted_q_values_are_those_of_the_p_values_divided_by_their_weights(rng: np.random.Generator) -> None:
    p, weight = rng.random(40) ** 3, rng.choice([0.5, 1.5], 40)
    expected = false_discovery_control(np.minimum(p / weight, 1))
    np.testing.assert_allclose(weighted_q(p, weight), expected)
    np.testing.assert_array_equal(weighted_q(p, np.zeros(40)), 1)


def test_no_targets_have_no_q() -> None:
    none = np.zeros(0, np.int64)
    assert len(q_of_avoidance(none.astype(float), none, none)) == 0
