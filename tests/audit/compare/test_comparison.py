"""Paired differences, flips and classes of two runs, against plain loops and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap, false_discovery_control

from audit.compare.pairs import Pairs, compare_all, compare_classes, count_flips, paired_difference


def draw(rng: np.random.Generator, count: int = 300, worse: float = 0.0) -> Pairs:
    """Pairs of three classes, two a sample, some samples near-duplicates; `worse` adds findings to class 0 in B."""
    sample = np.arange(count) // 2
    class_id = rng.integers(0, 3, count)
    energy = rng.random((2, count))
    energy[:, rng.random(count) < 0.1] = np.nan
    off = (rng.random((2, count)) < 0.3).astype(float)
    off[1] = np.where((class_id == 0) & (rng.random(count) < worse), 1, off[1])
    off[np.isnan(energy)] = np.nan
    right = np.repeat(rng.integers(0, 2, (2, (count + 1) // 2)), 2, axis=1)[:, :count].astype(float)
    right[:, rng.random(count) < 0.2] = np.nan
    return Pairs(sample, sample // 2, class_id, energy, off, rng.random((2, count)), right)


def test_means_are_those_of_pairs_where_both_are_known(rng: np.random.Generator) -> None:
    pairs = draw(rng)
    found = paired_difference(pairs.energy, pairs.image)
    both = [(a, b) for a, b in pairs.energy.T if not math.isnan(a) and not math.isnan(b)]
    assert found.pairs == len(both)
    assert found.a == pytest.approx(sum(a for a, _ in both) / len(both))
    assert found.b == pytest.approx(sum(b for _, b in both) / len(both))
    assert found.difference == pytest.approx(sum(b - a for a, b in both) / len(both))


def test_the_interval_is_scipys_where_every_image_has_one_pair(rng: np.random.Generator) -> None:
    values = rng.normal([[0.0], [0.3]], 1.0, (2, 200))
    found = paired_difference(values, np.arange(200))
    expected = bootstrap((values[1] - values[0],), np.mean, n_resamples=4000, method="percentile", rng=rng)
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.03)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.03)


def test_copies_of_an_image_do_not_narrow_the_interval(rng: np.random.Generator) -> None:
    values = rng.normal(size=(2, 60))
    once = paired_difference(values, np.arange(60))
    copied = paired_difference(np.tile(values, 5), np.tile(np.arange(60), 5))
    assert copied.difference == pytest.approx(once.difference)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    apart = paired_difference(np.tile(values, 5), np.arange(300))
    assert apart.high - apart.low < 0.6 * (once.high - once.low)


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says(rng: np.random.Generator) -> None:
    held = 0
    for seed in range(200):
        image = np.repeat(np.arange(50), 2)
        shared = np.repeat(rng.normal(0.2, 1, 50), 2)
        found = paired_difference(np.stack([np.zeros(100), shared + rng.normal(0, 0.2, 100)]), image, seed)
        held += found.low <= 0.2 <= found.high
    assert 0.89 <= held / 200 <= 0.99


def test_no_pairs_give_no_numbers() -> None:
    found = paired_difference(np.full((2, 3), np.nan), np.arange(3))
    assert found.pairs == 0
    assert math.isnan(found.low)
    flips = count_flips(np.full((2, 3), np.nan), np.arange(3))
    assert (flips.worse, flips.better, flips.p) == (0, 0, 1.0)


def test_flips_are_the_exact_test_of_mcnemar_where_every_image_has_one_pair(rng: np.random.Generator) -> None:
    for _ in range(20):
        off = rng.integers(0, 2, (2, int(rng.integers(1, 40)))).astype(float)
        flips = count_flips(off, np.arange(off.shape[1]))
        worse = sum(a == 0 and b == 1 for a, b in off.T)
        better = sum(a == 1 and b == 0 for a, b in off.T)
        expected = binomtest(worse, worse + better).pvalue if worse + better else 1.0
        assert (flips.worse, flips.better) == (worse, better)
        assert flips.p == pytest.approx(expected)


def test_an_image_and_its_copies_have_one_vote(rng: np.random.Generator) -> None:
    off, image = rng.integers(0, 2, (2, 200)).astype(float), rng.integers(0, 30, 200)
    votes = [sum(b - a for (a, b), own in zip(off.T, image, strict=True) if own == one) for one in range(30)]
    flips = count_flips(off, image)
    assert flips.worse == sum(vote > 0 for vote in votes)
    assert flips.better == sum(vote < 0 for vote in votes)
    assert flips.p == pytest.approx(binomtest(flips.worse, flips.worse + flips.better).pvalue)


def test_classes_are_compared_one_by_one_under_control_of_the_false_discovery_rate(rng: np.random.Generator) -> None:
    pairs = draw(rng, worse=0.6)
    rows = compare_classes(pairs)
    assert rows[0].class_id == 0
    assert rows[0].q < 0.05
    assert rows[0].measures["off_object"].low > 0
    by_id = {row.class_id: row for row in rows}
    expected = false_discovery_control([by_id[class_id].flips.p for class_id in range(3)])
    assert [by_id[class_id].q for class_id in range(3)] == pytest.approx(expected)
    for class_id, row in by_id.items():
        own = pairs.class_id == class_id
        assert row.flips == count_flips(pairs.off_object[:, own], pairs.image[own])
        assert row.measures["energy"] == paired_difference(pairs.energy[:, own], pairs.image[own])


def test_classes_without_a_flip_do_not_count_among_those_tested() -> None:
    class_id, off = np.repeat(np.arange(10), 8), np.zeros((2, 80))
    off[1, :7] = 1
    image = np.arange(80)
    rows = compare_classes(Pairs(image, image, class_id, off, off, off, off))
    assert rows[0].q == pytest.approx(2 * 0.5**7)
    assert [row.q for row in rows[1:]] == [1] * 9


def test_no_class_differs_more_often_than_the_level_where_nothing_changed(rng: np.random.Generator) -> None:
    found = sum(compare_classes(draw(rng))[0].q <= 0.05 for _ in range(40))
    assert found <= 5


def test_accuracy_counts_every_sample_once(rng: np.random.Generator) -> None:
    pairs = draw(rng)
    first: dict[int, tuple[float, float]] = {}
    for sample, (a, b) in zip(pairs.sample, pairs.accuracy.T, strict=True):
        if not math.isnan(a):
            first.setdefault(int(sample), (a, b))
    measures, _ = compare_all(pairs)
    assert measures["accuracy"].pairs == len(first)
    assert measures["accuracy"].a == pytest.approx(np.mean([a for a, _ in first.values()]))
    assert measures["accuracy"].b == pytest.approx(np.mean([b for _, b in first.values()]))


def test_no_targets_in_common_are_no_classes() -> None:
    none, two = np.zeros(0, int), np.zeros((2, 0))
    pairs = Pairs(none, none, none, two, two, two, two)
    assert compare_classes(pairs) == []
    assert compare_all(pairs)[0]["accuracy"].pairs == 0
