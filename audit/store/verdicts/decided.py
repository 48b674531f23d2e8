"""What reviewers together say of a subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from audit.store.verdicts.log import DECISIONS, Verdict

AGREE, DISAGREE, UNSURE = DECISIONS
CONFLICT = "conflict"
"""Some agree and some disagree."""
SAID = (*DECISIONS, CONFLICT)
"""What reviewers together may say."""

Standing = Mapping[str, Mapping[str, Verdict]]
"""The verdict of each reviewer that stands, by subject and reviewer, as `VerdictLog.standing` gives it."""


def together(decisions: Iterable[str]) -> str | None:
    """What some reviewers' decisions come to; None of none. One who is unsure leaves it to the others.

    >>> together(["agree", "unsure"]), together(["agree", "disagree"]), together(["unsure"]), together([])
    ('agree', 'conflict', 'unsure', None)
    """
    given = set(decisions)
    if AGREE in given and DISAGREE in given:
        return CONFLICT
    return next((decision for decision in DECISIONS if decision in given), None)


def decided(standing: Standing) -> dict[str, str]:
    """What reviewers together say of each subject with a verdict."""
    said: dict[str, str] = {}
    for subject, by in standing.items():
        given = [verdict.decision for verdict in by.values()]
        decision = given[0] if len(given) == 1 else together(given)  # mostly one: of many the sets would take long
        if decision is not None:
            said[subject] = decision
    return said


def conflicts(standing: Standing) -> list[str]:
    """Subjects that some agree and some disagree with, the one that was decided last first."""
    disputed = [subject for subject, decision in decided(standing).items() if decision == CONFLICT]
    return sorted(disputed, key=lambda subject: max(given.time for given in standing[subject].values()), reverse=True)
