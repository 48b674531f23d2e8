"""A campaign: commands killed at random moments, flipped bits, mutated images and masks; a table of what survived.

`make faults` runs it: 100 kills, 1,000 flips and 10,000 mutations, seeded, within half an hour on two cores. It is no
test of the suite: `build/faults.json` and the table that it prints are its result.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from faults.campaign.buckets import kill_workers
from faults.campaign.flips import flip_bits
from faults.campaign.kills import kill_runs
from faults.campaign.mutations import mutate_files
from faults.campaign.rows import Row


def main() -> None:
    options = _options()
    began, console = time.monotonic(), Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="camaudit-faults-") as folder:
        place = Path(folder)
        rows = [flip_bits(place / "flips", options.flips, options.seed, console.print)]
        rows += mutate_files(place / "mutations", options.mutations, options.seed, console.print)
        rows.append(kill_workers(place / "bucket", options.bucket_kills, options.seed, console.print))
        deadline = began + 60 * options.minutes
        rows += kill_runs(place / "kills", options.kills, options.seed, deadline, console.print)
    minutes = (time.monotonic() - began) / 60
    options.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"seed": options.seed, "minutes": round(minutes, 1), "rows": [asdict(row) for row in rows]}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    Console(width=120).print(_table(rows))
    for line in (line for row in rows for line in row.failures):
        console.print(line, markup=False, soft_wrap=True)
    raise SystemExit(any(row.survived < row.tried for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults.campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--bucket-kills", type=int, default=20, help="of workers of a run in a bucket")
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--mutations", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30, help="no kill begins later than so")
    parser.add_argument("--out", type=Path, default=Path("build/faults.json"))
    return parser.parse_args()


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="What was tried against a run")
    for name in ("what", "tried", "survived", "identical"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        identical = "-" if row.identical is None else str(row.identical)
        table.add_row(row.what, str(row.tried), str(row.survived), identical)
    return table


if __name__ == "__main__":
    main()
