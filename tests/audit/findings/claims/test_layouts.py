"""Claims about places, where classes differ in where and how large their objects are and the model errs alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from made_collections import Boxes, Collection, Law, anywhere, draw_collection, in_the_middle, large, small_in_the_sky
from numpy.typing import NDArray
from scipy.stats import t

from audit.findings.claims.following import TOLERATED, Following, _contrasts, does_as_well, mean_of_pairs
from audit.findings.claims.kind import ClaimKind
from audit.findings.claims.spots import Spots
from audit.findings.claims.zones import Zones

PLACES = (Spots(), Zones())


def in_the_corner(rng: np.random.Generator, class_id: NDArray[np.integer]) -> NDArray[np.float64]:
    """About a point of the bottom right, of every class alike."""
    return np.clip(rng.normal(0.93, 0.03, (len(class_id), 2)), 0, 1)


def accused(collection: Collection, kind: ClaimKind) -> set[int | None]:
    """Classes with a claim that stands."""
    return {claim.class_id for claim in kind.test(collection.material) if claim.found}


@pytest.mark.parametrize(
    "law",
    [
        Law(small_in_the_sky, 0.3),
        Law(small_in_the_sky, 0.3, in_the_corner),
        Law(small_in_the_sky, 0.0, map_size=14),
        Law(in_the_middle, 0.3),
        Law(anywhere, 0.3),
    ],
)
def test_where_only_layouts_differ_no_class_is_accused_of_a_place(law: Law) -> None:
    for seed in range(2):
        collection = draw_collection(law, 20, 40, seed)
        assert [accused(collection, kind) for kind in PLACES] == [set(), set()]


@pytest.mark.parametrize(
    ("share", "images", "classes", "boxes"),
    [(0.4, 40, 10, small_in_the_sky), (0.2, 100, 6, in_the_middle), (0.9, 8, 12, anywhere)],
)
def test_a_class_that_looks_at_a_place_in_a_part_of_its_images_is_found_and_no_other(
    share: float, images: int, classes: int, boxes: Callable[..., Boxes]
) -> None:
    for seed in range(3):
        honest = draw_collection(Law(boxes, 0.1), classes, images, seed)
        marked = draw_collection(Law(boxes, 1.0, in_the_corner), classes, images, seed)
        is_first = honest.evidence.class_id == 0
        chosen = is_first & (np.random.default_rng(seed).random(len(is_first)) < share)
        planted = honest.with_some_of(marked, chosen)
        assert [accused(planted, kind) for kind in PLACES] == [{0}, {0}]


def about_the_middle(rng: np.random.Generator, class_id: NDArray[np.integer]) -> NDArray[np.float64]:
    """Where photographers put objects, whatever this one's place."""
    return np.clip(rng.normal(0.5, 0.1, (len(class_id), 2)), 0, 1)


@pytest.mark.parametrize("places", [about_the_middle, in_the_corner])
def test_heat_that_owes_nothing_to_objects_in_the_middle_is_found_and_classes_it_follows_are_not(
    places: Callable[..., NDArray[np.float64]],
) -> None:
    for seed in range(3):
        following = draw_collection(Law(in_the_middle, 0.1, places, spread=1.2), 10, 40, seed)
        blind = draw_collection(Law(in_the_middle, 1.0, places), 10, 40, seed)
        planted = following.with_some_of(blind, following.evidence.class_id < 2)
        assert accused(planted, Following()) == {0, 1}


@pytest.mark.parametrize(
    "law", [Law(anywhere, 0.3), Law(small_in_the_sky, 0.3, spread=1.0), Law(large, 0.0, spread=1.2)]
)
def test_heat_that_follows_its_object_in_most_images_is_no_claim(law: Law) -> None:
    for seed in range(2):
        assert accused(draw_collection(law, 20, 40, seed), Following()) == set()


def test_the_other_maps_that_do_as_well_are_those_that_loops_find(rng: np.random.Generator) -> None:
    heat, objects = rng.random((9, 64)), rng.random((9, 64)).round()
    heat[3] = heat[4]
    heat /= heat.sum(axis=1, keepdims=True)
    points = does_as_well(heat, objects)
    for i in range(9):
        own = sum(heat[i, cell] * objects[i, cell] for cell in range(64))
        for j in range(9):
            other = sum(heat[j, cell] * objects[i, cell] for cell in range(64))
            expected = 1.0 if other > own + 1e-6 else 0.5 if abs(other - own) <= 1e-6 else 0.0
            assert points[i, j] == (expected if i != j else 0)


def test_the_error_of_a_mean_of_pairs_is_that_of_leaving_images_out(rng: np.random.Generator) -> None:
    values = rng.random((7, 7))
    np.fill_diagonal(values, 0)

    def mean_over(images: list[int]) -> float:
        return float(np.mean([values[i, j] for i in images for j in images if i != j]))

    without = np.array([mean_over([i for i in range(7) if i != left]) for left in range(7)])
    mean, error = mean_of_pairs(values)
    assert mean == pytest.approx(mean_over(list(range(7))))
    assert error == pytest.approx(np.sqrt(6 / 7 * ((without - without.mean()) ** 2).sum()))


def test_pairs_that_all_agree_leave_an_error_of_a_tenth_an_image() -> None:
    alike = np.full((12, 12), 0.35)
    np.fill_diagonal(alike, 0)
    tested = _contrasts(np.array([0]), [alike])
    assert tested.p[0] == pytest.approx(t.sf((0.35 - TOLERATED) / (0.1 / np.sqrt(12)), 11))
