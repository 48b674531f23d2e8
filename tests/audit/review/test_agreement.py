"""Agreement of reviewers: the textbook's numbers, other people's code, and loops that count pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from audit.review.agreement import ALPHA, KAPPA, agreement_of, cohens_kappa, krippendorffs_alpha
from audit.store.verdicts.log import DECISIONS, Verdict

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, 0 where one is missing.
TEXTBOOK = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
)


def standing(table: NDArray[np.integer]) -> dict[str, dict[str, Verdict]]:
    """Verdicts of reviewers by row about subjects by column; -1 where one is missing."""
    given: dict[str, dict[str, Verdict]] = {}
    for reviewer, row in enumerate(table):
        for subject, decision in enumerate(row):
            if decision >= 0:
                name, subject_id = f"reviewer {reviewer}", f"{subject}:0"
                verdict = Verdict(0, "", subject_id, DECISIONS[decision], name, "", "")
                given.setdefault(subject_id, {})[name] = verdict
    return given


def pairwise_alpha(ratings: list[list[int]]) -> float:
    """Krippendorff's alpha over every ordered pair of ratings, one after another."""
    ratings = [unit for unit in ratings if len(unit) > 1]
    values = [value for unit in ratings for value in unit]
    observed = sum(
        (a != b) / (len(unit) - 1) for unit in ratings for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j
    ) / len(values)
    pairs = [(a != b) for i, a in enumerate(values) for j, b in enumerate(values) if i != j]
    return 1 - observed / (sum(pairs) / len(pairs))


def counted(ratings: list[list[int]], kinds: int) -> NDArray[np.int64]:
    return np.array([[unit.count(kind) for kind in range(kinds)] for unit in ratings])


def test_alpha_is_that_of_the_textbook() -> None:
    units = [[int(v) for v in column if v] for column in TEXTBOOK.T]
    units = [unit for unit in units if len(unit) > 1]
    counts = counted(units, 6)
    assert krippendorffs_alpha(counts, np.ones((1, len(counts)), int))[0] == pytest.approx(0.743, abs=5e-4)
    assert pairwise_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_with_missing_verdicts_is_that_of_pairs_counted_one_by_one() -> None:
    draw = np.random.default_rng(2)
    for _ in range(20):
        table = np.where(draw.random((4, 15)) < 0.3, -1, draw.integers(0, 3, (4, 15)))
        agreement = agreement_of(standing(table))
        assert agreement is not None
        units = [[int(v) for v in column if v >= 0] for column in table.T]
        assert agreement.measure == ALPHA
        assert agreement.value == pytest.approx(pairwise_alpha(units))
        assert agreement.subjects == sum(len(unit) > 1 for unit in units)
        assert agreement.low <= agreement.value <= agreement.high


def test_kappa_of_two_reviewers_is_scikit_learns() -> None:
    draw = np.random.default_rng(3)
    for _ in range(20):
        table = draw.integers(0, 3, (2, 40))
        table[1, :25] = table[0, :25]
        agreement = agreement_of(standing(table))
        assert agreement is not None
        assert agreement.measure == KAPPA
        assert agreement.value == pytest.approx(cohen_kappa_score(*table))
        assert agreement.same == pytest.approx((table[0] == table[1]).mean())
        assert agreement.reviewers == ("reviewer 0", "reviewer 1")


def test_the_interval_is_that_of_subjects_drawn_again_one_by_one() -> None:
    draw = np.random.default_rng(4)
    table = draw.integers(0, 3, (2, 80))
    table[1, :60] = table[0, :60]
    agreement = agreement_of(standing(table))
    assert agreement is not None
    again = [cohen_kappa_score(*table[:, draw.integers(0, 80, 80)]) for _ in range(1500)]
    assert [agreement.low, agreement.high] == pytest.approx(np.percentile(again, (2.5, 97.5)), abs=0.03)


def test_the_interval_covers_what_endless_subjects_would_give() -> None:
    """Two reviewers who are right in 85 % of the cases each, of two decisions: kappa is (2 0.85 - 1)^2 = 0.49."""
    draw, held = np.random.default_rng(5), 0
    for seed in range(200):
        truth = draw.integers(0, 2, 120)
        table = np.where(draw.random((2, 120)) < 0.85, truth, 1 - truth)
        agreement = agreement_of(standing(table), seed)
        assert agreement is not None
        held += agreement.low <= 0.49 <= agreement.high
    assert held >= 180


def test_reviewers_who_decide_all_alike_have_no_kappa_and_are_told_so() -> None:
    agreement = agreement_of(standing(np.zeros((2, 30), int)))
    assert agreement is not None
    assert np.isnan([agreement.value, agreement.low, agreement.high]).all()
    assert agreement.same == 1
    assert agreement.says == "2 reviewers on 30 subjects decided all alike, so Cohen's kappa is not defined"


def test_where_nobody_decided_the_same_subject_there_is_no_agreement() -> None:
    assert agreement_of(standing(np.array([[0, -1], [-1, 1]]))) is None
    assert agreement_of({}) is None


def test_patterns_that_occur_often_count_as_often() -> None:
    tables = np.eye(9, dtype=int)
    weights = np.array([[5, 1, 0, 2, 7, 0, 1, 0, 3]])
    rows = np.repeat(tables, weights[0], axis=0)
    assert cohens_kappa(tables, weights) == pytest.approx(cohens_kappa(rows, np.ones((1, len(rows)), int)))
