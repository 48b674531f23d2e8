"""Bits flipped in every file of a run: each is named by whoever reads it, or changes nothing that is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from claimed_run import make_claimed_run

from audit.errors import AuditError
from audit.store.storage.files import write_json
from faults.campaign.rows import Row
from faults.reading import everything, flipped


def flip_bits(folder: Path, count: int, seed: int, say: Callable[[str], None]) -> Row:
    """Flip so many bits, one at a time."""
    path = make_claimed_run(folder)
    write_json(path / "report/null.json", {"says": "On average 0.4 of the heat lies on the object.", "targets": 30})
    whole, row = everything(path), Row("bit flipped in a file of a run", identical=None)
    say(f"flipping {count} bits")
    for file in flipped(path, count, seed):
        outcome = _read(path, whole)
        failure = "" if outcome in ("named", "identical") else f"{file.relative_to(path)}: {outcome}"
        row.count(failure)
    if everything(path) != whole:
        row.failures.append(f"{row.what}: the run is not what it was when all is flipped back")
    return row


def _read(path: Path, whole: str) -> str:
    try:
        return "identical" if everything(path) == whole else "a wrong number, silently"
    except AuditError:
        return "named"
    except Exception as error:  # what a campaign is for
        return f"{type(error).__name__}: {error}"
