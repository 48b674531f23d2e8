"""Heat on another labelled class, in drawn frames: when it is held against the model, and when it may not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from made_evidence import CELLS, draw_evidence, material
from numpy.typing import NDArray

from audit.findings.claims.context import Contexts
from audit.findings.evidence.targets import Evidence
from audit.findings.rules import Rules, misplacement

Y, X = np.mgrid[:CELLS, :CELLS]
SIZES = ((1, 2), (3, 4), (3, 4), (3, 4))
"""Sides of the objects of each class, from and to, in cells: the first has small ones."""
ALIKE = ((2, 4),) * 4
IMAGES = 60
"""Of each class."""


def rectangles(
    top: NDArray[np.integer], left: NDArray[np.integer], height: NDArray[np.integer], width: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """[n, 8, 8]."""
    top, left, bottom, right = (side[:, None, None] for side in (top, left, top + height, left + width))
    return (top <= Y) & (bottom > Y) & (left <= X) & (right > X)


def blobs(centres: NDArray[np.floating], spread: NDArray[np.floating]) -> NDArray[np.float64]:
    """[n, 8, 8] around centres [n, 2] in cells."""
    y, x = centres.T[..., None, None]
    return np.exp(-((Y + 0.5 - y) ** 2 + (X + 0.5 - x) ** 2) / (2 * spread[:, None, None] ** 2))


def misplaced(heat: NDArray[np.floating], objects: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[n] by the shift null over all 64 shifts."""
    shifts = np.stack([np.roll(objects, shift, (1, 2)) for shift in np.ndindex(CELLS, CELLS)])
    energy = (shifts * heat).sum(axis=(2, 3))
    chance = (energy >= energy[0] - 1e-9).mean(axis=0)
    return misplacement(chance, energy[0], energy.max(axis=0)) >= Rules().misplaced


def draw(
    seed: int,
    sizes: Sequence[tuple[int, int]],
    heat_on: str,
    width: tuple[float, float] = (1.5, 2.5),
    rate: float = 0.9,
) -> Evidence:
    """Objects of each class beside a large one of the last class.

    Args:
        sizes: of the objects' sides, by class.
        heat_on: `object`, `neighbour`, `anywhere`; or `shortcut`: on the neighbour at a rate for the first class, else
            on the object.
        width: of the blobs of heat, from and to, in cells.
    """
    rng, n = np.random.default_rng([seed, 7]), IMAGES * len(sizes)
    class_id = np.repeat(np.arange(len(sizes)), IMAGES)
    low, high = np.array(sizes)[class_id].T
    height, across = rng.integers(low, high + 1, (2, n))
    top, left = rng.integers(0, CELLS - height + 1), rng.integers(0, CELLS - across + 1)
    own = rectangles(top, left, height, across)
    before = left > CELLS - left - across
    beside = np.where(before, np.maximum(left - 4, 0), left + across)
    broad = np.where(before, left - beside, np.minimum(4, CELLS - beside))
    tall = rng.integers(4, CELLS, n)
    above = rng.integers(0, CELLS - tall + 1)
    other = rectangles(above, beside, tall, broad)
    places = {
        "object": np.stack([top + height / 2, left + across / 2], axis=1),
        "neighbour": np.stack([above + tall / 2, beside + broad / 2], axis=1),
        "anywhere": rng.uniform(0, CELLS, (n, 2)),
    }
    relies = (class_id == 0) & (rng.random(n) < rate)
    places["shortcut"] = np.where(relies[:, None], places["neighbour"], places["object"])
    heat = blobs(places[heat_on], rng.uniform(*width, n)) * rng.uniform(0.8, 1.2, (n, CELLS, CELLS))
    heat /= heat.sum(axis=(1, 2), keepdims=True)
    target = np.flatnonzero(other.any(axis=(1, 2)))
    return replace(
        draw_evidence(n, len(sizes) + 1, seed, per_image=1),
        class_id=class_id.astype(np.int32),
        named=np.ones(n, bool),
        off=misplaced(heat, own),
        off_heat=np.where(own, 0, heat).reshape(n, -1).astype(np.float16),
        off_area=np.where(own, 0, 1 / CELLS**2).reshape(n, -1).astype(np.float16),
        context={
            "target": target,
            "class_id": np.full(len(target), len(sizes), np.int32),
            "heat": (heat * other).sum(axis=(1, 2))[target].astype(np.float32),
            "area": other.mean(axis=(1, 2))[target].astype(np.float32),
        },
    )


def accused(evidence: Evidence) -> set[int | None]:
    """Classes that a claim stands about."""
    return {claim.class_id for claim in Contexts().test(material(evidence)) if claim.found}


@pytest.mark.parametrize(
    ("sizes", "heat_on", "width"),
    [
        (SIZES, "object", (1.5, 2.5)),
        (SIZES, "object", (3, 4)),
        (SIZES[:1], "object", (1.5, 2.5)),
        (((1, 2), (4, 5), (4, 5), (4, 5)), "anywhere", (1.5, 2.5)),
        (((1, 2), (6, 7), (6, 7), (6, 7)), "anywhere", (1.5, 2.5)),
        (((1, 4), (2, 6), (2, 6), (4, 6)), "neighbour", (1.5, 2.5)),
    ],
    ids=["small object", "broad heat", "alone", "heat anywhere", "beside filling ones", "heat on all neighbours"],
)
def test_a_small_object_beside_a_large_one_is_not_held_against_the_model(
    sizes: Sequence[tuple[int, int]], heat_on: str, width: tuple[float, float]
) -> None:
    false = [bool(accused(draw(seed, sizes, heat_on, width))) for seed in range(40)]
    assert np.mean(false) <= 0.06


@pytest.mark.parametrize(("sizes", "rate"), [(ALIKE, 0.9), (ALIKE, 0.4), (((4, 5), *ALIKE[1:]), 0.9)])
def test_a_class_that_is_named_by_its_neighbour_is_found_and_no_other(
    sizes: Sequence[tuple[int, int]], rate: float
) -> None:
    assert [accused(draw(seed, sizes, "shortcut", rate=rate)) for seed in range(20)] == [{0}] * 20


def test_without_others_to_compare_with_a_class_that_always_is_named_by_its_neighbour_is_found() -> None:
    assert [accused(draw(seed, ALIKE[:1], "shortcut", rate=1)) for seed in range(20)] == [{0}] * 20


def test_targets_that_show_a_claim_look_off_the_object_with_more_of_the_heat_on_the_other() -> None:
    evidence = draw(0, ALIKE, "shortcut")
    claim = Contexts().test(material(evidence))[0]
    own = 1 - evidence.off_heat.sum(axis=1, dtype=float)
    on, area = (np.zeros(len(evidence)) for _ in range(2))
    for values, name in ((on, "heat"), (area, "area")):
        values[evidence.context["target"]] = evidence.context[name]
    np.testing.assert_array_equal(Contexts().shows(claim, evidence), evidence.off & (on > own) & (on > area))


def test_the_sentence_says_what_was_counted_and_what_with() -> None:
    claim = Contexts().test(material(draw(0, ALIKE, "shortcut")))[0]
    shows = round(claim.share * claim.targets)
    assert claim.says == (
        f"In {shows} of {claim.targets} images named class 0 that show class 4 too, the model looks off the object and "
        f"more of the heat lies on class 4 than on class 0 itself; of other classes' images with class 4 as large it "
        f"does in {round(100 * claim.expected)} %."
    )
