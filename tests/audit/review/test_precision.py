"""The precision of flags: the interval is the paper's, holds however one stops, and says what it needs."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.review.precision import ALPHA, ENOUGH, more_needed, precision_interval, precision_of
from audit.stats.intervals import wilson_interval

DRAWS = 2000


def rising(start: Fraction, steps: int) -> Fraction:
    """start (start + 1) ... (start + steps - 1)."""
    product = Fraction(1)
    for step in range(steps):
        product *= start + step
    return product


def beta_binomial(k: int, n: int, a: Fraction, b: Fraction) -> Fraction:
    """As the mixture of binomials over Beta(a, b), in rising factorials."""
    return comb(n, k) * rising(a, k) * rising(b, n - k) / rising(a + b, n)


def prior_posterior_set(targets: int, decided: int, agreed: int) -> set[int]:
    """Every K whose prior is less than 2 / alpha times its posterior, in exact fractions (the paper's definition)."""
    half, bound = Fraction(1, 2), 2 / Fraction(ALPHA).limit_denominator()
    held = set()
    for right in range(agreed, targets - (decided - agreed) + 1):
        prior = beta_binomial(right, targets, half, half)
        posterior = beta_binomial(right - agreed, targets - decided, half + agreed, half + decided - agreed)
        if prior < bound * posterior:
            held.add(right)
    return held


@pytest.mark.parametrize("targets", [1, 2, 7, 30])
def test_the_interval_is_the_papers_set_of_prior_posterior_ratios_below_the_bound(targets: int) -> None:
    for decided in range(targets + 1):
        for agreed in range(decided + 1):
            held = prior_posterior_set(targets, decided, agreed)
            assert held == set(range(min(held), max(held) + 1))
            low, high = precision_interval(targets, decided, agreed)
            assert (round(low * targets), round(high * targets)) == (min(held), max(held))


@pytest.mark.parametrize("targets", [10, 40, 100])
@pytest.mark.parametrize("precision", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_one_who_looks_after_every_verdict_is_misled_by_it_in_one_case_of_twenty_at_most(
    targets: int, precision: float
) -> None:
    right = round(precision * targets)
    agreed = drawn_in_turn(targets, right)
    ends = np.array(
        [
            [precision_interval(targets, t, s) if s <= t else (0, 1) for s in range(targets + 1)]
            for t in range(targets + 1)
        ]
    )
    low, high = ends[np.arange(1, targets + 1)[:, None], agreed.T].transpose(2, 1, 0)
    held = ((low <= right / targets + 1e-12) & (high >= right / targets - 1e-12)).all(axis=1)
    assert held.mean() >= 1 - ALPHA


def test_an_interval_for_one_look_would_mislead_one_who_looks_after_every_verdict() -> None:
    agreed = drawn_in_turn(100, 50)
    low, high = wilson_interval(agreed, np.broadcast_to(np.arange(1, 101), agreed.shape))
    assert ((low <= 0.5) & (high >= 0.5)).all(axis=1).mean() < 0.85


def drawn_in_turn(targets: int, right: int) -> NDArray[np.int64]:
    """[DRAWS, targets] how many were agreed with after each verdict, in random orders."""
    flags = np.zeros((DRAWS, targets), np.int64)
    flags[:, :right] = 1
    return np.random.default_rng(targets).permuted(flags, axis=1).cumsum(axis=1)


def test_what_reviewers_are_unsure_of_counts_against_the_lower_end_and_for_the_upper() -> None:
    low, high = precision_interval(200, 50, 40, 6)
    assert low == precision_interval(200, 50, 40)[0]
    assert high == precision_interval(200, 50, 46)[1]
    decisions = [*["agree"] * 40, *["unsure"] * 3, *["conflict"] * 3, *["disagree"] * 4, *[None] * 150]
    claim = precision_of("zone:dog:corner", decisions)
    assert (claim.low, claim.high) == (low, high)
    assert (claim.targets, claim.decided, claim.agreed, claim.open) == (200, 50, 40, 6)
    assert "40 of 50 agreed, 6 unsure or disputed so far" in claim.says


def test_what_was_decided_out_of_turn_waits() -> None:
    claim = precision_of("zone:dog:corner", ["agree", "disagree", None, *["disagree"] * 90])
    assert (claim.decided, claim.agreed, claim.looked_at) == (2, 1, 92)
    assert (claim.low, claim.high) == precision_interval(93, 2, 1)


def test_it_says_when_it_is_enough_how_many_more_would_do_and_what_all_came_to() -> None:
    assert precision_of("c", [*["agree"] * 41, *["disagree"] * 3, *[None] * 55]).says == (
        "enough: 41 of 44 agreed, precision 0.79 to 0.97"
    )
    claim = precision_of("c", [*["agree"] * 9, "disagree", *[None] * 89])
    more = more_needed(99, 10, 9)
    assert not claim.enough
    assert claim.says.startswith("9 of 10 agreed so far, precision 0.")
    assert claim.says.endswith(f"about {more} more in turn would do")
    doubtful = precision_of("c", [*["agree"] * 30, *["unsure"] * 10, *[None] * 400])
    assert "10 unsure or disputed so far" in doubtful.says
    assert doubtful.says.endswith("settle those first, for more verdicts would not do")
    assert precision_of("c", ["agree", "unsure", *[None] * 98]).says.endswith("more in turn would do")
    assert precision_of("c", ["agree", "agree", "disagree", "agree"]).says == (
        "all decided: 3 of 4 agreed, precision 0.75"
    )
    assert precision_of("c", [None] * 1200).says == "none of 1,200 decided in turn"
    assert precision_of("c", []).says == "it flags no target"


@pytest.mark.parametrize(("targets", "decided", "agreed"), [(99, 10, 9), (5000, 20, 10), (50_000, 0, 0), (30, 10, 5)])
def test_as_many_more_as_it_says_are_enough_and_one_fewer_is_not(targets: int, decided: int, agreed: int) -> None:
    more = more_needed(targets, decided, agreed)
    share = (agreed + 0.5) / (decided + 1)
    widths = [
        np.subtract(*precision_interval(targets, decided + m, agreed + round(share * m))[::-1])
        for m in (more, more - 1)
    ]
    assert widths[0] <= ENOUGH < widths[1]


def test_a_million_flags_take_no_longer_than_a_hundred() -> None:
    low, high = precision_interval(1_000_000, 400, 300)
    many, least = precision_interval(10_000, 400, 300)
    assert low == pytest.approx(many, abs=0.01)
    assert high == pytest.approx(least, abs=0.01)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="agreed \\+ undecided <= decided <= targets, got 3 \\+ 1, 3, 9"):
        precision_interval(9, 3, 3, 1)
