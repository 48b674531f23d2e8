"""q values against their definition, level by level."""

from __future__ import annotations

import numpy as np
import pytest

from audit.stats.multiplicity import benjamini_hochberg, q_of_counts, weighted_q

P = np.array([0.01, 0.4, 0.03, 0.03, 0.9, 0.002, 0.03, 0.6, 0.05])


def by_definition(p: np.ndarray) -> list[float]:
    """Smallest level at which the step-up procedure lets each p through."""
    levels = sorted({min(1.0, value * len(p) / rank) for value in p for rank in range(1, len(p) + 1)})

    def through(level: float) -> float:
        fits = [value for value in p if value <= level * (p <= value).sum() / len(p) + 1e-12]
        return max(fits, default=-1.0)

    return [min(level for level in levels if value <= through(level)) if value <= through(1) else 1.0 for value in p]


def test_q_is_the_smallest_level_that_lets_a_p_through() -> None:
    np.testing.assert_allclose(benjamini_hochberg(P), by_definition(P))


def test_q_of_counts_is_that_of_all_of_them_and_leaves_out_what_does_not_occur() -> None:
    values, counts = np.unique(P, return_counts=True)
    q = q_of_counts(np.insert(values, 1, 0.005), np.insert(counts, 1, 0))
    assert q[[0, 2]] == pytest.approx([benjamini_hochberg(P)[5], benjamini_hochberg(P)[0]])
    assert q_of_counts(np.array([0.0, 0.5]), np.array([0, 4])).tolist() == [0.0, 0.5]


def test_a_weight_divides_its_p_and_none_lets_nothing_through() -> None:
    weight = np.array([2.0, 0, 1, 1, 1, 0.5, 1, 1, 1.5])
    shown = weight > 0
    q = weighted_q(P, weight)
    weighted = np.full(len(P), 1e9)
    weighted[shown] = P[shown] / weight[shown]
    np.testing.assert_allclose(q, benjamini_hochberg(weighted))
    assert q[1] == 1
