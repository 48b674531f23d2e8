"""What the command line prints about a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audit.findings import Claim, ClassFinding, Findings
from audit.store import Run, layout
from audit.store.maps import ENCODINGS, maps_size
from audit.wording import decimal, shorten, size
from pipelines.progress import say

_PIPE_WIDTH = 120
console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, soft_wrap=False)
_SENTENCE = 300


def status_record(run: Run, check: bool) -> dict[str, Any]:
    """The account of a run, what failed first, and, with `check`, which artefacts are not what was committed."""
    account = run.account()
    record: dict[str, Any] = asdict(account)
    record["adds_up"] = account.processed + account.failed + account.pending == account.samples
    if check:
        record["damaged"] = [{"shard": shard.index, "file": name} for shard, name in run.damaged()]
    readable = not record.get("damaged")
    record["maps"] = maps_record(run)
    record["failures"] = [{"id": name, "reason": reason} for name, reason in run.failures(5)] if readable else []
    return record


def maps_record(run: Run) -> dict[str, Any]:
    """What a run's maps take: bytes of a sample and of all before compression, and bytes on disk so far."""
    return {
        "shape": [run.record["slots"], *run.record["grid"]],
        "encoding": run.encoding,
        "bytes_a_sample": run.sample_bytes,
        "bytes_in_all": run.sample_bytes * run.samples,
        "bytes_on_disk": maps_size(run.path / layout.MAPS),
    }


def maps_line(maps: Mapping[str, Any]) -> str:
    """A maps record in words."""
    shape, bits = " x ".join(map(str, maps["shape"])), ENCODINGS[maps["encoding"]]
    each, total, disk = (size(maps[f"bytes_{name}"]) for name in ("a_sample", "in_all", "on_disk"))
    return f"maps: {shape} at {bits} bits, {each} a sample, {total} in all, compressed on disk {disk} so far"


def cost_line(method: str, cost: Mapping[str, int], samples: int) -> str:
    """What so many samples cost at the most, in words: a sample may have fewer targets than slots.

    >>> cost_line("rise", {"forward": 501, "backward": 0}, 280)
    'rise: 501 forward passes an image, 140,280 in all'
    """
    names = [name for name in ("forward", "backward") if cost[name]]
    each = " and ".join(f"{cost[name]} {name}" for name in names)
    total = " and ".join(f"{cost[name] * samples:,}" for name in names)
    return f"{method}: {each} passes an image, {total} in all"


def print_status(run: Run, record: Mapping[str, Any]) -> None:
    """Print a status record."""
    say(
        f"{record['processed']} processed + {record['failed']} failed + {record['pending']} pending "
        f"= {record['samples']} samples   ({record['shards_done']} of {record['shards']} shards)",
        console,
    )
    say(f"  {maps_line(record['maps'])}", console)
    for failure in record["failures"]:
        say(f"  failed {shorten(failure['id'])}: {failure['reason']}", console)
    if record["transient"]:
        say(f"  {record['transient']} failures that may pass: run the same command again", console)
    for damage in record.get("damaged", []):
        say(f"  damaged: {damage['file']}; recompute it: camaudit repair {run.path}", console)
    if "damaged" in record and not record["damaged"]:
        say("  every committed file is as it was written", console)


def print_findings(run: Run, most: int) -> None:
    """Print the class table and the most severe findings."""
    findings = Findings(run)
    table = Table(title="Classes: how often the heat of a confidently named target is off the object")
    for name in ("class", "targets", "confident", "off object", "share [95 %]", "energy", "area", "lift", "q", ""):
        table.add_column(name, justify="left" if name in ("class", "") else "right")
    for row in findings.classes():
        table.add_row(
            Text(shorten(row.class_name)),
            str(row.targets),
            str(row.confident),
            str(row.off_object),
            _share(row),
            *(decimal(value) for value in (row.energy, row.area, row.lift)),
            f"{row.q:.3g}",
            "finding" if row.is_finding else "",
        )
    console.print(table)
    _print_claims(findings.standing_claims(), most)
    _print_targets(findings.targets(), most)


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the figures of a flagged run in a few lines."""
    means = {name: decimal(value) for name, value in summary["means"].items()}
    counts = ", ".join(f"{number} {kind}" for kind, number in summary["findings"].items())
    say(f"findings: {counts} of {summary['scores'].get('scored', 0)} scored targets", console)
    if summary["mean_iou"] is not None:
        say(f"mean IoU {summary['mean_iou']:.3f} at threshold {summary['threshold']:.3f}", console)
    if summary["scores"].get("scored"):
        say(
            f"pointing {means['hit']} (centre {means['centre_hit']}), within 15 px {means['hit_15px']} "
            f"(centre {means['centre_hit_15px']}), energy {means['energy']} (centre {means['centre_energy']}), "
            f"area {means['area']}",
            console,
        )
    claims = ", ".join(f"{number} {kind}" for kind, number in summary.get("claims", {}).items() if number)
    say(f"claims found: {claims or 'none'}", console)
    found = summary["classes_off_object"]
    say(f"classes off the object: {', '.join(map(shorten, found)) or 'none'}", console)


def _share(row: ClassFinding) -> str:
    if not row.confident:
        return "-"
    return f"{row.share:.2f} [{row.share_low:.2f}, {row.share_high:.2f}]"


def _print_claims(claims: list[Claim], most: int) -> None:
    """The claims found as sentences, most certain first, with what interventions made of them."""
    say(f"{len(claims)} claims found" + (f"; the first {most}:" if len(claims) > most else ""), console)
    for claim in claims[:most]:
        q = "" if claim.q is None else f", q {claim.q:.2g}"
        tags = f"{claim.outcome}{q}, rests on {claim.rests_on}"
        say(f"  {shorten(claim.says, _SENTENCE)} ({tags})", console)


def _print_targets(findings: pa.Table, most: int) -> None:
    table = Table(title=f"The {min(most, findings.num_rows)} most severe of {findings.num_rows} findings")
    for name in ("severity", "kind", "sample", "class", "role", "probability", "energy", "area", "chance", "q_low"):
        table.add_column(name, justify="left" if name in ("kind", "sample", "class", "role") else "right")
    for row in findings.slice(0, most).to_pylist():
        numbers = [decimal(row[name]) for name in ("probability", "energy", "area", "chance", "q_low")]
        texts = [Text(shorten(row[name])) for name in ("kind", "id", "class", "role")]
        table.add_row(f"{row['severity']:.3f}", *texts, *numbers)
    console.print(table)
