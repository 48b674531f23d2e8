"""How many of a claim's flags are right: an interval that holds however often one looks, and whenever one stops.

A claim flags N targets. K of them would be agreed with, were all looked at; K / N is its precision. Targets are taken
in a random order that was fixed beforehand (`audit.review.order`), without replacement. After t of them, of which s
were agreed with, what could K be? The interval holds every K with

    prior(K) / posterior(K) = BetaBinomial(s; t, 1/2, 1/2) / Hypergeometric(s; N, K, t) < 2 / alpha,

the prior-posterior ratio of Waudby-Smith & Ramdas 2020 ("Confidence sequences for sampling without replacement",
theorem 2.1) with a beta-binomial prior. The ratio at the true K is a martingale, so by Ville's inequality it ever
reaches 2 / alpha with probability alpha / 2 at most: at all t at once, whatever made one stop.

One who is unsure, or two who disagree, may be right or wrong. So such a target counts as wrong for the lower end and as
right for the upper: two such intervals, alpha / 2 each, of which one end is used.

Only the longest decided beginning of the order counts. What was decided elsewhere, as the most suspicious first, is no
random sample. It waits until the order has come to it.

When it would be wrong, in simulations of 200 flags that looked after every verdict (else it held in 98 % or more):

- The most suspicious targets are taken first and all that was decided counts: the interval held in 50 % where right
  flags are a little more suspicious (a logistic slope of 0.5), in 1 % where they are more so (1). Hence the order.
- Flags that were disagreed with are no longer among the claim's: in 5 %. So flagging by verdicts keeps them at hand
  (`Findings.set_aside`), and they count here.
- A reviewer's measure changes on the way: in 80 % where 9 of 10 are agreed with at first and 7 of 10 at last.
- Verdicts are changed for what the interval says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import lgamma, log

from audit.store.verdicts.decided import AGREE, DISAGREE

ALPHA = 0.05
"""Probability that the interval ever misses the precision, at most."""
ENOUGH = 0.2
"""Width of the interval from which on more verdicts are not worth it."""
_MANY_OPEN = 10
"""Unsure or disputed targets from which on their share counts as known."""
_PRIOR = 0.5
"""Both parameters: flags are mostly right or mostly wrong more often than the uniform prior says."""


@dataclass(frozen=True, slots=True)
class ClaimPrecision:
    """How precise a claim's flags are, by what reviewers decided in turn.

    Attributes:
        claim_id: of the claim; `audit.review.subjects.FINDINGS` for all findings about targets.
        targets: that it flags.
        decided: of them, those that were decided in turn: the longest decided beginning of the claim's order.
        agreed: of those, that reviewers agree with.
        open: of those, that they are unsure of or disagree about among themselves.
        looked_at: of all its targets, those with a verdict, in turn or not.
        low, high: the interval of the precision, valid under continuous looking.
        enough: whether it is as narrow as `ENOUGH`.
        says: all that in a sentence.
        verdict: what reviewers together say of the claim itself; None where they say nothing.
    """

    claim_id: str
    targets: int
    decided: int
    agreed: int
    open: int
    looked_at: int
    low: float
    high: float
    enough: bool
    says: str
    verdict: str | None = None


def precision_of(claim_id: str, decisions: Sequence[str | None], verdict: str | None = None) -> ClaimPrecision:
    """The precision of a claim's flags.

    Args:
        decisions: what reviewers together say of its targets, in the order of `audit.review.order.in_turn`.
        verdict: what they say of the claim.
    """
    in_turn = list(takewhile(lambda decision: decision is not None, decisions))
    agreed = in_turn.count(AGREE)
    undecided = len(in_turn) - agreed - in_turn.count(DISAGREE)
    low, high = precision_interval(len(decisions), len(in_turn), agreed, undecided)
    return ClaimPrecision(
        claim_id=claim_id,
        targets=len(decisions),
        decided=len(in_turn),
        agreed=agreed,
        open=undecided,
        looked_at=sum(decision is not None for decision in decisions),
        low=low,
        high=high,
        enough=high - low <= ENOUGH,
        says=_says(len(decisions), len(in_turn), agreed, undecided, low, high),
        verdict=verdict,
    )


def precision_interval(
    targets: int, decided: int, agreed: int, undecided: int = 0, alpha: float = ALPHA
) -> tuple[float, float]:
    """The interval of the share of `targets` that would be agreed with, after `decided` of them in a random order.

    Args:
        undecided: of the decided, those that may be either.

    >>> [round(end, 2) for end in precision_interval(99, 44, 41)]
    [0.79, 0.97]
    """
    if not 0 <= agreed + undecided <= decided <= targets:
        raise ValueError(
            f"Expected agreed + undecided <= decided <= targets, got {agreed} + {undecided}, {decided}, {targets}"
        )
    if targets == 0:
        return 0.0, 1.0
    return (
        _least(targets, decided, agreed, alpha) / targets,
        # The other way round: the most that are agreed with leave the least that are not.
        (targets - _least(targets, decided, decided - agreed - undecided, alpha)) / targets,
    )


def more_needed(targets: int, decided: int, agreed: int, undecided: int = 0) -> int:
    """How many more verdicts in turn would do, if they go on as before; what is left if none would before all are."""
    share = (agreed + _PRIOR) / (decided + 2 * _PRIOR)
    doubt = undecided / max(decided, 1)

    def suffices(more: int) -> bool:
        total = decided + more
        right, either = agreed + round(share * (1 - doubt) * more), undecided + round(doubt * more)
        low, high = precision_interval(targets, total, right, min(either, total - right))
        return high - low <= ENOUGH

    low, high = 0, targets - decided
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle + 1, high)
    return low


def _least(targets: int, decided: int, agreed: int, alpha: float) -> int:
    """The least K whose ratio is below 2 / alpha: it falls up to the likeliest K, so it is found by halving."""
    bound = log(2 / alpha)
    evidence = _log_choose(decided, agreed) + _log_beta(_PRIOR + agreed, _PRIOR + decided - agreed)
    evidence -= _log_beta(_PRIOR, _PRIOR)
    low, high = agreed, _likeliest(targets, decided, agreed)
    while low < high:
        middle = (low + high) // 2
        if evidence - _log_hypergeometric(targets, middle, decided, agreed) < bound:
            high = middle
        else:
            low = middle + 1
    return low


def _likeliest(targets: int, decided: int, agreed: int) -> int:
    """The K under which so many agreed are likeliest."""
    most = targets - (decided - agreed)
    return most if decided in (0, agreed) else min(agreed * (targets + 1) // decided, most)


def _log_hypergeometric(targets: int, right: int, decided: int, agreed: int) -> float:
    """Of `agreed` among `decided` of `targets`, `right` of which would be."""
    return _log_choose(right, agreed) + _log_choose(targets - right, decided - agreed) - _log_choose(targets, decided)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _says(targets: int, decided: int, agreed: int, undecided: int, low: float, high: float) -> str:
    if not targets:
        return "it flags no target"
    if not decided:
        return f"none of {targets:,} decided in turn"
    doubt = f", {undecided:,} unsure or disputed" if undecided else ""
    counts = f"{agreed:,} of {decided:,} agreed{doubt}"
    span = f"precision {low:.2f} to {high:.2f}" if high > low else f"precision {low:.2f}"
    if decided == targets:
        return f"all decided: {counts}, {span}"
    if high - low <= ENOUGH:
        return f"enough: {counts}, {span}"
    if undecided >= _MANY_OPEN and undecided > ENOUGH * decided:
        return f"{counts} so far, {span}; settle those first, for more verdicts would not do"
    more = more_needed(targets, decided, agreed, undecided)
    return f"{counts} so far, {span}; about {more:,} more in turn would do"
