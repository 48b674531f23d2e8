"""Mutation testing: small random changes to the rooms that make accusations, and whether a test catches each.

`make mutants` runs it. It is no test of the suite: `build/mutants.json` and the table that it prints are its result.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutation.mutants import draw_mutants
from tests.mutation.trials import CAUGHT, ROOMS, SAME, SURVIVED, Trial, try_mutants

ENOUGH = 0.95
"""Share of the mutants that are not equivalent that tests must catch."""
_AS_IT_IS: dict[str, bool] = {"markup": False, "highlight": False, "soft_wrap": True}


def main() -> None:
    options, root, console = _options(), Path.cwd(), Console(stderr=True)
    rooms, began = options.room or list(ROOMS), time.monotonic()
    tried: dict[str, list[Trial]] = {}
    for place, room in enumerate(rooms):
        mutants = draw_mutants(root, root / "audit" / room, options.count, options.seed)
        deadline = began + 60 * options.minutes * (place + 1) / len(rooms)
        tried[room] = []
        with tempfile.TemporaryDirectory(prefix="camaudit-mutants-") as folder:
            for trial in try_mutants(root, Path(folder), room, mutants, options.jobs, deadline):
                tried[room].append(trial)
                console.print(f"{room} {len(tried[room])}/{len(mutants)}: {_told(trial)}", **_AS_IT_IS)
    _write(options.out, {"seed": options.seed, "count": options.count}, tried)
    Console(width=120).print(_table(tried))
    for trial in (trial for trials in tried.values() for trial in trials if trial.outcome == SURVIVED):
        console.print(_told(trial), **_AS_IT_IS)
    raise SystemExit(any(_share(trials) < ENOUGH for trials in tried.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--room", action="append", choices=list(ROOMS), help="may be given again; all without")
    parser.add_argument("--count", type=int, default=40, help="mutants a room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="no mutant begins later; each room has its part")
    parser.add_argument("--jobs", type=int, default=2, help="mutants tried at the same time")
    parser.add_argument("--out", type=Path, default=Path("build/mutants.json"))
    return parser.parse_args()


def _told(trial: Trial) -> str:
    mutant = trial.mutant
    changed = f" {mutant.path}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}"
    return trial.outcome + (changed if trial.outcome == SURVIVED else "")


def _share(trials: Sequence[Trial]) -> float:
    """Caught, of those that are not equivalent; 1 of none."""
    count = Counter(trial.outcome for trial in trials)
    return count[CAUGHT] / ((count[CAUGHT] + count[SURVIVED]) or 1) if len(trials) > count[SAME] else 1.0


def _write(out: Path, how: dict[str, int], tried: dict[str, list[Trial]]) -> None:
    rooms = {
        room: [{**asdict(trial.mutant), "source": None, "outcome": trial.outcome} for trial in trials]
        for room, trials in tried.items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(how | {"rooms": rooms}, indent=1) + "\n")


def _table(tried: dict[str, list[Trial]]) -> Table:
    table = Table(title="Mutants")
    for name in ("room", "tried", "equivalent", "caught", "survived", "share caught"):
        table.add_column(name, justify="left" if name == "room" else "right")
    for room, trials in tried.items():
        count = Counter(trial.outcome for trial in trials)
        numbers = (len(trials), count[SAME], count[CAUGHT], count[SURVIVED])
        table.add_row(room, *map(str, numbers), f"{_share(trials):.3f}")
    return table


if __name__ == "__main__":
    main()
