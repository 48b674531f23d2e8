"""How far a review has come: by reviewer, by claim, and for all together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from audit.findings import Findings
from audit.review.agreement import Agreement, agreement_of
from audit.review.order import in_turn
from audit.review.precision import ClaimPrecision, precision_of
from audit.review.subjects import FINDINGS, GUESSES, claim_subjects
from audit.store.tables.records import finite
from audit.store.verdicts.decided import CONFLICT, DISAGREE, Standing, conflicts, decided
from audit.store.verdicts.log import DECISIONS, Verdict, VerdictLog, target_of


@dataclass(frozen=True, slots=True)
class Reviewer:
    """What one reviewer decided, as it stands.

    Attributes:
        decisions: number of targets by decision.
        claims: number of claims.
        disputed: targets that another reviewer decided the other way.
        last: time of the last verdict, UTC, ISO 8601.
    """

    name: str
    decisions: Mapping[str, int]
    claims: int
    disputed: int
    last: str

    @property
    def targets(self) -> int:
        """Number of targets."""
        return sum(self.decisions.values())


@dataclass(frozen=True, slots=True)
class Review:
    """How far a review has come.

    Attributes:
        as_of: number of the log's last row that counts.
        flagged: findings about targets, guesses of a detector among them.
        reviewed: of those, that have a verdict.
        decisions: what reviewers together say, by subject.
        reviewers: most verdicts first.
        claims: precision of the flags of each claim that stands, then of all findings and of all guesses.
        agreement: of targets that more than one decided; None without any.
        conflicts: subjects that some agree and some disagree with, the last decided first.
    """

    as_of: int
    flagged: int
    reviewed: int
    decisions: Mapping[str, str]
    reviewers: Sequence[Reviewer]
    claims: Sequence[ClaimPrecision]
    agreement: Agreement | None
    conflicts: Sequence[str]

    def plain(self) -> dict[str, Any]:
        """As JSON, of decisions their numbers; what is not known is null."""
        record = asdict(self) | {
            "decisions": dict(Counter(self.decisions.values())),
            "disagreed": self.disagreed,
            "agreement": None if self.agreement is None else self.agreement.plain(),
        }
        plain: dict[str, Any] = finite(record)
        return plain

    @property
    def disagreed(self) -> list[str]:
        """Subjects that reviewers together disagree with."""
        return [subject for subject, decision in self.decisions.items() if decision == DISAGREE]


def review_of(findings: Findings, log: VerdictLog, as_of: int | None = None) -> Review:
    """Read how far the review of a run has come.

    Args:
        as_of: number of the log's last row that counts; None for all.

    Raises:
        RunError: the run was not flagged yet, or the log cannot be read.
    """
    number = log.last() if as_of is None else as_of
    return form_review(claim_subjects(findings), log.standing(number), number)


def form_review(subjects: Mapping[str, Sequence[str]], standing: Standing, as_of: int) -> Review:
    """The review of some claims' targets, from the verdicts that stand.

    Args:
        subjects: as `claim_subjects` gives them.
    """
    decisions = decided(standing)
    flagged = [subject for name in (FINDINGS, GUESSES) for subject in subjects.get(name, ())]
    targets = {subject: given for subject, given in standing.items() if target_of(subject)}
    return Review(
        as_of=as_of,
        flagged=len(flagged),
        reviewed=sum(subject in decisions for subject in flagged),
        decisions=decisions,
        reviewers=reviewers_of(standing),
        claims=[_precision(claim_id, own, decisions) for claim_id, own in subjects.items()],
        agreement=agreement_of(targets),
        conflicts=conflicts(standing),
    )


def _precision(claim_id: str, subjects: Sequence[str], decisions: Mapping[str, str]) -> ClaimPrecision:
    # The order costs a digest a target, which a claim that nobody looked at does not need.
    looked_at = any(subject in decisions for subject in subjects)
    order = in_turn(subjects) if looked_at else subjects
    return precision_of(claim_id, [decisions.get(subject) for subject in order], decisions.get(claim_id))


def reviewers_of(standing: Standing) -> list[Reviewer]:
    """What each reviewer decided, most verdicts first."""
    disputed = {subject for subject, decision in decided(standing).items() if decision == CONFLICT}
    given: dict[str, list[Verdict]] = {}
    for by_reviewer in standing.values():
        for name, verdict in by_reviewer.items():
            given.setdefault(name, []).append(verdict)
    reviewers = [_reviewer(name, verdicts, disputed) for name, verdicts in given.items()]
    return sorted(reviewers, key=lambda reviewer: (-reviewer.targets - reviewer.claims, reviewer.name))


def _reviewer(name: str, verdicts: Sequence[Verdict], disputed: set[str]) -> Reviewer:
    targets = [verdict for verdict in verdicts if target_of(verdict.subject)]
    counts = Counter(verdict.decision for verdict in targets)
    return Reviewer(
        name=name,
        decisions={decision: counts[decision] for decision in DECISIONS},
        claims=len(verdicts) - len(targets),
        disputed=sum(verdict.subject in disputed and verdict.decision != DECISIONS[2] for verdict in targets),
        last=max(verdict.time for verdict in verdicts),
    )
