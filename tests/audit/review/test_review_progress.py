"""How far a review has come, on a drawn run with claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_run import MARKED, draw_run

from audit.findings import Findings, Rules
from audit.findings.claims.registry import kind_of
from audit.findings.judge import flag
from audit.review import FINDINGS, GUESSES, claim_subjects, in_turn, precision_interval, review_of
from audit.store import Run
from audit.store.verdicts.log import VerdictLog, target_subject


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 3000, masked=0.8, marked=(MARKED, 8, 13, 18))
    flag(run, Rules())
    return run


def shown(run: Run) -> dict[str, set[str]]:
    """The targets of each claim, asked of its kind shard by shard."""
    findings = Findings(run)
    found: dict[str, set[str]] = {claim.claim_id: set() for claim in findings.standing_claims()}
    for part in findings.evidence(run.done()):
        for claim in findings.standing_claims():
            keys = zip(*kind_of(claim).targets(claim, part.evidence), strict=True)
            found[claim.claim_id] |= {target_subject(*key) for key in keys}
    return found


def test_the_targets_of_each_claim_are_those_that_its_kind_says_and_all_findings_stand_behind(drawn: Run) -> None:
    subjects = claim_subjects(Findings(drawn))
    expected = shown(drawn)
    assert len(expected) > 2
    assert {name: set(own) for name, own in subjects.items() if name in expected} == expected
    assert list(subjects)[-2:] == [FINDINGS, GUESSES]
    found = Findings(drawn).targets().to_pandas()
    guessed = found["kind"] == "detected"
    keys = np.array([target_subject(*key) for key in zip(found["sample"], found["slot"], strict=True)])
    assert set(subjects[FINDINGS]) == set(keys[~guessed])
    assert set(subjects[GUESSES]) == set(keys[guessed])


def test_a_review_counts_findings_reviewers_claims_and_conflicts(drawn: Run, tmp_path: Path) -> None:
    findings, log = Findings(drawn), VerdictLog(tmp_path / "verdicts.sqlite")
    subjects = claim_subjects(findings)
    claim_id = next(iter(subjects))
    order = in_turn(subjects[claim_id])
    log.add_all(order[:30], "agree", "Ana")
    log.add(order[3], "disagree", "Ben")
    log.add(order[4], "agree", "Ben")
    log.add(order[40], "disagree", "Ben")
    log.add(claim_id, "agree", "Ben")
    log.add("99999999:0", "agree", "Ben")
    review = review_of(findings, log)
    claim = next(claim for claim in review.claims if claim.claim_id == claim_id)
    assert (claim.targets, claim.decided, claim.agreed, claim.open, claim.looked_at) == (len(order), 30, 29, 1, 31)
    assert (claim.low, claim.high) == precision_interval(len(order), 30, 29, 1)
    assert claim.verdict == "agree"
    assert review.conflicts == [order[3]]
    assert review.disagreed == [order[40]]
    assert (review.as_of, review.flagged) == (log.last(), len(findings.targets()))
    flagged = set(subjects[FINDINGS]) | set(subjects[GUESSES])
    assert review.reviewed == len(flagged & {*order[:30], order[40]})
    assert [(r.name, r.targets, r.claims, r.disputed) for r in review.reviewers] == [
        ("Ana", 30, 0, 1),
        ("Ben", 4, 1, 1),
    ]
    assert review.reviewers[1].decisions == {"agree": 2, "disagree": 2, "unsure": 0}
    assert review.agreement is not None
    assert (review.agreement.subjects, review.agreement.same) == (2, 0.5)


def test_a_review_as_of_an_earlier_row_is_what_it_was(drawn: Run, tmp_path: Path) -> None:
    findings, log = Findings(drawn), VerdictLog(tmp_path / "verdicts.sqlite")
    before = review_of(findings, log)
    assert (before.as_of, before.reviewed, before.reviewers, before.agreement) == (0, 0, [], None)
    log.add(claim_subjects(findings)[FINDINGS][0], "agree", "Ana")
    assert review_of(findings, log).reviewed == 1
    assert review_of(findings, log, as_of=0) == before
