"""Measure, print one table with ratios, and write the same as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.doctor import examine
from tests.benchmarks import bench_attribution, bench_end_to_end
from tests.benchmarks.timing import Measured

BENCHMARKS = {"attribution": bench_attribution, "end_to_end": bench_end_to_end}


def main() -> None:
    options = _options()
    found = {name: BENCHMARKS[name].measure(options.rounds) for name in options.only}
    Console(width=120).print(_table(found))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": examine(), "rounds": options.rounds}
    record |= {name: [_row(row, rows[0]) for row in rows] for name, rows in found.items()}
    options.out.write_text(json.dumps(record, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="JSON file to write")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="benchmarks to run")
    return parser.parse_args()


def _row(measured: Measured, baseline: Measured) -> dict[str, Any]:
    return {
        "name": measured.name,
        "images_per_s": round(measured.rate, 2),
        "of_forward": round(measured.speed_of(baseline), 3),
        "seconds": [round(seconds, 3) for seconds in measured.seconds],
    }


def _table(found: dict[str, Sequence[Measured]]) -> Table:
    """Images a second, and their ratio to the forward pass, the first row of each benchmark."""
    table = Table("benchmark", "candidate", "images/s", "of forward", "fastest to slowest, s")
    for column in table.columns[2:]:
        column.justify = "right"
    for name, rows in found.items():
        for measured in rows:
            row = _row(measured, rows[0])
            spread = f"{min(measured.seconds):.2f} to {max(measured.seconds):.2f}"
            table.add_row(name, measured.name, f"{row['images_per_s']:.1f}", f"{row['of_forward']:.2f}", spread)
        table.add_section()
    return table


if __name__ == "__main__":
    main()
