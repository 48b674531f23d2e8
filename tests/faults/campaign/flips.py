"""Bits flipped in every file of a run: each is named by whoever reads it, or changes nothing that is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from claimed_run import make_claimed_run

from audit.errors import AuditError
from audit.store.files import write_json
from faults.campaign.rows import Row
from faults.reading import everything


def flip_bits(folder: Path, count: int, seed: int, say: Callable[[str], None]) -> Row:
    """Flip so many bits, one at a time."""
    path = make_claimed_run(folder)
    write_json(path / "report/null.json", {"says": "On average 0.4 of the heat lies on the object.", "targets": 30})
    whole, generator = everything(path), np.random.default_rng(seed)
    files = [file for file in sorted(path.rglob("*")) if _says_something(file)]
    say(f"flipping {count} bits in {len(files)} files")
    row = Row("bit flipped in a file of a run")
    for number in range(count):
        file = files[number % len(files)]
        good = file.read_bytes()
        damaged = bytearray(good)
        damaged[generator.integers(len(good))] ^= 1 << int(generator.integers(8))
        file.write_bytes(damaged)
        outcome = _read(path, whole)
        file.write_bytes(good)
        failure = "" if outcome in ("named", "identical") else f"{file.relative_to(path)}: {outcome}"
        row.count(failure, everything(path) == whole)
    return row


def _says_something(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and file.stat().st_size > 0


def _read(path: Path, whole: str) -> str:
    try:
        return "identical" if everything(path) == whole else "a wrong number, silently"
    except AuditError:
        return "named"
    except Exception as error:  # what a campaign is for
        return f"{type(error).__name__}: {error}"
