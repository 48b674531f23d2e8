"""Where a collection and a run stand, and what methods there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.wording import decimal
from pipelines.cli.printing.lines import line
from pipelines.cli.tables import whole

if TYPE_CHECKING:
    from audit.datasets import Opening
    from audit.store import Run
    from audit.store.storage.objects import Place
    from pipelines.run.start import Audited


def print_opening(opening: Opening, expects_masks: bool) -> None:
    """Print how many of the files that were tried open; of masks, where there are any or should be."""
    tallies = {"images": opening.images} | ({"masks": opening.masks} if expects_masks else {})
    for name, tally in tallies.items():
        if not tally.listed:
            line(f"{name}: 0 of {opening.images.listed} samples have one")
        else:
            first = f"; the first that does not: {tally.reason}" if tally.reason else ""
            line(f"{name}: {tally.opened} of {tally.tried} open{first}")
    bad = opening.drawings.tried - opening.drawings.opened
    if bad:
        line(
            f"boxes and outlines: {bad} of {opening.drawings.listed} samples have some that cannot be drawn, "
            f"the first: {opening.drawings.reason}; where no mask is beside them, these samples are scored without"
        )


def print_audited(audited: Audited) -> None:
    """Print the account of a run, its figures, and what to do next."""
    path = audited.run.path
    print_status(path, audited.status)
    if audited.summary:
        print_summary(audited.summary)
        print_basis(audited.run)
        line(f"next: camaudit findings {path}; camaudit dashboard {path}")


def print_basis(run: Run) -> None:
    """Print what the findings rest on, what was not tested, and what it would take."""
    from audit.findings import Findings
    from audit.findings.pages.basis import basis_of

    basis = basis_of(Findings(run))
    for text in basis.lines() if basis else ():
        line(text)


def print_status(path: Place, record: Mapping[str, Any]) -> None:
    """Print a status record of the run at `path`."""
    from pipelines.run.account import maps_line

    line(
        f"{record['processed']} processed + {record['failed']} failed + {record['pending']} pending "
        f"= {record['samples']} samples   ({record['shards_done']} of {record['shards']} shards)"
    )
    line(f"  {maps_line(record['maps'])}")
    for failure in record["failures"]:
        line(f"  failed {whole(failure['id'])}: {failure['reason']}")
    more = record["failed"] - len(record["failures"])
    if more > 0 and record["failures"]:
        line(f"  and {more} more, with their reasons in the table samples")
    if record["transient"]:
        line(f"  {record['transient']} failures that may pass: run the same command again")
    if record["quarantined"]:
        line(f"  {record['quarantined']} in quarantine: camaudit repair {path} --quarantined has them tried again")
    for damage in record.get("damaged", []):
        line(f"  damaged: {damage['file']}; {damage['advice']}")
    if record["outdated"]:
        of = f"{record['outdated']} of {record['shards_done']} shards"
        line(f"  scoring was interrupted: {of} have the scores of before; go on with: camaudit score {path}")
    for text in record["rests_on"]:
        line(f"  {text}")
    if "damaged" in record and not record["damaged"]:
        line("  every committed file is as it was written")


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the figures of a flagged run in a few lines."""
    from audit.findings import KINDS
    from audit.findings.claims.registry import CLAIM_KINDS
    from audit.findings.dependence import units_said
    from audit.findings.evidence.disagreements import set_aside_said

    line(f"findings: {_counts(summary['findings'], KINDS)} of {summary['scores'].get('scored', 0)} scored targets")
    unscored = [
        f"{count} {status.replace('_', ' ')}" for status, count in summary["scores"].items() if status != "scored"
    ]
    if unscored:
        line(f"not scored: {', '.join(unscored)}")
    if summary["mean_iou"] is not None:
        line(f"mean IoU {summary['mean_iou']:.3f} at threshold {summary['threshold']:.3f}")
    if summary["scores"].get("scored"):
        line(_means_line(summary["means"]))
    claims = {kind: number for kind, number in summary.get("claims", {}).items() if number}
    line(f"claims found: {_counts(claims, CLAIM_KINDS) or 'none'}")
    line(f"classes off the object: {', '.join(map(whole, summary['classes_off_object'])) or 'none'}")
    for said in filter(None, (set_aside_said(summary), units_said(summary))):
        line(f"note: {said}")


def _counts(counts: Mapping[str, int], kinds: Iterable[str]) -> str:
    """In the order of the kinds."""
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds if kind in counts)


def _means_line(values: Mapping[str, float | None]) -> str:
    means = {name: decimal(value) for name, value in values.items()}
    return (
        f"pointing {means['hit']} (centre {means['centre_hit']}), within 15 px {means['hit_15px']} "
        f"(centre {means['centre_hit_15px']}), energy {means['energy']} (centre {means['centre_energy']}), "
        f"area {means['area']}"
    )


def print_methods(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the methods, each with its cost."""
    for row in rows:
        line(f"{row['name']}\n    {row['description']} ({row['paper']})")
        cost = f"forward passes: {row['forward_passes']}; backward passes: {row['backward_passes']}"
        line(f"    {cost}; maps: {row['maps']}")
