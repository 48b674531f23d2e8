"""Claims on heat alone beside where the class's objects are known to be."""

from __future__ import annotations

import numpy as np
import pytest
from made_collections import Collection, Law, anywhere, at_the_bottom, draw_collection

from audit.findings import Claim
from audit.findings.claims.kind import ClaimKind
from audit.findings.claims.spots import Spots
from audit.findings.claims.zones import Zones

KINDS = (Zones(), Spots())


def in_the_corner(rng: np.random.Generator, class_id: np.ndarray) -> np.ndarray:
    return np.clip(rng.normal(0.93, 0.03, (len(class_id), 2)), 0, 1)


def mostly_without_masks(collection: Collection, known: float, seed: int = 0) -> Collection:
    masked = np.random.default_rng(seed).random(len(collection.evidence)) < known
    return collection.without_masks(~masked)


def claims_of(collection: Collection, kind: ClaimKind) -> list[Claim]:
    return [claim for claim in kind.test(collection.material) if claim.class_id == 0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_where_known_objects_are_is_claimed_on_heat_alone_only_where_none_is_known(kind: ClaimKind) -> None:
    for seed in range(3):
        collection = draw_collection(Law(at_the_bottom, 0.0), 12, 40, seed)
        bare = claims_of(mostly_without_masks(collection, 0.0), kind)
        beside = claims_of(mostly_without_masks(collection, 0.3, seed), kind)
        assert [claim for claim in bare if claim.found]
        assert not [claim for claim in beside if claim.found]


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_where_known_objects_are_not_stands_and_says_how_much_they_cover(kind: ClaimKind) -> None:
    honest = draw_collection(Law(anywhere, 0.1), 12, 40, 0)
    marked = draw_collection(Law(anywhere, 1.0, in_the_corner), 12, 40, 0)
    collection = honest.with_some_of(marked, honest.evidence.class_id == 0)
    found = [claim for claim in claims_of(mostly_without_masks(collection, 0.3), kind) if claim.found]
    assert found
    for claim in found:
        assert claim.rests_on == "heat alone"
        assert " that are known (" in claim.says
