"""Shares within strata: against plain loops, and how often chance passes where strata are few, small or uneven."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import binom, gamma, norm

from audit.stats.intervals import difference_interval
from audit.stats.strata import Stratified, p_if_alike, stratified

LEAST = 0.1
MARGINS = ((LEAST, 1.0), (0.05, 1.0), (0.0, 2.0), (0.05, 2.0))
"""By how much a share may exceed a multiple of the other, and which."""

Stratum = tuple[int, int, int, int]
"""Of one side how many show it and how many there are, and of the other."""

UNEVEN: list[Stratum] = [(6, 10, 6, 30), (9, 12, 20, 50), (3, 20, 0, 60)]


def compare(strata: list[Stratum], least: float = LEAST, times: float = 1.0) -> Stratified:
    return stratified(np.array(strata).T[:, None], least, times)


def drawn(
    of: Sequence[int], other_of: Sequence[int], other: NDArray, difference: NDArray | float, rng: np.random.Generator
) -> Stratified:
    """2,000 draws of all counts."""
    n, m = (np.tile(side, (2000, 1)) for side in (of, other_of))
    return stratified(np.stack([rng.binomial(n, other + difference), n, rng.binomial(m, other), m]), LEAST)


def likeliest_other(x: int, n: int, y: int, m: int, least: float = LEAST, times: float = 1.0) -> float:
    def loss(share: float) -> float:
        return -float(binom.logpmf(x, n, times * share + least) + binom.logpmf(y, m, share))

    bounds = (1e-9, (1 - least) / times - 1e-9)
    return float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x)


def in_plain_loops(strata: list[Stratum], least: float, times: float) -> float:
    """p from the moments of every count, each summed over all that it can be."""
    beyond = variance = third = half = 0.0
    for x, n, y, m in strata:
        weight, other = n * m / (n + m), likeliest_other(x, n, y, m, least, times)
        beyond += weight * (x / n - times * y / m - least)
        half += weight / 2 / min(sum(row[1] for row in strata), sum(row[3] for row in strata))
        for of, share, sign in ((n, times * other + least, 1), (m, other, -times)):
            for count in range(of + 1):
                step = sign * weight * (count / of - share)
                chance = binom.pmf(count, of, share) * (n + m) / (n + m - 1)
                variance += chance * step**2
                third += chance * step**3
    if beyond <= half:  # the share is no larger than it may be
        return 1.0
    deviation, skewness = variance**0.5, third / variance**1.5
    if skewness <= 0:
        return float(norm.sf((beyond - half) / deviation))
    shape = 4 / skewness**2
    return float(gamma.sf(shape + (beyond - half) / deviation * shape**0.5, shape))


@pytest.mark.parametrize(("least", "times"), MARGINS)
@pytest.mark.parametrize(
    "strata",
    [
        [(14, 40, 3, 40)],
        [(14, 40, 9, 40)],
        UNEVEN,
        [(9, 10, 30, 60), (30, 60, 1, 9)],
        [(2, 3, 0, 2), (3, 3, 1, 4), (1, 2, 0, 1)],
        [(1, 1, 1, 3), (1, 1, 0, 4), (9, 12, 20, 50)],
    ],
)
def test_p_is_that_of_plain_loops(strata: list[Stratum], least: float, times: float) -> None:
    assert compare(strata, least, times).p[0] == pytest.approx(in_plain_loops(strata, least, times), rel=1e-4)


def test_p_of_a_total_is_that_of_the_same_share_in_each_stratum() -> None:
    strata = [(0, 10, 3, 40), (0, 20, 8, 60), (0, 30, 5, 90), (0, 6, 0, 0)]
    spread = [(4, 10, 3, 40), (8, 20, 8, 60), (12, 30, 5, 90), (0, 6, 0, 0)]
    # Of 26.4 images 2.4 are in the stratum that cannot be compared.
    p = p_if_alike(np.array([26.4]), np.array(strata).T[:, None], 0.05, 2.0)
    assert p[0] == pytest.approx(compare(spread, 0.05, 2.0).p[0])


def test_p_is_no_less_than_how_often_counts_drawn_at_the_margin_differ_as_much(rng: np.random.Generator) -> None:
    x, n, y, m = np.array(UNEVEN).T
    other = np.array([likeliest_other(*stratum) for stratum in UNEVEN])
    weight = n * m / (n + m)
    drawn_at_margin = (
        rng.binomial(n, other + LEAST, (100_000, 3)) / n - rng.binomial(m, other, (100_000, 3)) / m
    ) @ weight
    share = np.mean(drawn_at_margin >= (x / n - y / m) @ weight - 1e-9)
    assert share < compare(UNEVEN).p[0] < 2 * share


@pytest.mark.parametrize(("least", "times"), MARGINS[:3])
@pytest.mark.parametrize(("n", "m"), list(product((5, 8, 30), (5, 10, 200))))
def test_chance_passes_in_one_stratum_no_more_often_than_it_should(n: int, m: int, least: float, times: float) -> None:
    x, y = (counts.ravel() for counts in np.meshgrid(np.arange(n + 1), np.arange(m + 1), indexing="ij"))
    p = stratified(np.stack([x, np.full(len(x), n), y, np.full(len(y), m)])[..., None], least, times).p
    for other in np.linspace(0, (1 - least) / times, 31):
        chance = binom.pmf(x, n, times * other + least) * binom.pmf(y, m, other)
        for level in (0.05, 0.01, 0.001):
            assert chance[p <= level].sum() <= level * (1 if times == 1 else 1.1)


@pytest.mark.parametrize(
    ("of", "other_of", "other", "difference"),
    [
        ([5] * 10, [5] * 10, np.linspace(0, 0.9, 10), 0.1),
        ([1] * 30, [3] * 30, np.linspace(0, 0.9, 30), 0.1),
        ([3] * 30, [1] * 30, np.linspace(0, 0.9, 30), 0.1),
        ([60, 5], [5, 60], [0.05, 0.6], 0.1),
        ([60, 5], [5, 60], [0.6, 0.05], 0.1),
        ([500] * 8, [1500] * 8, np.linspace(0, 0.6, 8), 0.1),
        ([20] * 4, [100] * 4, [0, 0, 0.5, 0.5], [0.2, 0, 0.2, 0]),
    ],
    ids=["small", "smallest", "fewer others", "uneven", "uneven, the other way", "large", "differences that differ"],
)
def test_chance_passes_no_more_often_than_it_should_over_many_strata(
    of: list[int], other_of: list[int], other: list[float], difference: float | list[float], rng: np.random.Generator
) -> None:
    p = drawn(of, other_of, np.asarray(other), np.asarray(difference), rng).p
    assert np.mean(p <= 0.05) <= 0.06
    assert np.mean(p <= 0.005) <= 0.008


def test_a_difference_in_every_stratum_is_found_where_the_pooled_shares_have_none(rng: np.random.Generator) -> None:
    compared = drawn([160, 40], [40, 160], np.array([0.05, 0.5]), 0.35, rng)
    pooled = np.mean(compared.shows / 200) - (0.05 * 40 + 0.5 * 160) / 200
    assert pooled < LEAST
    assert np.mean(compared.p <= 0.005) > 0.9


def test_strata_with_images_of_one_side_alone_do_not_count() -> None:
    beside: list[Stratum] = [(50, 50, 0, 0), (0, 0, 3, 90)]
    for column, lone in zip(compare(UNEVEN), compare([*UNEVEN, *beside]), strict=True):
        np.testing.assert_allclose(column, lone)
    nothing = compare(beside)
    assert (nothing.of[0], nothing.other_of[0], nothing.p[0]) == (0, 0, 1)
    assert np.isnan(nothing.expected[0])


def test_what_is_expected_is_the_others_share_in_the_same_mix_of_strata() -> None:
    compared = compare(UNEVEN)
    expected = sum(n * y / m for _, n, y, m in UNEVEN) / sum(n for _, n, _, _ in UNEVEN)
    assert (compared.shows[0], compared.of[0], compared.expected[0]) == (18, 42, pytest.approx(expected))


def test_the_interval_in_one_stratum_is_newcombes() -> None:
    found = compare([(56, 70, 48, 80)])
    low, high = difference_interval(*np.array([[56], [70], [48], [80]]))
    assert (found.low[0], found.high[0]) == (pytest.approx(low[0]), pytest.approx(high[0]))


def test_intervals_cover_the_difference_nineteen_times_in_twenty(rng: np.random.Generator) -> None:
    compared = drawn([30, 8, 60], [20, 40, 15], np.array([0.05, 0.4, 0.7]), 0.2, rng)
    assert 0.94 <= np.mean((compared.low <= 0.2) & (compared.high >= 0.2)) <= 0.99
