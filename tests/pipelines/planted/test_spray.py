"""SpRAy by CoRelAy, as the benchmark runs it, and how clusters are judged."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tests.benchmarks.truth.agreement import agreement, plain_ways, purity_at
from tests.benchmarks.truth.spray import spray


def test_spray_tells_two_groups_of_maps_apart_and_repeats(rng: np.random.Generator) -> None:
    pytest.importorskip("corelay", reason="corelay is not installed")
    corner = np.tile([True, False], 30)
    maps = rng.uniform(0, 0.2, (60, 7, 7))
    maps[corner, 5:, 5:] += 1
    maps[~corner, 2:5, 2:5] += 1
    labels = spray(maps, 2, seed=3)
    assert adjusted_rand_score(corner, labels) == 1
    np.testing.assert_array_equal(labels, spray(maps, 2, seed=3))


def test_purity_at_equal_recall_takes_the_purest_clusters_image_by_image(rng: np.random.Generator) -> None:
    for recall in (0.25, 0.5, 0.8, 1.0):
        groups, truth = rng.integers(0, 5, 200), rng.random(200) < 0.4
        purity = [truth[groups == group].mean() for group in range(5)]
        got = taken = 0.0
        for group in sorted(range(5), key=lambda group: -purity[group]):
            for _ in range(1000 * int((groups == group).sum())):  # a thousandth of an image at a time
                if got >= recall * truth.sum() - 1e-9:
                    break
                got, taken = got + purity[group] / 1000, taken + 1 / 1000
        assert purity_at(groups, truth, recall) == pytest.approx(got / taken, abs=1e-3)


def test_slices_of_pure_clusters_are_as_pure_and_lose_by_the_adjusted_rand_index(rng: np.random.Generator) -> None:
    truth = np.repeat([True, False], 60)
    halves, slices = np.repeat([0, 1], 60), np.arange(120) // 10
    one, many = agreement(halves, truth), agreement(slices, truth)
    assert one is not None
    assert many is not None
    assert one.adjusted_rand == 1
    assert many.adjusted_rand < 0.3
    assert one.purity == many.purity == (1, 1)
    by_chance = agreement(rng.integers(-1, 3, 120), truth)
    assert by_chance is not None
    assert abs(by_chance.adjusted_rand) < 0.1


def test_a_class_that_the_truth_does_not_divide_has_no_agreement() -> None:
    assert agreement(np.arange(30) % 2, np.arange(30) < 4) is None
    assert agreement(np.arange(30) % 2, np.ones(30, bool)) is None


def test_bins_of_energy_are_equal_and_in_order(rng: np.random.Generator) -> None:
    energy = rng.random(80)
    bins = plain_ways(energy)["energy, 8 bins"]
    np.testing.assert_array_equal(np.bincount(bins), np.full(8, 10))
    assert all(energy[bins == low].max() < energy[bins == low + 1].min() for low in range(7))
