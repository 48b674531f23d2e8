"""What the report says of a review: who decided how much, how precise flags are, and what was disagreed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from audit.findings import Findings
from audit.findings.evidence.disagreements import set_aside_said
from audit.findings.records import Finding
from audit.review import FINDINGS, GUESSES, ClaimPrecision, Review, Standing, review_of
from audit.store.verdicts.decided import DISAGREE
from audit.store.verdicts.log import VerdictLog, target_of, target_subject

MOST = 20
"""Disagreed findings, and claims, that the page names."""
_NAMES = {FINDINGS: "All findings about single images", GUESSES: "All guesses of the detector, without a mask"}


@dataclass(frozen=True)
class Disagreed:
    """A finding that reviewers disagree with.

    Attributes:
        reviewers: who disagrees.
        notes: what they wrote beside.
    """

    finding: Finding
    reviewers: str
    notes: str


@dataclass(frozen=True)
class Reviewed:
    """What reviewers decided.

    Attributes:
        review: how far they came.
        names: of the claims whose targets were looked at, in words, by `claim_id`.
        disagreed: the first `MOST` of the findings that they disagree with, the most suspicious first.
        disagreed_count: of all.
        left_out: how much is left out for that, in a sentence; empty where nothing is.
    """

    review: Review
    names: Mapping[str, str]
    disagreed: Sequence[Disagreed]
    disagreed_count: int
    left_out: str

    @property
    def claims(self) -> list[ClaimPrecision]:
        """The first `MOST` that somebody looked at."""
        return [claim for claim in self.review.claims if claim.looked_at or claim.verdict][:MOST]


def read_reviewed(findings: Findings, summary: Mapping[str, Any]) -> Reviewed | None:
    """What reviewers decided about a run; None where nobody decided anything.

    Raises:
        RunError: the run was not flagged yet, or the log cannot be read.
    """
    log = VerdictLog.of(findings.run)
    standing = log.standing(last := log.last())
    if not standing:
        return None
    review = review_of(findings, log, last)
    disagreed = _disagreed(findings, review)
    names = {claim.claim_id: claim.says for claim in findings.standing_claims()}
    return Reviewed(
        review=review,
        names=names | _NAMES,
        disagreed=[_told(finding, standing) for finding in disagreed[:MOST]],
        disagreed_count=len(disagreed),
        left_out=set_aside_said(summary),
    )


def _disagreed(findings: Findings, review: Review) -> list[Finding]:
    """Findings that reviewers disagree with, those that are left out among them."""
    wanted = {target_of(subject) for subject in review.disagreed}
    samples = pa.array([target[0] for target in wanted if target is not None], pa.int64())
    listed = pa.concat_tables([findings.targets(), findings.set_aside()])
    rows = listed.filter(pc.is_in(listed["sample"], samples)).to_pylist()
    found = [Finding.from_row(row) for row in rows if (row["sample"], row["slot"]) in wanted]
    return sorted(found, key=lambda finding: -finding.suspicion)


def _told(finding: Finding, standing: Standing) -> Disagreed:
    given = standing[target_subject(finding.sample, finding.slot)].values()
    against = sorted((one for one in given if one.decision == DISAGREE), key=lambda one: one.reviewer)
    notes = "; ".join(verdict.note for verdict in against if verdict.note)
    return Disagreed(finding, ", ".join(verdict.reviewer for verdict in against), notes)
