"""Measure, print tables with ratios, and write the same as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.cli.doctor import examine
from tests.benchmarks.maps import (
    bench_agreement,
    bench_attribution,
    bench_classes,
    bench_gpu,
)
from tests.benchmarks.runs import (
    bench_channels,
    bench_commits,
    bench_end_to_end,
    bench_memory,
    bench_precision,
    bench_profile,
    bench_quick_check,
    bench_tables,
    bench_thresholds,
)
from tests.benchmarks.scale import (
    bench_cluster,
    bench_clusters,
    bench_copies,
    bench_dashboard,
    bench_driver,
    bench_findings,
    bench_ledger,
    bench_million,
)
from tests.benchmarks.timing import Row

BENCHMARKS = {
    "attribution": bench_attribution,
    "classes": bench_classes,
    "memory": bench_memory,
    "end_to_end": bench_end_to_end,
    "profile": bench_profile,
    "quick_check": bench_quick_check,
    "channels": bench_channels,
    "precision": bench_precision,
    "agreement": bench_agreement,
    "findings": bench_findings,
    "gpu": bench_gpu,
    "ledger": bench_ledger,
    "clusters": bench_clusters,
    "commits": bench_commits,
    "copies": bench_copies,
    "million": bench_million,
    "cluster": bench_cluster,
    "dashboard": bench_dashboard,
    "driver": bench_driver,
    "tables": bench_tables,
    "thresholds": bench_thresholds,
}


def main() -> None:
    options = _options()
    record: dict[str, object] = {"machine": examine(), "rounds": options.rounds}
    for name in options.only:
        rows = BENCHMARKS[name].measure(options.rounds)
        Console(width=140).print(_table(name, BENCHMARKS[name].__doc__ or "", rows))
        record[name] = rows
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="JSON file to write")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="benchmarks to run")
    return parser.parse_args()


def _table(name: str, about: str, rows: Sequence[Row]) -> Table:
    """One line a row; columns as the rows name them."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=f"{name}: {about.splitlines()[0] if about else ''}", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
    if isinstance(value, list):
        return f"{min(value):.2f} to {max(value):.2f}" if value else ""
    return str(value)


if __name__ == "__main__":
    main()
