"""Label permutation against every permutation, intervals against published ones and against drawing images again."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import fisher_exact, norm, poisson

from audit.findings.claims.votes import one_vote
from audit.stats import resampling
from audit.stats.intervals import difference_interval, wilson_interval
from audit.stats.permutation import label_permutation


@pytest.mark.parametrize("shows", [[1, 1, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])
@pytest.mark.parametrize("of", [1, 3, 5])
def test_p_is_the_share_of_all_permutations_that_give_the_class_as_many(shows: list[int], of: int) -> None:
    for observed in range(max(0, of - shows.count(0)), min(of, sum(shows)) + 1):
        ways = [sum(shows[i] for i in chosen) for chosen in combinations(range(len(shows)), of)]
        expected = sum(way >= observed for way in ways) / len(ways)
        assert label_permutation(observed, of, sum(shows), len(shows)) == pytest.approx(expected)


def test_p_is_fishers_over_arrays_of_large_counts(rng: np.random.Generator) -> None:
    of = rng.integers(5, 3000, 50)
    all_shows = rng.integers(1, 100_000, 50)
    shows = np.minimum(rng.binomial(of, np.minimum(all_shows / 250_000 * rng.uniform(0.8, 1.5, 50), 1)), all_shows)
    found = label_permutation(shows, of, all_shows, np.array(250_000))
    for i in range(50):
        rest = all_shows[i] - shows[i]
        table = [[shows[i], of[i] - shows[i]], [rest, 250_000 - of[i] - rest]]
        assert found[i] == pytest.approx(fisher_exact(table, alternative="greater").pvalue, rel=1e-6)


def test_an_image_has_one_vote_in_each_class() -> None:
    owner = np.array([1, 0, 1, 1, 0, 1])
    image = np.array([7, 7, 2, 7, 3, 2])
    np.testing.assert_array_equal(one_vote(owner, image), [4, 1, 2, 0])
    assert len(one_vote(owner[:0], image[:0])) == 0


def test_intervals_of_differences_are_those_of_newcombes_table() -> None:
    shows, of, other, other_of = (np.array(v) for v in ([56, 9, 10], [70, 10, 10], [48, 3, 0], [80, 10, 10]))
    low, high = difference_interval(shows, of, other, other_of)
    np.testing.assert_allclose(low, [0.0524, 0.1705, 0.6075], atol=5e-5)
    np.testing.assert_allclose(high, [0.3339, 0.8090, 1.0], atol=5e-5)


def test_intervals_of_differences_reach_as_far_as_those_of_both_shares_together() -> None:
    shows, of, other, other_of = (np.array(v) for v in ([1, 3, 30], [25, 40, 31], [2, 9, 1], [30, 11, 80]))
    low, high = difference_interval(shows, of, other, other_of)
    share, rest, difference = shows / of, other / other_of, shows / of - other / other_of
    (bottom, top), (rest_bottom, rest_top) = wilson_interval(shows, of), wilson_interval(other, other_of)
    np.testing.assert_allclose((difference - low) ** 2, (share - bottom) ** 2 + (rest_top - rest) ** 2)
    np.testing.assert_allclose((high - difference) ** 2, (top - share) ** 2 + (rest - rest_bottom) ** 2)


def loops(values: np.ndarray, first: np.ndarray, image: np.ndarray, draws: int) -> tuple[float, float]:
    """Interval of the difference of means, images drawn with repeats one by one."""
    rng = np.random.default_rng(5)
    rows = {int(k): np.flatnonzero(image == k) for k in np.unique(image)}
    found = []
    for _ in range(draws):
        drawn = np.concatenate([rows[int(k)] for k in rng.choice(list(rows), len(rows))])
        side = first[drawn]
        found.append(values[drawn][side].mean() - values[drawn][~side].mean())
    return float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))


def test_intervals_are_those_of_images_drawn_with_repeats(rng: np.random.Generator) -> None:
    image = np.repeat(np.arange(150), rng.integers(1, 4, 150))
    shared = rng.normal(size=150)[image]
    values, first = shared + 0.2 * rng.normal(size=len(image)), rng.random(len(image)) < 0.4
    low, high = resampling.difference_interval(values[:, None], first, image, draws=4000)
    expected = loops(values, first, image, 2000)
    width = expected[1] - expected[0]
    assert (low[0], high[0]) == pytest.approx(expected, abs=0.08 * width)


def test_near_duplicates_are_kept_together_so_copies_narrow_nothing(rng: np.random.Generator) -> None:
    values = rng.normal(size=(200, 2))
    once = resampling.mean_interval(values, np.arange(200))
    copied = resampling.mean_interval(np.tile(values, (10, 1)), np.tile(np.arange(200), 10))
    np.testing.assert_allclose(np.stack(copied), np.stack(once), atol=1e-5)


def test_intervals_of_many_images_are_as_wide_drawn_in_bundles(rng: np.random.Generator) -> None:
    values = rng.exponential(size=(60_000, 1))
    low, high = resampling.mean_interval(values, np.arange(len(values)))
    standard_error = values.std() / np.sqrt(len(values))
    assert (high - low)[0] == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
    assert low[0] < values.mean() < high[0]


def test_intervals_cover_the_truth_nineteen_times_in_twenty() -> None:
    covered = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        image = np.repeat(np.arange(60), 3)
        values = rng.normal(size=60)[image] + rng.normal(size=180)
        low, high = resampling.mean_interval(values[:, None], image, draws=300, seed=seed)
        covered += low[0] <= 0 <= high[0]
    assert 0.91 <= covered / 400 <= 0.97


def test_images_are_drawn_with_weights_of_poissons_law() -> None:
    sums = resampling.resampled_sums(np.ones((1, 1)), np.zeros(1, int), draws=300_000)[:, 0]
    assert np.isfinite(sums).all()
    shares = np.bincount(sums.astype(int), minlength=6)[:6] / len(sums)
    np.testing.assert_allclose(shares, poisson.pmf(np.arange(6), 1), atol=0.004)


def test_means_of_rows_drawn_again_have_their_percentiles(rng: np.random.Generator) -> None:
    values = rng.normal(size=(300, 2)) * (1, 3)
    for column, told in zip(values.T, resampling.bootstrap_means(values), strict=True):
        width = 2 * norm.ppf(0.975) * column.std() / np.sqrt(300)
        assert told["mean"] == pytest.approx(column.mean())
        assert told["high"] - told["low"] == pytest.approx(width, rel=0.1)
        assert told["low"] + told["high"] == pytest.approx(2 * column.mean(), abs=0.1 * width)
    assert resampling.bootstrap_means(np.array([[0.0], [1.0]])) == [{"mean": 0.5, "low": 0.0, "high": 1.0}]
    outlier = np.append(np.zeros(39), 40.0)[:, None]
    assert resampling.bootstrap_means(outlier)[0] == {"mean": 1.0, "low": 0.0, "high": 3.0}
    assert resampling.bootstrap_means(np.full((3, 1), 0.1))[0]["low"] <= np.full(3, 0.1).mean()


def test_wilsons_interval_solves_his_equation_and_of_nothing_there_is_none() -> None:
    count, total = np.array([0, 3, 10, 0]), np.array([10, 20, 10, 0])
    ends = wilson_interval(count, total)
    for end in ends:
        assert np.isnan(end[3])
        for share, p, n in zip(count[:3] / total[:3], end, total, strict=False):
            assert abs(share - p) == pytest.approx(norm.ppf(0.975) * np.sqrt(p * (1 - p) / n), abs=1e-7)
    assert (ends[0][0], ends[1][2]) == (0, pytest.approx(1))
    assert (ends[0][:3] <= count[:3] / total[:3]).all()


def test_a_draw_without_any_of_a_side_says_nothing() -> None:
    values, first = np.array([[1.0], [0.0], [0.0]]), np.array([True, False, False])
    low, high = resampling.difference_interval(values, first, np.arange(3))
    assert (low[0], high[0]) == (1, 1)


def test_an_interval_leaves_out_one_draw_in_forty_at_either_end(rng: np.random.Generator) -> None:
    values = rng.normal(size=(500, 1))
    low, high = resampling.mean_interval(values, np.arange(500), draws=20_000)
    told = resampling.bootstrap_means(values, draws=20_000)[0]
    error = values.std() / np.sqrt(500)
    for below, above in ((low[0], high[0]), (told["low"], told["high"])):
        assert below == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
        assert above == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
