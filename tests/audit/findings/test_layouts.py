"""Claims about places, where classes differ in where and how large their objects are and the model errs alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_collections import Law, anywhere, draw_collection, in_the_middle, small_in_the_sky
from made_evidence import material
from numpy.typing import NDArray

from audit.findings.claims.kind import ClaimKind
from audit.findings.claims.spots import Spots
from audit.findings.claims.zones import Zones
from audit.findings.evidence import Evidence

PLACES = (Spots(), Zones())


def in_the_corner(rng: np.random.Generator, class_id: NDArray[np.integer]) -> NDArray[np.float64]:
    """About a point of the bottom right, of every class alike."""
    return np.clip(rng.normal(0.93, 0.03, (len(class_id), 2)), 0, 1)


def accused(evidence: Evidence, kind: ClaimKind) -> set[int | None]:
    """Classes with a claim that stands."""
    return {claim.class_id for claim in kind.test(material(evidence)) if claim.found}


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
        evidence = draw_collection(law, 20, 40, seed)
        assert [accused(evidence, kind) for kind in PLACES] == [set(), set()]


@pytest.mark.parametrize(
    ("share", "images", "classes", "boxes"),
    [(0.4, 40, 10, small_in_the_sky), (0.2, 100, 6, in_the_middle), (0.9, 8, 12, anywhere)],
)
def test_a_class_that_looks_at_a_place_in_a_part_of_its_images_is_found_and_no_other(
    share, images, classes, boxes
) -> None:
    for seed in range(3):
        evidence = draw_collection(Law(boxes, 0.1), classes, images, seed)
        marked = draw_collection(Law(boxes, 1.0, in_the_corner), classes, images, seed)
        chosen = (evidence.class_id == 0) & (np.random.default_rng(seed).random(len(evidence)) < share)
        own, its = (
            {name: getattr(part, name) for name in ("off_heat", "off_area", "clear", "off")}
            for part in (evidence, marked)
        )
        mixed = {
            name: np.where(chosen[:, None] if values.ndim == 2 else chosen, its[name], values)
            for name, values in own.items()
        }
        planted = replace(evidence, **mixed)
        assert [accused(planted, kind) for kind in PLACES] == [{0}, {0}]
