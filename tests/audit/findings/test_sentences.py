"""Findings in words: each number in its place, each zone by its name."""

from __future__ import annotations

import numpy as np
import pytest

from audit.findings.evidence import frame
from audit.findings.sentences import explain_targets


def where_heat_lies(cells_: np.ndarray) -> tuple[str, float]:
    (place,), (share,) = frame.where_heat_lies(cells_[None])
    return place, float(share)


def explain_target(off_heat: np.ndarray, *values: float | str, quick: float = np.nan) -> str:
    (found,) = explain_targets(off_heat[None], *([value] for value in (*values, quick)))
    return found


def cells(*places: tuple[int, int], heat: float = 1.0) -> np.ndarray:
    frame = np.zeros((8, 8))
    for row, column in places:
        frame[row, column] = heat / len(places)
    return frame.ravel()


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([(7, 7), (6, 7)], "in the bottom-right corner"),
        ([(0, 0)], "in the top-left corner"),
        ([(0, 6), (1, 7)], "in the top-right corner"),
        ([(6, 1)], "in the bottom-left corner"),
        ([(0, 0), (0, 4), (0, 7)], "along the top border"),
        ([(0, 0), (1, 3), (1, 4), (1, 5), (0, 7)], "along the top edge"),
        ([(0, 7), (3, 6), (4, 6), (5, 6), (7, 7)], "along the right edge"),
        ([(0, 0), (0, 7), (7, 3), (7, 5)], "along the top and bottom border"),
        ([(2, 2), (3, 3), (0, 3)], "in the top-left quarter"),
        ([(2, 2), (5, 5)], "in the centre of the frame"),
        ([(0, 4), (4, 0), (7, 4), (4, 7)], "along the border of the frame"),
        ([(1, 1), (3, 3), (5, 1), (6, 3)], "in the left half"),
        ([(1, 1), (6, 6), (1, 6), (6, 1)], "all over the frame"),
    ],
)
def test_heat_is_placed_in_the_smallest_zone_that_holds_most_of_it(
    places: list[tuple[int, int]], expected: str
) -> None:
    assert where_heat_lies(cells(*places)) == (expected, pytest.approx(1))


def test_two_thirds_of_what_is_off_the_object_make_a_zone_and_its_share_is_of_all_heat() -> None:
    frame = cells((7, 7), heat=0.4) + cells((0, 0), heat=0.2)
    assert where_heat_lies(frame) == ("in the bottom-right corner", pytest.approx(0.4))
    assert where_heat_lies(frame + cells((0, 7), heat=0.01))[0] != "in the bottom-right corner"


def test_a_map_with_no_heat_off_the_object_or_none_that_counts_is_nowhere() -> None:
    for nowhere in (np.zeros(64), np.full(64, np.nan)):
        assert where_heat_lies(nowhere) == ("all over the frame", 0)


def test_an_indifferent_target_is_told_with_place_object_and_chance() -> None:
    found = explain_target(cells((7, 7), heat=0.78), 0.12, 0.97, 0.55, 0.993, "disc", "indifferent")
    assert found == (
        "disc, named with more than 99 %: 78 % of the heat lies off the object in the bottom-right corner, "
        "12 % on the object where 55 % would be possible; 97 % of random places would do as well."
    )


def test_a_target_that_avoids_the_object_is_told_without_a_number_of_places() -> None:
    found = explain_target(cells((0, 0), heat=1), 0.0, 1.0, 0.55, 0.4, "a cat", "avoids")
    assert "100 % of the heat lies off the object in the top-left corner, 0 % on the object" in found
    assert found.endswith("nearly every random place would do better.")


def test_what_is_almost_nothing_or_everything_is_not_rounded_to_it() -> None:
    found = explain_target(cells((0, 0), heat=0.999), 0.001, 0.001, 0.9, 0.9999, "disc", "indifferent")
    assert "named with more than 99 %" in found
    assert "less than 1 % on the object" in found
    assert found.endswith("hardly any random place would do as well.")


def test_a_target_without_a_mask_is_told_to_have_none() -> None:
    found = explain_target(cells((7, 7), heat=0.9), np.nan, np.nan, np.nan, 0.97, "disc", "detected")
    assert found.startswith("disc, named with 97 %: 90 % of the heat lies in the bottom-right corner, as where")
    assert found.endswith("this one has no mask.")


@pytest.mark.parametrize(
    ("quick", "expected"),
    [
        (0.84, "With its background scattered 84 % of the probability is lost."),
        (-0.2, "nothing of the probability is lost."),
    ],
)
def test_what_the_quick_check_took_is_told_behind(quick: float, expected: str) -> None:
    told = explain_target(cells((7, 7), heat=0.78), 0.12, 0.97, 0.55, 0.993, "disc", "indifferent", quick=quick)
    assert told.endswith(expected)
    assert "probability is lost" not in explain_target(cells((7, 7)), 0.1, 0.9, 0.5, 0.9, "disc", "indifferent")
