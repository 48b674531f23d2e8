"""Findings, a claim and a finding as HTML, for notebooks: what is said, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from audit.findings.words import OUTCOMES, RESTS_ON, sure
from audit.html import paragraph, table
from audit.wording import decimal, images, number, percent, shorten

if TYPE_CHECKING:
    from audit.findings.records import Claim, ClassFinding, Finding

MOST = 12
"""Rows of a table."""
_NAME, _TEXT = 60, 600
"""Characters of a name and of a sentence."""


def findings_html(found: int, guesses: int, classes: Sequence[ClassFinding], claims: Sequence[Claim]) -> Markup:
    """How many findings there are, the classes, and the claims that stand.

    Args:
        found, guesses: targets with a finding by evidence, and by a detector's guess.
    """
    suspected = f", {number(guesses)} more that a detector guesses" if guesses else ""
    told = f"{number(found)} findings about single targets{suspected}; {number(len(claims))} claims that stand."
    heads = ("class", "named with confidence", "off the object", "95 % interval", "")
    shown = table((_class_cells(row) for row in classes[:MOST]), heads)
    said = table(
        ((claim.outcome, shorten(claim.says, _TEXT), sure(claim.q, claim.fdr)) for claim in claims[:MOST]),
        ("outcome", "claim", "how sure"),
    )
    return paragraph(told) + shown + _rest(len(classes)) + said + _rest(len(claims))


def claim_html(claim: Claim) -> Markup:
    """What is claimed, and how sure that is. Its pictures: `audit.report.show_claim`."""
    rows = [("share", f"{percent(claim.share)} of {images(claim.targets)}")]
    rows += [("95 % interval", f"{percent(claim.low)} to {percent(claim.high)}")] * (claim.low is not None)
    rows += [("compared with", percent(claim.expected))] * (claim.expected is not None)
    rows += [("how sure", sure(claim.q, claim.fdr))]
    rows += [("outcome", OUTCOMES.get(claim.outcome, claim.outcome))]
    rows += [("rests on", RESTS_ON.get(claim.rests_on, claim.rests_on))]
    return paragraph(shorten(claim.says, _TEXT)) + table(rows)


def finding_html(finding: Finding) -> Markup:
    """What is found, and its numbers. Its pictures: `audit.report.show_sample`."""
    rows = [
        ("sample", shorten(finding.id, _NAME)),
        ("class", shorten(finding.class_name, _NAME)),
        ("probability", percent(finding.probability)),
        ("heat on the object", percent(finding.energy)),
        ("places that do as well", percent(finding.chance)),
        ("severity", decimal(finding.severity)),
        ("suspicion", decimal(finding.suspicion)),
    ]
    return paragraph(shorten(finding.says or finding.kind, _TEXT)) + table(rows)


def _class_cells(row: ClassFinding) -> tuple[str, ...]:
    interval = "" if row.share_low is None else f"{percent(row.share_low)} to {percent(row.share_high)}"
    off = f"{number(row.off_object)} ({percent(row.share)})" if row.confident else "0"
    return shorten(row.class_name, _NAME), number(row.confident), off, interval, "finding" if row.is_finding else ""


def _rest(rows: int) -> Markup:
    return paragraph(f"and {number(rows - MOST)} more.") if rows > MOST else Markup("")
