"""The verb that holds two runs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from audit.wording import decimal, shorten
from pipelines.cli_options import Json, print_json

MOST_CLASSES = 20


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Directory of the run before.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Directory of the run after.")],
    fail_on: Annotated[
        Literal["worse"] | None,
        typer.Option(help="worse: exit 1 if the off-object share rose, or a class or claim is a new finding."),
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Findings about targets to print.")] = 10,
    as_json: Json = False,
) -> None:
    """Compare two runs over the same samples: two models, or two versions of the data.

    Differences are B less A, paired by sample and class, with 95 % intervals over images. For a gate in CI use
    --fail-on worse: exit 0 not worse, 1 worse (with each reason) or failed, 2 wrong use.

    Example: camaudit compare runs/before runs/after --fail-on worse
    """
    from audit.compare import compare_runs
    from audit.store import Run
    from pipelines.terminal import TerminalProgress

    record = compare_runs(Run.open(run_a), Run.open(run_b), progress=TerminalProgress())
    print_json(record) if as_json else print_comparison(record, most)
    if fail_on and record["worse"]:
        for reason in record["worse"]:
            typer.echo(f"camaudit: worse: {reason}", err=True)
        raise SystemExit(1)


def print_comparison(record: Mapping[str, Any], most: int) -> None:
    """Print what changed: the whole, the classes, and the findings gone and new."""
    from pipelines.progress import say
    from pipelines.report import console

    for name in ("samples", "targets"):
        counts = record[name]
        changed = f" ({counts['changed']} of them with another file)" if counts.get("changed") else ""
        left_out = f"{counts['only_a']} in A only, {counts['only_b']} in B only"
        say(f"{name}: {counts['both']} in both{changed}, {left_out}", console)
    say(f"what differs: {'; '.join(map(shorten, record['differs'])) or 'nothing'}", console)
    console.print(_measures_table(record))
    if record["classes"]:
        console.print(_classes_table(record))
    for name in ("gone", "new"):
        _say_changed(record, name, most)


def _measures_table(record: Mapping[str, Any]) -> Any:
    from rich.table import Table

    flips = record["flips"]
    title = f"B less A; off the object {flips['worse']} images more, {flips['better']} fewer, p {flips['p']:.3g}"
    table = Table(title=title)
    for name in ("measure", "pairs", "A", "B", "difference [95 %]"):
        table.add_column(name, justify="left" if name == "measure" else "right")
    for name, one in record["measures"].items():
        table.add_row(name.replace("_", " "), str(one["pairs"]), decimal(one["a"]), decimal(one["b"]), _change(one))
    return table


def _classes_table(record: Mapping[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    rows = record["classes"]
    shown = rows[:MOST_CLASSES]
    table = Table(title=f"Classes, {len(shown)} of {len(rows)}: what changed most first")
    for name in ("class", "off object A", "B", "difference [95 %]", "more", "fewer", "q", "energy [95 %]"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for row in shown:
        off, energy = row["measures"]["off_object"], row["measures"]["energy"]
        numbers = [decimal(off["a"]), decimal(off["b"]), _change(off), str(row["worse"]), str(row["better"])]
        table.add_row(Text(shorten(row["class"])), *numbers, f"{row['q']:.3g}", _change(energy))
    return table


def _say_changed(record: Mapping[str, Any], name: str, most: int) -> None:
    from pipelines.progress import say
    from pipelines.report import console

    targets, classes = record["findings"][name], record["class_findings"][name]
    claims = (record["claims"] or {name: []})[name]
    say(f"{name}: {len(targets)} targets, {len(classes)} classes, {len(claims)} claims", console)
    for text in (*map(shorten, classes), *(row["says"] or row["claim_id"] for row in claims)):
        say(f"  {text}", console)
    for row in targets[:most]:
        say(f"  {shorten(row['id'])}: {shorten(row['class'])}, severity {decimal(row['severity'])}", console)


def _change(one: Mapping[str, Any]) -> str:
    return "-" if one["difference"] is None else f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
