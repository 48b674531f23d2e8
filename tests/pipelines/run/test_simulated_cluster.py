"""The simulation of a cluster against what its slowest station allows, in closed form."""

from __future__ import annotations

import pytest

from tests.benchmarks.scale.simulated_cluster import Costs, simulate


@pytest.mark.parametrize(
    ("costs", "workers", "rate"),
    [
        (Costs(0.001, 0.001, 0.9, 0.1), 10, 10.0),
        (Costs(0.02, 0.001, 0.9, 0.1), 100, 50.0),
        (Costs(0.001, 0.025, 0.9, 0.1), 100, 40.0),
    ],
    ids=["workers", "scheduler", "driver"],
)
def test_as_many_shards_go_through_as_the_slowest_station_lets_through(costs: Costs, workers: int, rate: float) -> None:
    course = simulate(costs, workers, 40 * workers)
    assert course.shards_a_second == pytest.approx(rate, rel=0.05)
    slowest = max(course.busy, key=lambda station: course.busy[station])
    assert course.busy[slowest] > 0.9


def test_a_worker_is_not_idle_where_another_shard_is_given_out_ahead() -> None:
    costs = Costs(0.05, 0.05, 1.0, 0.0)
    assert simulate(costs, 2, 80, ahead=2).shards_a_second == pytest.approx(2.0, rel=0.02)
    assert simulate(costs, 2, 80, ahead=1).shards_a_second == pytest.approx(2 / 1.1, rel=0.05)
