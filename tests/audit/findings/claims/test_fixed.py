"""Claims that heat keeps to one place of the frame: what objects account for, and what they do not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from made_collections import (
    Collection,
    Law,
    anywhere,
    at_the_bottom,
    draw_collection,
    filling_the_frame,
    heads,
    large_first,
    line,
    small_in_the_sky,
)
from numpy.typing import NDArray

from audit.findings.claims.fixed import (
    FOLLOWS,
    PLACES,
    Fixed,
    Looks,
    goes_on_beside,
    keeps_to_the_frame,
    middle,
    narrow,
    points_of,
)
from audit.findings.claims.spots import Spots
from audit.findings.claims.zones import Zones


def accused(collection: Collection) -> set[int | None]:
    return {claim.class_id for claim in Fixed().test(collection.material) if claim.found}


def with_a_line(law: Law, images: int, seed: int, share: float = 0.83) -> Collection:
    """Class 0 looks at a line of text in most of its images, the others at their objects."""
    honest = draw_collection(law, 12, images, seed)
    marked = draw_collection(replace(law, wrong=0.0, looked_at=line), 12, images, seed)
    chosen = (honest.evidence.class_id == 0) & (np.random.default_rng(seed).random(12 * images) < share)
    return honest.with_some_of(marked, chosen)


@pytest.mark.parametrize(
    "law",
    [
        Law(small_in_the_sky, 0.3),
        Law(at_the_bottom, 0.1, map_size=10),
        Law(large_first, 0.1, looked_at=heads, map_size=10),
        Law(filling_the_frame, 0.1, looked_at=heads),
        Law(at_the_bottom, 0.1, map_size=20, spread=4.0),
    ],
    ids=["sky", "bottom", "heads of large ones", "heads, frame filled", "maps that see far"],
)
def test_a_place_where_the_objects_or_a_part_of_them_are_is_no_claim(law: Law) -> None:
    for seed in range(3):
        assert accused(draw_collection(law, 12, 16, seed)) == set()


def test_a_line_across_large_objects_is_found_though_nothing_else_finds_its_place() -> None:
    found = [accused(with_a_line(Law(large_first, 0.1, map_size=10), 16, seed)) for seed in range(8)]
    assert sum(classes == {0} for classes in found) >= 4
    assert set().union(*found) == {0}
    blind = [
        [
            claim
            for kind in (Zones(), Spots())
            for claim in kind.test(with_a_line(Law(large_first, 0.1, map_size=10), 16, seed).material)
        ]
        for seed in range(3)
    ]
    assert not [claim for claims in blind for claim in claims if claim.found]


def test_a_line_is_found_in_ten_images_where_objects_leave_room() -> None:
    found = [accused(with_a_line(Law(anywhere, 0.1), 10, seed)) for seed in range(8)]
    assert sum(classes == {0} for classes in found) >= 6


def test_its_sentence_says_that_the_place_lies_partly_on_the_object_and_what_speaks_against_it() -> None:
    (claim,) = [claim for claim in Fixed().test(with_a_line(Law(anywhere, 0.1), 16, 0).material) if claim.found]
    details = claim.details
    assert "partly on the object" in claim.says
    assert f"in {details['beside']} of {details['room']} images" in claim.says
    assert 0 < details["covered"] < 1
    assert (PLACES[:, details["cells"]].all(axis=1) & (PLACES.sum(axis=1) == len(details["cells"]))).any()


def test_places_are_blocks_that_fill_the_frame_then_bands_and_parts_of_it() -> None:
    blocks, bands, parts = PLACES[:16], PLACES[16:30], PLACES[30:]
    assert (blocks.sum(axis=0) == 1).all()
    assert (blocks.sum(axis=1) == 4).all()
    assert (bands.sum(axis=1) == 16).all()
    assert len(parts) == 12
    assert len(np.unique(PLACES, axis=0)) == len(PLACES)


def test_nothing_is_asked_without_masks() -> None:
    collection = with_a_line(Law(anywhere, 0.1), 16, 0)
    assert Fixed().test(collection.without_masks(np.ones(len(collection.evidence), bool)).material) == []


def looks(rng: np.random.Generator, count: int = 9) -> Looks:
    heat, objects = rng.random((2, count, 64))
    objects *= rng.random((count, 64)) < 0.5
    heat /= heat.sum(axis=1, keepdims=True)
    off = 1 - objects
    return Looks(
        np.zeros(count, int), heat, objects, heat * off, off / 64, (objects < 0.2) & (rng.random(heat.shape) < 0.5)
    )


def test_heat_goes_on_beside_the_object_as_plain_loops_say(rng: np.random.Generator) -> None:
    images, seen = looks(rng, 60), set()
    for place in PLACES:
        goes_on, room = goes_on_beside(images, place)
        for i in range(len(images.heat)):
            clear = [k for k in range(64) if place[k] and images.clear[i, k]]
            taken = [k for k in range(64) if place[k] and not images.clear[i, k]]
            near = [k for k in range(64) if not place[k] and not images.clear[i, k]]
            assert room[i] == bool(clear)
            heat, area = (sum(float(part[i, k]) for k in clear) for part in (images.off_heat, images.off_area))
            rest = 64 * sum(images.heat[i, k] for k in taken) / len(taken) if taken else 0
            spilt = sum(images.off_heat[i, k] for k in near) / sum(images.off_area[i, k] for k in near)
            odds = heat * (1 - area) > 2 * area * (1 - heat)
            expected = bool(clear) and odds and heat >= max(rest / 2, spilt) * area
            seen.add(expected)
            assert goes_on[i] == expected
    assert seen == {True, False}


def middle_in_loops(weights: NDArray[np.floating]) -> tuple[float, float]:
    total = sum(weights)
    y, x = (
        sum(w * (place + 0.5) / 8 for w, place in zip(weights, at, strict=True)) / total
        for at in divmod(np.arange(64), 8)
    )
    return y, x


def test_the_middle_of_heat_is_its_mean_place(rng: np.random.Generator) -> None:
    heat = rng.random((5, 64))
    np.testing.assert_allclose(middle(heat), [middle_in_loops(one) for one in heat])


def test_points_of_a_box_are_its_middle_and_its_edges() -> None:
    box = np.zeros((8, 8))
    box[2:6, 1:3] = 1
    points = {tuple(float(at) for at in np.round(point[0], 4)) for point in points_of(box.reshape(1, 64))}
    top, bottom, left, right = 0.275, 0.725, 0.1375, 0.3625  # but for a twentieth at each end
    assert points == {
        *((0.5, x) for x in (0.25, left, right)),
        *((y, 0.25) for y in (top, bottom)),
        *((y, 0.0) for y in (0.5, top, bottom)),
        *((0.0, x) for x in (0.25, left, right)),
    }


def test_the_frame_foretells_better_in_the_share_of_pairs_that_loops_count(rng: np.random.Generator) -> None:
    images = looks(rng, 8)
    shares = []
    for point in points_of(images.objects):
        points = 0.0
        for i in range(8):
            for j in range(8):
                (y, x), (v, u) = (middle_in_loops(images.heat[k]) for k in (i, j))
                still = math.hypot(y - v, x - u)
                down, right = (FOLLOWS * (point[i, axis] - point[j, axis]) for axis in (0, 1))
                moved = math.hypot(y - v - down, x - u - right)
                points += 0 if i == j else 1 if still < moved - 1e-3 else 0.5 if abs(still - moved) <= 1e-3 else 0
        shares.append(points / 56)
    nearer, _ = keeps_to_the_frame(images, PLACES[0])
    assert any(nearer == pytest.approx(share) for share in shares)


def test_heat_that_stays_while_objects_move_keeps_to_the_frame_and_heat_that_moves_does_not() -> None:
    heat, objects = np.zeros((2, 12, 8, 8))
    for i, (y, x) in enumerate(np.random.default_rng(0).integers(0, 6, (12, 2))):
        objects[i, y : y + 2, x : x + 2] = 1
    heat[:, 6, 3] = 1
    area = 1 - objects.reshape(12, 64)
    shared = (objects.reshape(12, 64), heat.reshape(12, 64), area / 64, area > 0)
    still = keeps_to_the_frame(Looks(np.zeros(12, int), heat.reshape(12, 64), *shared), PLACES[0])
    moving = keeps_to_the_frame(Looks(np.zeros(12, int), objects.reshape(12, 64) / 4, *shared), PLACES[0])
    assert still[0] > 0.8
    assert still[1] < 0.01
    assert moving[0] < 0.3
    assert moving[1] > 0.9


def test_of_a_band_only_the_axis_is_asked_that_it_is_narrow_along() -> None:
    rows = np.zeros((8, 8), bool)
    rows[6:] = True
    assert narrow(rows.ravel()) == (True, False)
    assert narrow(rows.T.ravel()) == (False, True)
    assert narrow((rows & rows.T).ravel()) == (True, True)
    border = np.ones((8, 8), bool)
    border[1:-1, 1:-1] = False
    assert narrow(border.ravel()) == (True, True)
