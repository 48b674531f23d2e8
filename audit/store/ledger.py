"""The ledger of a run: an entry a shard, written last. A shard is done when its entry exists and for no other reason.

An entry names the shard's artefacts with their digests. Artefacts are never changed, so what an entry names fits
together, whoever else works on the shard: of two writers, the one whose entry is there first wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

from audit.errors import RunError
from audit.store import layout
from audit.store.storage.files import Version, check_names, read_json, replace_json, version_of, write_json
from audit.store.storage.objects import Location, ObjectPath

Entry = dict[str, Any]
"""`shard`; `artefacts`, paths below the run with their sha256; counts: those of `COUNTED`, `scoring`, `seconds`."""

_READERS = 16
COUNTED = ("processed", "failed", "transient")
"""Counts of samples that every entry has."""


class Ledger:
    """The entries of the run at a place."""

    def __init__(self, run: Location) -> None:
        self._run = run
        self._folder = run / layout.LEDGER

    def path(self, shard: int) -> Location:
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
        return self._versioned(shard)[0]

    def entries(self) -> dict[int, Entry]:
        """All entries by shard, in order; the folder is listed once, for it may grow meanwhile.

        Raises:
            RunError: one is damaged.
        """
        shards = sorted(self.entered())
        if isinstance(self._folder, ObjectPath):  # each takes the time of two requests
            with ThreadPoolExecutor(_READERS) as pool:
                read = list(pool.map(self.entry, shards))
        else:
            read = [self.entry(shard) for shard in shards]
        return {shard: entry for shard, entry in zip(shards, read, strict=True) if entry is not None}

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
            standing, version = self._versioned(shard)
            if standing == before and version is not None:
                replace_json(path, dict(entry), version)
        return self.entry(shard) or dict(entry)  # withdrawn meanwhile: what was done is still true

    def withdraw(self, shard: int) -> None:
        """Take a shard's entry back: it is pending again."""
        self.path(shard).unlink(missing_ok=True)

    def digest(self) -> str:
        """Of all that the entries name: first 16 hex digits of a sha256. Findings say from which ledger they are."""
        digest = hashlib.sha256()
        for entry in self.entries().values():
            for name, content in sorted(entry["artefacts"].items()):
                digest.update(f"{name} {content}\n".encode())
        return digest.hexdigest()[:16]

    def _versioned(self, shard: int) -> tuple[Entry | None, Version | None]:
        path = self.path(shard)
        try:
            version = version_of(path)
            entry = _read(path, version)
        except FileNotFoundError:
            return None, None
        if not entry:
            if not path.exists():  # withdrawn meanwhile
                return None, None
            raise RunError(f"Damaged ledger entry {path}; recompute it: `camaudit repair {self._run}`")
        return dict(entry), version


@lru_cache(maxsize=1 << 14)
def _read(path: Location, _version: Version) -> Entry:
    """A version of an entry; empty if it is damaged."""
    try:
        entry = read_json(path, "")
    except RunError:
        return {}
    if not entry.keys() >= {"artefacts", *COUNTED}:
        return {}
    check_names(entry["artefacts"], path)
    return entry
