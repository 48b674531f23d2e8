"""The ledger of a run: an entry a shard, written last. A shard is done when its entry exists and for no other reason.

An entry names the shard's artefacts with their digests. Artefacts are never changed, so what an entry names fits
together, whoever else works on the shard: of two writers, the one whose entry is there first wins.

Who asks for all entries would read thousands of files. So a copy of them lies beside, `rolled-up.json`, with the
version of each as a list of the folder tells it. An entry that is listed with that version is taken from the copy,
any other is read itself. So the entries stay the truth: a copy that is old, damaged or gone costs time alone, and of
two that are written at once either will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from audit.errors import RunError
from audit.store import layout
from audit.store.storage.files import (
    Version,
    check_names,
    load_json,
    mapped,
    replace_json,
    version_of,
    versions_in,
    write_json,
)
from audit.store.storage.objects import Location

Entry = dict[str, Any]
"""`shard`; `artefacts`, paths below the run with their sha256; counts: those of `COUNTED`, `scoring`, `seconds`."""

ROLLED_UP = "rolled-up.json"
FEW = 16
"""Entries that are as quickly read one by one."""
_Told = dict[int, tuple[Version, Entry]]
"""Entries by shard, in order, with their versions as listed."""
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
        return set(_by_shard(versions_in(self._folder)))

    def entry(self, shard: int) -> Entry | None:
        """A shard's entry, or None while it is pending. A process reads each once, until it changes.

        Raises:
            RunError: it is damaged.
            OSError: it cannot be read, which may pass.
        """
        return self._versioned(shard)[0]

    def entries(self) -> dict[int, Entry]:
        """All entries by shard, in order; the folder is listed once, for it may grow meanwhile.

        Raises:
            RunError: one is damaged.
            OSError: one cannot be read, which may pass.
        """
        return {shard: dict(entry) for shard, (_, entry) in self._told().items()}

    def roll_up(self) -> None:
        """Write the copy of all entries that `entries` reads them from; not of a few, nor where it holds them already.

        It only saves time, so whatever is in its way ends nothing: who needs an entry is told what is wrong with it.
        """
        with suppress(OSError, RunError):
            told, files = self._told(), versions_in(self._folder)
            listed = _by_shard(files)  # again: one may have been replaced while it was read
            kept = {shard: (version, entry) for shard, (version, entry) in told.items() if listed.get(shard) == version}
            if len(kept) > FEW and kept != self._copied(files):
                write_json(self._folder / ROLLED_UP, {"entries": {str(shard): told for shard, told in kept.items()}})

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

    def _told(self) -> _Told:
        """All entries; those alone are read that the copy does not hold."""
        files = versions_in(self._folder)
        listed, copied = _by_shard(files), self._copied(files)
        known = {shard: copied[shard][1] for shard in listed.keys() & copied if copied[shard][0] == listed[shard]}
        unknown = sorted(listed.keys() - known)
        read = mapped(self._folder, lambda shard: self._checked(shard, listed[shard]), unknown)
        known |= {shard: entry for shard, entry in zip(unknown, read, strict=True) if entry is not None}
        return {shard: (listed[shard], known[shard]) for shard in listed if shard in known}

    def _copied(self, files: Mapping[str, Version]) -> _Told:
        """What the copy holds; nothing where there is none among the files, or it cannot be read."""
        with suppress(OSError):
            return _rolled_up(self._folder / ROLLED_UP, files[ROLLED_UP]) if ROLLED_UP in files else {}
        return {}

    def _checked(self, shard: int, version: Version) -> Entry | None:
        """A version of an entry; None if there is none any more."""
        path = self.path(shard)
        try:
            entry = _read(path, version)
        except FileNotFoundError:
            return None
        if not entry and path.exists():
            raise RunError(f"Damaged ledger entry {path}; recompute it: `camaudit repair {self._run}`")
        return entry or None

    def _versioned(self, shard: int) -> tuple[Entry | None, Version | None]:
        path = self.path(shard)
        try:
            version = version_of(path)
        except FileNotFoundError:
            return None, None
        entry = self._checked(shard, version)
        return (None, None) if entry is None else (dict(entry), version)


def _by_shard(files: Mapping[str, Version]) -> dict[int, Version]:
    """Versions of the entries among files, in the order of their shards."""
    stems = {name.removesuffix(".json"): version for name, version in files.items() if name.endswith(".json")}
    return {int(stem): stems[stem] for stem in sorted(filter(str.isdecimal, stems), key=int)}


@lru_cache(maxsize=1)
def _rolled_up(path: Location, _version: Version) -> _Told:
    """A version of the copy; empty if it is damaged."""
    try:
        copied = {int(shard): told for shard, told in load_json(path, "")["entries"].items()}
        whole = all(_is_whole(entry, path) for _, entry in copied.values())
        return {shard: (_hashable(listed), entry) for shard, (listed, entry) in copied.items()} if whole else {}
    except (RunError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def _hashable(version: Any) -> Version:
    """As it was before it was JSON."""
    return tuple(version) if isinstance(version, list) else version


@lru_cache(maxsize=1 << 14)
def _read(path: Location, _version: Version) -> Entry:
    """A version of an entry; empty if it is damaged. One that cannot be read raises `OSError` and is not remembered."""
    try:
        entry = load_json(path, "")
    except RunError:
        return {}
    return entry if _is_whole(entry, path) else {}


def _is_whole(entry: Entry, path: Location) -> bool:
    """Whether an entry has what every one has.

    Raises:
        RunError: it names files elsewhere.
    """
    whole = entry.keys() >= {"artefacts", *COUNTED}
    if whole:
        check_names(entry["artefacts"], path)
    return whole
