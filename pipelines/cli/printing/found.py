"""What was found, and what interventions made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.wording import decimal, shorten
from pipelines.cli.printing.lines import as_written, line
from pipelines.cli.tables import named, numbers, print_table, words

if TYPE_CHECKING:
    from audit.findings import Claim, ClassFinding, Findings

_SENTENCE = 300
_TARGET = ["suspicion", "kind", "id", "class", "role", "quick_reliance", "severity"]
_TARGET += ["probability", "energy", "area", "chance", "q_low"]
_RIGHT = {True: "rightly", False: "wrongly", None: "-"}


def print_findings(findings: Findings, most: int, wide: bool = False) -> None:
    """Print the class table, the claims found, and the most suspicious findings.

    Args:
        most: claims, and findings about targets, to print.
        wide: print every column.
    """
    from audit.findings.evidence.disagreements import set_aside_said
    from audit.findings.pages.basis import basis_of
    from audit.findings.pages.unfound import explain_silence
    from audit.findings.pages.unjudged import why_unjudged

    classes = findings.classes()
    if classes:
        _print_classes(classes, wide)
    else:
        line(f"{why_unjudged((findings.summary() or {}).get('scores', {}))}.")
    basis = basis_of(findings)
    for text in basis.lines() if basis else ():
        line(text)
    _print_claims(findings.standing_claims(), most)
    summary = findings.summary() or {}
    for text in filter(None, (set_aside_said(summary), *explain_silence(summary))):
        line(f"  {text}")
    evident, guesses = findings.counted()
    if evident:
        shown = findings.leading(0, min(most, evident), _TARGET).to_pylist()
        _print_targets(f"The {len(shown)} most suspicious of {evident} findings", shown, wide)
    else:
        line("0 findings about single images")
        _print_oddest(findings, most, wide)
    if guesses:
        shown = findings.leading(evident, evident + min(most, guesses), _TARGET).to_pylist()
        _print_targets(f"{len(shown)} of {guesses} guesses of a detector, without a mask", shown, wide)


def _print_classes(rows: Sequence[ClassFinding], wide: bool) -> None:
    columns = [
        named("class", (row.class_name for row in rows)),
        numbers("targets", (row.targets for row in rows), rank=4),
        numbers("confident", (row.confident for row in rows), rank=2),
        numbers("off object", (row.off_object for row in rows), rank=1),
        numbers("share [95 %]", map(_share, rows)),
        numbers("energy", (decimal(row.energy) for row in rows), rank=5),
        numbers("area", (decimal(row.area) for row in rows), rank=6),
        numbers("lift", (decimal(row.lift) for row in rows), rank=7),
        numbers("q", ("-" if row.q is None else f"{row.q:.3g}" for row in rows), rank=3),
        numbers("held against", map(_held_against, rows), rank=8),
        numbers("quick", (decimal(row.quick_reliance) for row in rows), rank=9),
        numbers("of others", (decimal(row.quick_of_others) for row in rows), rank=10),
        words("", ("finding" if row.is_finding else "" for row in rows)),
    ]
    title = "Classes: how often the heat of a confidently named target is off the object"
    print_table(title, columns, wide)


def _share(row: ClassFinding) -> str:
    if not row.confident:
        return "-"
    return f"{row.share:.2f} [{row.share_low:.2f}, {row.share_high:.2f}]"


def _held_against(row: ClassFinding) -> str:
    return "-" if row.expected is None else f"{row.expected:.2f} {row.against}"


def _print_claims(claims: Sequence[Claim], most: int) -> None:
    """The claims found as sentences, most certain first, with what interventions made of them."""
    line(f"{len(claims)} claims found" + (f"; the first {most}:" if len(claims) > most else ""))
    for claim in claims[:most]:
        q = "" if claim.q is None else f", q {claim.q:.2g}"
        line(f"  {shorten(claim.says, _SENTENCE)} ({claim.outcome}{q}, rests on {claim.rests_on})")


def _print_targets(title: str, rows: Sequence[Mapping[str, Any]], wide: bool) -> None:
    columns = [
        numbers("suspicion", (f"{row['suspicion']:.3f}" for row in rows)),
        words("kind", (row["kind"] for row in rows), rank=1),
        named("sample", (row["id"] for row in rows)),
        named("class", (row["class"] for row in rows)),
        words("role", (row["role"] for row in rows), rank=6),
        numbers("quick", (decimal(row["quick_reliance"]) for row in rows), rank=2),
        numbers("severity", (decimal(row["severity"]) for row in rows), rank=3),
        numbers("probability", (decimal(row["probability"]) for row in rows), rank=4),
        numbers("energy", (decimal(row["energy"]) for row in rows), rank=5),
        numbers("area", (decimal(row["area"]) for row in rows), rank=7),
        numbers("chance", (decimal(row["chance"]) for row in rows), rank=3),
        numbers("q_low", (decimal(row["q_low"]) for row in rows), rank=8),
    ]
    print_table(title, columns, wide)


def _print_oddest(findings: Findings, most: int, wide: bool) -> None:
    """The targets to look at first where no object is known; nothing where the objects of all are."""
    import pyarrow.compute as pc

    names = ["id", "class", "role", "probability", "right", "oddness", "border", "place"]
    index = findings.index(names)
    odd = index.filter(pc.is_valid(index["oddness"]))
    if not odd.num_rows:
        return
    rows = odd.take(pc.sort_indices(odd, [("oddness", "descending")])[:most]).to_pylist()
    title = f"The {len(rows)} oddest of {odd.num_rows} targets without a known object: where to look first, no finding"
    columns = [
        numbers("oddness", (decimal(row["oddness"]) for row in rows)),
        named("sample", (row["id"] for row in rows)),
        named("class", (row["class"] for row in rows)),
        words("role", (row["role"] for row in rows), rank=2),
        numbers("probability", (decimal(row["probability"]) for row in rows), rank=1),
        words("named", (_RIGHT[row["right"]] for row in rows), rank=3),
        *(numbers(name, (decimal(row[name]) for row in rows), rank=4) for name in ("border", "place")),
    ]
    print_table(title, columns, wide)


def print_verified(record: Mapping[str, Any], wide: bool = False) -> None:
    """Print the outcomes of flagged targets and controls, a sentence a finding, and one about random weights."""
    from audit.findings.records import OUTCOMES

    arms = record["outcomes"]
    columns = [
        words("targets", arms),
        *(
            numbers(name, (outcomes.get(name, 0) for outcomes in arms.values()), rank)
            for rank, name in enumerate(OUTCOMES)
        ),
    ]
    title = f"Interventions on {record['targets']} targets, {len(record['failed'])} unreadable"
    print_table(title, columns, wide)
    for cause in record["causes"]:
        line(f"{as_written(cause['claim_id'])} {cause['outcome']}: {cause['says']}")
    if record["random_weights"]:
        line(record["random_weights"]["says"])
