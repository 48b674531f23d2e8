"""Shares beyond a margin: against a loop over every table, and how often it errs where the truth is the margin."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from audit.stats.margins import constrained_share, exceeds

LEAST = 0.1


def chance(count: int, of: int, share: float) -> float:
    return comb(of, count) * share**count * (1 - share) ** (of - count)


def by_loops(x: int, n: int, y: int, m: int, least: float) -> float:
    """p by the definition: the likeliest shares that differ by the margin, and every table under them."""
    if x / n - y / m <= least:
        return 1.0

    def unlikely(other: float) -> float:
        shares = (x, n, other + least), (y, m, other)
        return -sum(c * np.log(s) + (k - c) * np.log(1 - s) for c, k, s in shares)

    other = minimize_scalar(unlikely, bounds=(1e-12, 1 - least - 1e-12), method="bounded", options={"xatol": 1e-12}).x
    tables = ((i, j) for i in range(n + 1) for j in range(m + 1) if i / n - j / m >= x / n - y / m - 1e-12)
    return sum(chance(i, n, other + least) * chance(j, m, other) for i, j in tables)


@pytest.mark.parametrize(
    "counts", [(5, 5, 0, 9), (3, 7, 1, 12), (6, 6, 2, 4), (2, 9, 0, 15), (1, 9, 1, 9), (8, 9, 3, 14)]
)
@pytest.mark.parametrize("least", [0.05, 0.1, 0.3])
def test_p_is_the_chance_of_every_table_that_differs_as_much(counts: tuple[int, int, int, int], least: float) -> None:
    assert exceeds(*counts, least) == pytest.approx(by_loops(*counts, least), rel=1e-4)


def test_the_likeliest_shares_have_no_slope(rng: np.random.Generator) -> None:
    n, m = rng.integers(5, 400, (2, 50))
    x, y = rng.integers(1, n), rng.integers(1, m)
    other = constrained_share(x, n, y, m, LEAST)
    share = other + LEAST
    slope = x / share - (n - x) / (1 - share) + y / other - (m - y) / (1 - other)
    within = (other > 1e-6) & (share < 1 - 1e-6)
    assert within.sum() > 30
    np.testing.assert_allclose(slope[within] / (n + m)[within], 0, atol=1e-6)


@pytest.mark.parametrize(("n", "m", "excess"), [(5, 100, 1.3), (8, 20, 1.1), (20, 100, 1.1), (60, 100, 1.1)])
def test_at_the_margin_itself_it_errs_about_as_often_as_it_says(n: int, m: int, excess: float) -> None:
    x, y = np.arange(n + 1), np.arange(m + 1)
    p = exceeds(x[:, None], n, y, m, LEAST)
    for other in (0.001, 0.01, 0.05, 0.1, 0.3, 0.6, 0.85):
        tables = np.outer([chance(i, n, other + LEAST) for i in x], [chance(j, m, other) for j in y])
        for level in (0.05, 0.01):
            assert tables[p <= level].sum() <= excess * level


def test_many_images_do_not_make_a_small_difference_a_large_one() -> None:
    assert exceeds(15_000, 100_000, 100_000, 1_000_000, LEAST) == 1.0
    assert 0.1 < exceeds(20_050, 100_000, 100_000, 1_000_000, LEAST) < 0.5
    assert exceeds(25_000, 100_000, 100_000, 1_000_000, LEAST) < 1e-100


def test_nothing_on_a_side_is_no_evidence() -> None:
    np.testing.assert_array_equal(exceeds([5, 0], [5, 0], [0, 3], [0, 9], LEAST), [1, 1])
