"""Files written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audit.errors import RunError

PARTIAL = ".partial"
_LONGEST = 200
_UNUSUAL = re.compile(r"^\.|\.(?=\.)|(?<=\.)\.|_(?=[_/])|(?<=[_/])_|[^\w./-]")
ABSENT = "absent"
"""Stands for the digest of a file that does not exist."""


def write_atomically(path: Path, write: Callable[[Path], object], durable: bool = True) -> None:
    """Let `write` make a file beside `path`, flush it to disk if `durable`, and give it its name in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        write(partial)
        if durable:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text))


def read_json(path: Path, again: str) -> dict[str, Any]:
    """Read a record.

    Args:
        again: the command that writes it again.

    Raises:
        RunError: it cannot be read, or is no record.
    """
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"Cannot read {path}: {error}; again: `{again}`") from None
    if not isinstance(record, dict):
        raise RunError(f"Expected {path} to hold a JSON object, got {type(record).__name__}; again: `{again}`")
    return record


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex; `ABSENT` where there is no file."""
    if not path.exists():
        return ABSENT
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_partials(root: Path) -> int:
    """Delete what killed writers left behind, and say how many files that were."""
    orphans = [path for path in root.rglob(f"*{PARTIAL}") if path.is_file()]
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)


def file_stem(sample_id: str) -> str:
    """A sample's id as a file name that stays in its folder and that no other id has.

    `/` becomes `__`, unusual characters (and underscores that could be taken for a `/`) `%XX`; what is too long for a
    file name is cut and ends in a hash of the id.

    >>> file_stem("dogs/../01 a")
    'dogs__%2E%2E__01%20a'
    """
    name = _UNUSUAL.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), sample_id)
    name = name.replace("/", "__")
    if len(name.encode()) <= _LONGEST:
        return name
    return name.encode()[:_LONGEST].decode(errors="ignore") + "-" + hashlib.sha256(sample_id.encode()).hexdigest()[:16]
