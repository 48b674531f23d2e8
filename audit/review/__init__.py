"""What reviewers decided: how precise the flags are, how far reviewers agree, what to look at next."""

from audit.review.agreement import Agreement, agreement_of
from audit.review.order import in_turn, most_informative
from audit.review.precision import ClaimPrecision, precision_interval, precision_of
from audit.review.progress import Review, Reviewer, form_review, review_of
from audit.review.subjects import FINDINGS, GUESSES, claim_subjects
from audit.store.verdicts.decided import Standing, conflicts, decided, together

__all__ = [
    "FINDINGS",
    "GUESSES",
    "Agreement",
    "ClaimPrecision",
    "Review",
    "Reviewer",
    "Standing",
    "agreement_of",
    "claim_subjects",
    "conflicts",
    "decided",
    "form_review",
    "in_turn",
    "most_informative",
    "precision_interval",
    "precision_of",
    "review_of",
    "together",
]
