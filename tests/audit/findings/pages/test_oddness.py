"""The ranking without masks, against plain loops, and what it must and cannot do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.findings.pages.oddness import LEAST, PRIOR, beside_others, own_places, rank_without_masks, shares_of_heat

CELLS = 64


def maps(n: int, seed: int = 0) -> NDArray[np.float16]:
    return np.random.default_rng(seed).gamma(0.3, size=(n, CELLS)).astype(np.float16)


def slow_shares(heat: NDArray[np.floating]) -> list[list[float]]:
    """Border, corner and spread of each map, cell by cell."""
    told = []
    for row in np.nan_to_num(heat.astype(np.float64)):
        cells = [[value / (sum(row) or 1) for value in row[8 * i : 8 * i + 8]] for i in range(8)]
        flat = [value for line in cells for value in line]
        border = sum(cells[i][j] for i in range(8) for j in range(8) if i in (0, 7) or j in (0, 7))
        corner = max(sum(cells[a + i][b + j] for i in (0, 1) for j in (0, 1)) for a in (0, 6) for b in (0, 6))
        spread = -sum(value * math.log(value) for value in flat if value > 0) / math.log(CELLS)
        told.append([border, corner, spread])
    return told


def slow_beside(values: NDArray[np.floating], class_id: NDArray[np.integer]) -> list[float]:
    """By counting every other target."""
    shares = []
    for i, value in enumerate(values):
        others = [values[j] for j in range(len(values)) if class_id[j] != class_id[i]]
        below = sum(other < value for other in others) + sum(other == value for other in others) / 2
        shares.append(below / len(others) if others else 0.5)
    return shares


def in_cells(*cells: int) -> NDArray[np.float64]:
    heat = np.full(CELLS, 0.01)
    heat[list(cells)] = 1.0
    return heat / heat.sum()


def ranked(heat: NDArray[np.floating], class_id: list[int], **known: list[float]) -> NDArray[np.float32]:
    n = len(heat)
    columns = {"probability": np.full(n, 0.9), "wrong": np.zeros(n, bool), "quick": np.full(n, np.nan)}
    columns |= {name: np.array(values) for name, values in known.items()}
    return rank_without_masks(heat, np.array(class_id), **columns).oddness


def test_shares_are_those_of_plain_loops() -> None:
    heat = maps(40)
    heat[7] = np.nan
    np.testing.assert_allclose(shares_of_heat(heat).T, slow_shares(heat), atol=2e-6)


def test_blocks_do_not_change_the_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    heat = maps(23)
    whole = shares_of_heat(heat)
    monkeypatch.setattr("audit.findings.pages.oddness.BLOCK", 5)
    assert (shares_of_heat(heat) == whole).all()


def test_a_target_is_held_against_other_classes_alone_with_ties_counted_half() -> None:
    rng = np.random.default_rng(1)
    values, class_id = rng.integers(0, 6, 80) / 5, rng.integers(0, 5, 80)
    assert beside_others(values, class_id) == pytest.approx(slow_beside(values, class_id))


def test_a_single_class_has_nothing_beside_it() -> None:
    assert beside_others(np.array([0.1, 0.2]), np.zeros(2, int)).tolist() == [0.5, 0.5]


def test_no_target_gives_empty_columns() -> None:
    nothing = rank_without_masks(np.zeros((0, CELLS)), *(np.zeros(0, kind) for kind in (int, float, bool, float)))
    assert all(len(column) == 0 for column in nothing)


def slow_places(heat: NDArray[np.floating], class_id: NDArray[np.integer]) -> list[float]:
    """By means over the other maps of the class, and over those of the other classes, cell by cell."""
    even = [[value / (sum(row) or 1) for value in row] for row in np.nan_to_num(heat.astype(np.float64)).tolist()]
    told = []
    for i, row in enumerate(even):
        own = [even[j] for j in range(len(even)) if class_id[j] == class_id[i] and j != i]
        others = [even[j] for j in range(len(even)) if class_id[j] != class_id[i]]
        total = 0.0
        for cell in range(CELLS) if others else ():
            beside = sum(other[cell] for other in others) / len(others)
            mean = (sum(other[cell] for other in own) + PRIOR * beside) / (len(own) + PRIOR)
            total += row[cell] * math.log((mean + LEAST) / (beside + LEAST))
        told.append(total)
    return told


def test_places_of_a_class_are_those_of_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    heat, class_id = maps(30), np.random.default_rng(2).integers(0, 4, 30)
    heat[3] = np.nan
    np.testing.assert_allclose(own_places(heat, class_id), slow_places(heat, class_id), atol=1e-5)
    monkeypatch.setattr("audit.findings.pages.oddness.BLOCK", 7)
    np.testing.assert_allclose(own_places(heat, class_id), slow_places(heat, class_id), atol=1e-5)
    assert not own_places(heat, np.zeros(30, int)).any()


def test_heat_that_goes_to_a_mark_at_the_border_comes_before_heat_inside() -> None:
    rng = np.random.default_rng(3)
    inside, mark = [in_cells(27 + rng.integers(2)) for _ in range(40)], [in_cells(7, 15) for _ in range(10)]
    odd = ranked(np.array(inside[:20] + mark + inside[20:]), [0] * 30 + [1] * 20)
    assert odd[20:30].min() > max(odd[:20].max(), odd[30:].max())


def test_heat_where_its_class_alone_has_it_is_odd_inside_the_frame_too() -> None:
    scattered = maps(40).astype(float)
    line = np.array([in_cells(34, 35, 36, 37) for _ in range(10)])
    parts = rank_without_masks(
        np.concatenate([line, scattered]),
        np.repeat([0, 0, 1], [10, 10, 30]),
        *(np.full(50, value) for value in (0.9, False, np.nan)),
    )
    assert parts.place[:10].min() > 0.9
    assert parts.border[:10].max() < 0.1
    assert parts.oddness[:10].mean() > parts.oddness[10:20].mean()


def test_objects_that_are_usual_at_the_border_pass_for_marks() -> None:
    """What it cannot do: a class of objects at the border is odd throughout, though nothing is wrong."""
    rng = np.random.default_rng(4)
    at_border = np.array([in_cells(rng.integers(8)) for _ in range(20)])
    inside = np.array([in_cells(8 * rng.integers(2, 6) + rng.integers(2, 6)) for _ in range(20)])
    odd = ranked(np.concatenate([at_border, inside]), [0] * 20 + [1] * 20)
    assert odd[:20].min() > odd[20:].max()


def test_a_sure_answer_against_the_label_is_odd_wherever_its_heat_lies() -> None:
    heat = np.array([in_cells(27)] * 4)
    odd = ranked(heat, [0, 0, 1, 1], probability=[0.99, 0.99, 0.99, 0.4], wrong=[True, False, False, True])
    assert odd.argmax() == 0
    assert odd[0] == pytest.approx(0.99)
    assert odd[3] < odd[0] / 2


def test_what_the_quick_check_took_counts_where_it_was_made() -> None:
    heat = np.array([in_cells(27)] * 4)
    odd = ranked(heat, [0, 0, 0, 1], quick=[1.0, 0.0, np.nan, -1.0])
    assert odd.tolist() == pytest.approx([0.75, 0.25, 0.5, 0.25])
