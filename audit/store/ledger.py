"""The ledger of a run: an entry a shard, written last. A shard is done when its entry exists and for no other reason.

An entry names the shard's artefacts with their digests. Artefacts are never changed, so what an entry names fits
together, whoever else works on the shard: of two writers, the one whose entry is there first wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from audit.errors import RunError
from audit.store import layout
from audit.store.files import Version, check_names, read_json, version_of, write_json

Entry = dict[str, Any]
"""`shard`; `artefacts`, paths below the run with their sha256; counts: those of `COUNTED`, `scoring`, `seconds`."""

_REPLACING = "replacing.lock"
_WAIT_S = 60.0
COUNTED = ("processed", "failed", "transient")
"""Counts of samples that every entry has."""


class Ledger:
    """The entries of the run at a path."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._folder = run / layout.LEDGER

    def path(self, shard: int) -> Path:
        """Where a shard's entry lies, or would."""
        return self._folder / f"{shard:05d}.json"

    def entered(self) -> set[int]:
        """Shards that have an entry."""
        return {int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal()}

    def entry(self, shard: int) -> Entry | None:
        """A shard's entry, or None while it is pending. A process reads each once, until it changes.

        Raises:
            RunError: it is damaged.
        """
        path = self.path(shard)
        try:
            entry = _read(path, version_of(path))
        except FileNotFoundError:
            return None
        if not entry:
            if not path.exists():  # withdrawn meanwhile
                return None
            raise RunError(f"Damaged ledger entry {path}; recompute it: `camaudit repair {self._run}`")
        return dict(entry)

    def enter(self, shard: int, entry: Mapping[str, Any], before: Entry | None) -> Entry:
        """Enter a shard if nobody did so meanwhile, and return the entry that stands.

        Args:
            before: the entry that it takes the place of; None for a shard that was pending.
        """
        path = self.path(shard)
        if before is None:
            with suppress(FileExistsError):
                write_json(path, dict(entry), exclusive=True)
        else:
            with FileLock(self._folder / _REPLACING, timeout=_WAIT_S):
                if self.entry(shard) == before:
                    write_json(path, dict(entry))
        return self.entry(shard) or dict(entry)  # withdrawn meanwhile: what was done is still true

    def withdraw(self, shard: int) -> None:
        """Take a shard's entry back: it is pending again."""
        self.path(shard).unlink(missing_ok=True)

    def digest(self) -> str:
        """Of all that the entries name: first 16 hex digits of a sha256. Findings say from which ledger they are."""
        digest = hashlib.sha256()
        for shard in sorted(self.entered()):
            for name, content in sorted((self.entry(shard) or {"artefacts": {}})["artefacts"].items()):
                digest.update(f"{name} {content}\n".encode())
        return digest.hexdigest()[:16]


@lru_cache(maxsize=1 << 14)
def _read(path: Path, _version: Version) -> Entry:
    """A version of an entry; empty if it is damaged."""
    try:
        entry = read_json(path, "")
    except RunError:
        return {}
    if not entry.keys() >= {"artefacts", *COUNTED}:
        return {}
    check_names(entry["artefacts"], path)
    return entry
