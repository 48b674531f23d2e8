"""Classes beside what is tolerated and beside one another, in collections that are ordinary."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_classes import ORDINARY, SMALL, UNSURE, Classes, alike, share_by_class
from scipy.stats import binom

from audit.findings.claims import whole_class
from audit.findings.records import ClassFinding

DRAWS = 12


def first(rows: list[ClassFinding]) -> ClassFinding:
    return next(row for row in rows if row.class_id == 0)


@pytest.mark.parametrize("law", ORDINARY.values(), ids=ORDINARY)
def test_in_an_ordinary_collection_no_class_is_accused(law: Classes) -> None:
    assert sum(bool(law.accused(seed)) for seed in range(DRAWS)) <= 2


@pytest.mark.parametrize("law", [SMALL, UNSURE], ids=["small", "unsure"])
def test_without_strata_a_class_would_be_accused_of_its_small_objects_or_of_being_unsure(
    law: Classes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_class, "SIZES", ())
    monkeypatch.setattr(whole_class, "SURENESS", ())
    pooled = np.mean([first(law.findings(seed)).p for seed in range(DRAWS)])
    monkeypatch.undo()
    within = np.mean([first(law.findings(seed)).p for seed in range(DRAWS)])
    assert pooled < 0.1 < 0.5 < within


def test_three_in_ten_off_the_object_are_a_claim_among_classes_at_2_percent() -> None:
    law = share_by_class(0.3, 0.02)
    accused = [law.accused(seed) for seed in range(40)]
    assert np.mean([0 in classes for classes in accused]) >= 0.75
    assert not any(classes - {0} for classes in accused)


def test_a_class_is_held_against_the_others_only_where_they_ask_for_less_than_is_tolerated() -> None:
    lax, strict = (first(alike(share, images=400).findings(0)) for share in (0.4, 0.1))
    assert (lax.against, lax.expected) == ("tolerated", 0.5)
    assert strict.against == "other classes"
    assert strict.expected == pytest.approx(0.1, abs=0.03)


def test_what_a_class_is_held_against_owes_nothing_to_its_own_images() -> None:
    rows = [first(share_by_class(share, 0.24, images=100).findings(0)) for share in (0.0, 1.0)]
    assert rows[0].against == rows[1].against
    assert rows[0].expected == rows[1].expected


def test_in_one_stratum_p_is_near_the_exact_one_of_both_margins() -> None:
    law = share_by_class(
        0.35,
        0.1,
        area=lambda rng, class_id: np.full(len(class_id), 0.15),
        probability=lambda rng, class_id: np.full(len(class_id), 0.95),
    )
    for seed in range(4):
        rows = law.findings(seed)
        row, off = first(rows), sum(row.off_object for row in rows)
        exact = max(by_tables(row.off_object, 40, off - row.off_object, 760, *margin) for margin in ((0.05, 1), (0, 2)))
        assert 0.9 * exact < row.p < 2 * exact


def by_tables(x: int, n: int, y: int, m: int, least: float, times: float) -> float:
    """Chance of every table that exceeds the margin as much, at the likeliest shares that lie at it."""
    other = np.linspace(1e-6, (1 - least) / times - 1e-6, 20_001)
    likelihood = binom.logpmf(x, n, times * other + least) + binom.logpmf(y, m, other)
    at = other[likelihood.argmax()]
    tables = np.outer(binom.pmf(range(n + 1), n, times * at + least), binom.pmf(range(m + 1), m, at))
    excess = np.arange(n + 1)[:, None] / n - times * np.arange(m + 1) / m
    return float(tables[excess >= x / n - times * y / m - 1e-12].sum())


def test_as_many_images_as_are_needed_make_a_finding_and_one_less_does_not() -> None:
    area = np.tile(np.linspace(0.005, 0.5, 40), 20)
    class_id = np.repeat(np.arange(20), 40)
    ones = np.ones(800)
    columns = {"class_id": class_id, "area": area, "probability": ones, "energy": ones, "lift": ones}
    columns |= {"vote": ones > 0}
    others = (class_id > 0) & (np.arange(800) % 40 == 0)

    def judged(count: int) -> ClassFinding:
        # Spread over all sizes, as it is supposed.
        spread = np.round(np.linspace(0, 39, count)).astype(int)
        off = others | np.isin(np.arange(800), spread)
        return first(whole_class.class_findings(columns, off, [str(i) for i in range(20)], whole_class.Rules()))

    needed = judged(0).needed
    assert needed is not None
    assert 5 < needed < 20
    assert judged(needed + 1).is_finding
    assert not judged(needed - 2).is_finding
    assert judged(30).needed == needed
