"""What silence is worth: how often a shortcut of the share that is called detectable is found."""

from __future__ import annotations

import numpy as np
import pytest
from made_collections import Law, draw_collection, in_the_middle
from numpy.typing import NDArray
from scipy.stats import binom

from audit.findings.claims.spots import Spots
from audit.findings.claims.whole_class import class_findings
from audit.findings.power import explain_silence, in_whole_classes, least_count, least_share, silence, standing_out
from audit.findings.records import ClassFinding
from audit.findings.rules import Rules

RULES = Rules()
CLASSES = tuple("abcdefgh")


def judged(off: list[int], of: list[int]) -> list[ClassFinding]:
    """Classes with so many images off the object, of so many named with confidence."""
    class_id = np.repeat(np.arange(len(of)), of)
    ones = np.ones(len(class_id))
    columns = {"class_id": class_id, **dict.fromkeys(("probability", "energy", "area", "lift"), ones), "vote": ones > 0}
    is_off = np.concatenate([np.arange(count) < few for few, count in zip(off, of, strict=True)])
    return class_findings(columns, is_off, CLASSES, RULES)


@pytest.mark.parametrize(("of", "count"), [(20, 15), (8, 8), (200, 120)])
def test_the_least_share_is_the_one_that_is_seen_often_enough_in_95_of_100_collections(of: int, count: int) -> None:
    share = least_share(of, count)
    assert share is not None
    assert binom.sf(count - 1, of, share) == pytest.approx(0.95)
    assert least_share(of, of + 1) is None


def test_the_least_count_is_the_first_whose_p_is_small_enough() -> None:
    assert [least_count(9, lambda x: 2.0**-x, level) for level in (1.0, 0.3, 2.0**-9, 1e-9)] == [0, 2, 9, 10]


@pytest.mark.parametrize("of", [12, 40, 150])
def test_whole_classes_are_found_at_the_share_that_is_called_detectable(of: int, rng: np.random.Generator) -> None:
    (first, *_) = in_whole_classes(judged([0] * 8, [of] * 8), RULES)
    assert first.share is not None
    found = [
        {row.class_name: row for row in judged([few, *[0] * 7], [of] * 8)}["a"].is_finding
        for few in rng.binomial(of, first.share, 300).tolist()
    ]
    assert 0.92 <= np.mean(found) <= 0.98


def in_the_corner(rng: np.random.Generator, class_id: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.full((len(class_id), 2), 0.93)


def test_spots_are_found_at_the_share_that_is_called_detectable() -> None:
    honest = draw_collection(Law(in_the_middle, 0.0), 8, 60, 0)
    marked = draw_collection(Law(in_the_middle, 1.0, in_the_corner), 8, 60, 0)
    (first, *_) = Spots().detectable(honest.material)
    assert first.share is not None
    found = []
    for seed in range(60):
        is_marked = np.random.default_rng(seed).random(len(honest.heat)) < first.share
        planted = honest.with_some_of(marked, is_marked & (honest.evidence.class_id == 0))
        found.append(any(claim.found for claim in Spots().test(planted.material)))
    assert np.mean(found) >= 0.9
    assert 0.1 < first.share < 0.5


def test_classes_beyond_what_is_tolerated_stand_out_with_what_would_settle_it() -> None:
    rows = judged([6, 7, 2, 1, 30, 3], [9, 12, 2, 1, 30, 30])
    first, second = standing_out(rows, RULES)
    assert (first.class_name, first.off_object, first.confident) == ("a", 6, 9)
    assert (second.class_name, second.off_object, second.confident) == ("b", 7, 12)
    assert first.more is not None
    assert second.more is not None
    settled = judged([(9 + first.more) * 6 // 9, 7, 2, 1, 30, 3], [9 + first.more, 12, 2, 1, 30, 30])
    assert {row.class_name for row in settled if row.q is not None and row.q <= 0.05} >= {"a", "e"}


def test_silence_is_told_in_sentences_the_least_known_classes_first() -> None:
    rows = judged([0, 4, 0], [200, 5, 4])
    said = explain_silence(silence(in_whole_classes(rows, RULES), [], rows, RULES))
    assert said[0] == "b: too few images to find any shortcut"
    assert said[1].startswith("a: a shortcut would have been found in 6")
    assert said[1].endswith(" % of the images or more if it draws the heat off the object; rarer ones may be there")
    assert said[2].startswith("b stands out: 4 of 5 images look off the object, too few to be sure; ")
    assert explain_silence({}) == []
