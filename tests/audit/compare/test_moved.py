"""Where the heat of the same targets went from one run to another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_run
from numpy.typing import NDArray

from audit.compare import most_moved, moved_targets
from audit.compare.moved import elsewhere
from audit.errors import RunError
from audit.store import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The second has the heat of one target on the object that it was off, and another probability of another."""
    folder = tmp_path_factory.mktemp("pair")
    before = Run.open(small_run.make_run(folder / "a"))
    targets = list(small_run.TARGETS)
    targets[2] = ("c", 0, 0.7, small_run.ON)
    targets[4] = ("e", 0, 0.6, small_run.ON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_run, "TARGETS", tuple(targets))
        return before, Run.open(small_run.make_run(folder / "b"))


def slow_elsewhere(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    totals = sum(a), sum(b)
    if not all(totals):
        return float("nan")
    return sum(abs(x / totals[0] - y / totals[1]) for x, y in zip(a, b, strict=True)) / 2


def test_moved_heat_is_that_of_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.gamma(0.5, size=(20, 64)).astype(np.float32) for _ in range(2))
    a[3] = b[5] = 0
    places = rng.integers(0, 20, (2, 30))
    monkeypatch.setattr("audit.compare.moved.BLOCK", 7)
    slow = [slow_elsewhere(a[i].astype(float), b[j].astype(float)) for i, j in places.T]
    np.testing.assert_allclose(elsewhere(a, places[0], b, places[1]), slow, atol=1e-6)


def test_each_target_of_both_runs_has_what_changed(runs: tuple[Run, Run]) -> None:
    moved = moved_targets(*runs).set_index("id")
    assert len(moved) == 5
    assert moved.loc["c", "heat"] == pytest.approx(1.0, abs=0.01)
    assert moved.loc["c", "energy"] > 0.5
    assert moved.loc["c", "severity"] < 0
    assert moved.loc["c", "kind_a"] == "indifferent"
    assert moved.loc[["c"], "kind_b"].isna().all()
    assert moved.loc["e", "probability"] == pytest.approx(-0.25)
    assert moved.drop(index="c")["heat"].to_numpy() == pytest.approx(0)


def test_targets_are_ordered_by_how_much_changed_and_those_that_did_not_are_left_out(runs: tuple[Run, Run]) -> None:
    moved = moved_targets(*runs)
    assert most_moved(moved, "heat")["id"].tolist() == ["c"]
    assert most_moved(moved, "probability")["id"].tolist() == ["e"]
    with pytest.raises(ValueError, match="Expected `change` to be one of heat, energy"):
        most_moved(moved, "colour")


def test_runs_over_other_images_and_runs_that_were_not_flagged_are_refused(
    runs: tuple[Run, Run], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="no findings yet"):
        moved_targets(runs[0], Run.open(small_run.make_run(tmp_path / "c", flagged=False)))
    others = tuple((f"other {name}"[:20], *rest) for name, *rest in small_run.TARGETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_run, "TARGETS", others)
        other = Run.open(small_run.make_run(tmp_path / "d"))
    with pytest.raises(RunError, match="got none of"):
        moved_targets(runs[0], other)
