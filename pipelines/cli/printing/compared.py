"""What changed from one run to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audit.wording import decimal, shorten
from pipelines.cli.printing.lines import as_written, line
from pipelines.cli.tables import named, numbers, print_table, whole, words

_MOST_CLASSES = 20


def print_comparison(record: Mapping[str, Any], most: int, wide: bool = False) -> None:
    """Print what changed from run A to run B: the whole, the classes, and the findings gone and new."""
    for name in ("samples", "targets"):
        counts = record[name]
        changed = f" ({counts['changed']} of them with another file)" if counts.get("changed") else ""
        line(f"{name}: {counts['both']} in both{changed}, {counts['only_a']} in A only, {counts['only_b']} in B only")
    line(f"what differs: {'; '.join(map(shorten, record['differs'])) or 'nothing'}")
    if any(measure["pairs"] for measure in record["measures"].values()):
        _print_changed_measures(record, wide)
    judged = any(row["measures"][name]["pairs"] for row in record["classes"] for name in ("off_object", "accuracy"))
    if not judged:
        line("no target was compared with an object in both runs: what is compared are claims and named classes")
    if record["classes"] and judged:
        _print_changed_classes(record["classes"], wide)
    if record["changes"]:
        _print_changes(record, most, wide)
    for name in ("gone", "new"):
        _print_changed_findings(record, name, most)


def _print_changed_measures(record: Mapping[str, Any], wide: bool) -> None:
    flips, measures = record["flips"], record["measures"].values()
    columns = [
        words("measure", (name.replace("_", " ") for name in record["measures"])),
        numbers("pairs", (measure["pairs"] for measure in measures), rank=2),
        numbers("A", (decimal(measure["a"]) for measure in measures), rank=1),
        numbers("B", (decimal(measure["b"]) for measure in measures), rank=1),
        numbers("difference [95 %]", map(_change, measures)),
    ]
    title = f"B less A; off the object {flips['worse']} images more, {flips['better']} fewer, p {flips['p']:.3g}"
    print_table(title, columns, wide)


def _print_changed_classes(rows: Sequence[Mapping[str, Any]], wide: bool) -> None:
    shown = rows[:_MOST_CLASSES]
    off = [row["measures"]["off_object"] for row in shown]
    columns = [
        named("class", (row["class"] for row in shown)),
        numbers("off object A", (decimal(share["a"]) for share in off), rank=2),
        numbers("B", (decimal(share["b"]) for share in off), rank=2),
        numbers("difference [95 %]", map(_change, off)),
        numbers("more", (row["worse"] for row in shown), rank=3),
        numbers("fewer", (row["better"] for row in shown), rank=3),
        numbers("q", (f"{row['q']:.3g}" for row in shown), rank=1),
        numbers("energy [95 %]", (_change(row["measures"]["energy"]) for row in shown), rank=4),
    ]
    title = f"Classes, {len(shown)} of {len(rows)}: what changed most first"
    print_table(title, columns, wide)


def _print_changes(record: Mapping[str, Any], most: int, wide: bool) -> None:
    """What could make B worse: the reasons that do, and the nearest of the others."""
    reasons, changes = len(record["worse"]), record["changes"]
    shown = changes[: max(reasons, most)]
    columns = [
        words("", ("worse" if place < reasons else "" for place in range(len(shown)))),
        named("share of images", (change["name"] or "off the object, all classes" for change in shown)),
        numbers("A", (decimal(change["a"]) for change in shown), rank=2),
        numbers("B", (decimal(change["b"]) for change in shown), rank=2),
        numbers("difference [95 %]", map(_change, shown)),
        numbers("more", (change["worse"] for change in shown), rank=1),
        numbers("fewer", (change["better"] for change in shown), rank=1),
        numbers("p", (f"{change['p']:.2g}" for change in shown), rank=3),
        numbers("q", (f"{change['q']:.2g}" for change in shown)),
    ]
    tested = f"{len(changes)} differences tested together, one-sided"
    print_table(f"Is B worse? {reasons} rose by more than chance; {tested}, fdr {record['fdr']:g}", columns, wide)


def _print_changed_findings(record: Mapping[str, Any], name: str, most: int) -> None:
    targets, classes = record["findings"][name], record["class_findings"][name]
    claims = (record["claims"] or {name: []})[name]
    line(f"{name}: {len(targets)} targets, {len(classes)} classes, {len(claims)} claims")
    for text in (*map(whole, classes), *(row["says"] or as_written(row["claim_id"]) for row in claims)):
        line(f"  {text}")
    for row in targets[:most]:
        line(f"  {whole(row['id'])}: {whole(row['class'])}, severity {decimal(row['severity'])}")


def _change(measure: Mapping[str, Any]) -> str:
    if measure["difference"] is None:
        return "-"
    return f"{measure['difference']:+.3f} [{measure['low']:+.3f}, {measure['high']:+.3f}]"
