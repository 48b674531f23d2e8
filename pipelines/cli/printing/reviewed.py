"""What reviewers decided, and how precise flags are by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.cli.printing.lines import as_written, line
from pipelines.cli.tables import named, numbers, print_table, whole, words

if TYPE_CHECKING:
    from audit.review import ClaimPrecision, Review, Reviewer


def print_review(review: Review, most: int, wide: bool = False) -> None:
    """Print progress, a table of reviewers, the precision of each claim's flags, agreement, conflicts.

    Args:
        most: claims, and disputed subjects, to print.
        wide: print every column.
    """
    line(f"{review.reviewed:,} of {review.flagged:,} findings have a verdict")
    if review.reviewers:
        _print_reviewers(review.reviewers, wide)
    _print_precision(review.claims, most)
    if review.agreement is not None:
        line(f"agreement of {review.agreement.says}")
    if review.conflicts:
        shown = ", ".join(map(as_written, review.conflicts[:most]))
        more = f" and {len(review.conflicts) - most} more" if len(review.conflicts) > most else ""
        line(f"{len(review.conflicts)} disputed: {shown}{more}")


def _print_reviewers(reviewers: Sequence[Reviewer], wide: bool) -> None:
    columns = [
        named("reviewer", (reviewer.name for reviewer in reviewers)),
        numbers("targets", (reviewer.targets for reviewer in reviewers)),
        *(
            numbers(decision, (reviewer.decisions[decision] for reviewer in reviewers), rank=1)
            for decision in reviewers[0].decisions
        ),
        numbers("claims", (reviewer.claims for reviewer in reviewers), rank=2),
        numbers("disputed", (reviewer.disputed for reviewer in reviewers), rank=2),
        words("last, UTC", (reviewer.last[:16].replace("T", " ") for reviewer in reviewers), rank=3),
    ]
    print_table("What each reviewer decided", columns, wide)


def _print_precision(claims: Sequence[ClaimPrecision], most: int) -> None:
    """A line a claim; those that nobody looked at are counted."""
    looked_at = [claim for claim in claims if claim.looked_at or claim.verdict]
    for claim in looked_at[:most]:
        waiting = claim.looked_at - claim.decided
        beside = f"; {waiting:,} more decided out of turn" if waiting else ""
        said = f"; of the claim itself: {claim.verdict}" if claim.verdict else ""
        line(f"  {whole(as_written(claim.claim_id))}: {claim.says}{beside}{said}")
    rest = len(claims) - len(looked_at[:most])
    if rest:
        line(f"  {rest} more, by claim: not looked at yet" if len(looked_at) <= most else f"  {rest} more: --json")
