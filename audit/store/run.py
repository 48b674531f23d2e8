"""A run: create it, open it, commit shards to its ledger, account for every sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.datasets.manifest import Box, Manifest
from audit.datasets.manifest_file import ManifestFile
from audit.errors import RunError
from audit.store import layout
from audit.store.account import Account, Damage, Shard
from audit.store.artefacts import Artefacts, named, of_table, read_part, table_of
from audit.store.forms import run_html
from audit.store.ledger import COUNTED, Entry, Ledger
from audit.store.lock import held
from audit.store.maps.files import ENCODINGS, Maps, metadata_files
from audit.store.provenance import differences, is_readable, provenance
from audit.store.storage.files import (
    PARTIAL,
    check_digest,
    check_names,
    mapped,
    read_json,
    sha256,
    write_atomically,
    write_json,
)
from audit.store.storage.granted import check_conditions
from audit.store.storage.local_copies import local_copy
from audit.store.storage.objects import Location, Place, address, below, location
from audit.store.tables.parts import Column, made_by, read_table


@dataclass(frozen=True)
class Run:
    """One audit: a directory, or a folder of a bucket, laid out as `audit.store.layout` says.

    Attributes:
        path: where it lies.
        record: what run.json holds: `config` and `model` as given and found, `manifest`, `grid`, `slots`, `encoding`
            of the maps, `shard_size`, `cost` of a sample, `classes`, `versions`, `created`, `scoring` (how often the
            run was scored again), `artefacts` (files that no shard owns, with their sha256).
    """

    path: Location
    record: Mapping[str, Any] = field(repr=False)

    @classmethod
    def create(cls, path: Place, manifest: Manifest | ManifestFile, record: Mapping[str, Any]) -> Run:
        """Lay out a new run, run.json last.

        Raises:
            RunError: the place is taken: by a file, by other files, or by a run that began meanwhile.
        """
        run = cls(location(path), provenance(manifest, record))
        check_conditions(run.path)
        _claim(run.path)
        with run.locked():
            if (run.path / layout.RUN_JSON).exists():
                raise RunError(f"Another process began a run at {run.path} meanwhile; try again to go on with it")
            run._lay_out(manifest)
        return cls.open(path)

    @classmethod
    def open(cls, path: Place) -> Run:
        """Open a run.

        Raises:
            RunError: there is no run here, or a later camaudit wrote it.
        """
        root = location(path)
        if not (root / layout.RUN_JSON).exists():
            raise RunError(f"No run at {root} ({layout.RUN_JSON} is missing); make one with `camaudit run`")
        record = read_json(root / layout.RUN_JSON, _RESTORE, signed=False)
        if not is_readable(record):
            run_format = record.get("format")
            later = isinstance(run_format, int) and run_format > layout.FORMAT
            advice = "update camaudit" if later else "an earlier camaudit made it: audit again into another directory"
            raise RunError(f"{root} has run format {run_format}, expected {layout.FORMAT}; {advice}")
        record = read_json(root / layout.RUN_JSON, _RESTORE)
        check_names(record["artefacts"], root / layout.RUN_JSON)
        return cls(root, record)

    def _repr_html_(self) -> str:
        return run_html(self)

    @property
    def address(self) -> str:
        """What opens the run from anywhere: a URL, or an absolute path."""
        return address(self.path)

    @property
    def classes(self) -> tuple[str, ...]:
        """The data set's class names."""
        return tuple(self.record["classes"])

    @property
    def encoding(self) -> str:
        """How the maps are kept, one of `ENCODINGS`."""
        return str(self.record["encoding"])

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample's maps before compression."""
        values = self.record["slots"] * math.prod(self.record["grid"])
        return int(values) * ENCODINGS[self.encoding] // 8

    @cached_property
    def samples(self) -> int:
        """Number of samples in the manifest."""
        return int(self.record["manifest"]["samples"])

    @cached_property
    def shards(self) -> list[Shard]:
        """All shards, in order."""
        size = self.record["shard_size"]
        return [
            Shard(index, start, min(start + size, self.samples))
            for index, start in enumerate(range(0, self.samples, size))
        ]

    def manifest(self, start: int = 0, stop: int | None = None) -> Manifest:
        """The manifest, or only its rows `start:stop`, with the boxes that the last scoring took from reviewers.

        Raises:
            RunError: it is not the one that the run began with.
        """
        path = self.manifest_path()
        manifest = Manifest.open(path, start, stop)
        return replace(manifest, drawn=self._drawn(start, len(manifest)))

    def manifest_path(self) -> Path:
        """The manifest as a file of this machine, seen to be the one that the run began with.

        Raises:
            RunError: it is not.
        """
        return local_copy(self.path / layout.MANIFEST, self.record["artefacts"][layout.MANIFEST], _RESTORE)

    @property
    def manifest_file(self) -> ManifestFile:
        """The manifest on the disk, for columns of it or rows in batches: of millions not all would be held.

        Raises:
            RunError: it is not the one that the run began with.
        """
        return ManifestFile.open(self.manifest_path())

    def _drawn(self, start: int, count: int) -> dict[int, tuple[Box, ...]]:
        """Boxes that reviewers drew of some samples, by their place among these; see `audit.store.verdicts.drawn`."""
        digest = self.record["artefacts"].get(layout.DRAWN)
        if digest is None or not count:
            return {}
        drawn: dict[int, tuple[Box, ...]] = {}
        for row in read_table(self.path / layout.DRAWN, None, digest).to_pylist():
            place = row.pop("sample") - start
            if 0 <= place < count:
                drawn[place] = (*drawn.get(place, ()), Box(**row))
        return drawn

    def differences(self, record: Mapping[str, Any], manifest_fingerprint: str) -> list[str]:
        """What would change if the run went on with another configuration, model or manifest: `name: old -> new`."""
        return differences(self.record, record, manifest_fingerprint)

    def commit(
        self,
        shard: Shard,
        maps: Maps | None,
        tables: Mapping[str, Mapping[str, Column]],
        counts: Mapping[str, Any],
        before: Entry | None = None,
    ) -> Entry:
        """Write a shard's artefacts, then its ledger entry, which alone makes them count.

        Args:
            maps: None keeps those that `before` names; so do tables that are not given.
            counts: what the entry says beside, `COUNTED` at least.
            before: the entry that this work began from; None for a shard that was pending.

        Returns:
            The entry that stands. That is another's if it came first: nothing is left of this work then.
        """
        artefacts, written = Artefacts(self.path), dict[str, str]()
        replaced = {*tables, *([layout.MAPS] if maps is not None else [])}
        kept = {name: digest for name, digest in named(before).items() if table_of(name) not in replaced}
        written |= artefacts.write_maps(shard.start, maps) if maps is not None else {}
        for name, columns in tables.items():
            written |= artefacts.write_part(name, shard.index, columns)
        entry = {**counts, "shard": asdict(shard), "artefacts": kept | written}
        standing = self.ledger.enter(shard.index, entry, before)
        artefacts.discard(written, standing)
        self._check_kept(shard, standing)
        artefacts.publish(shard.index, standing)
        return standing

    def _check_kept(self, shard: Shard, entry: Entry) -> None:
        """A writer that was slower than the next command's sweep may name what is gone: its shard is pending then."""
        if not all((self.path / name).exists() for name in named(entry)) and self.entry(shard) == entry:
            self.withdraw(shard)
            raise RunError(f"Files of samples {shard.start} to {shard.stop - 1} of {self.path} were swept meanwhile")

    @property
    def ledger(self) -> Ledger:
        """Which shards are done."""
        return Ledger(self.path)

    def entry(self, shard: Shard) -> Entry | None:
        """A shard's ledger entry, or None while it is pending.

        Raises:
            RunError: it is damaged.
        """
        return self.ledger.entry(shard.index)

    def withdraw(self, shard: Shard) -> None:
        """Take a shard's ledger entry back: it is pending again."""
        self.ledger.withdraw(shard.index)
        Artefacts(self.path).publish(shard.index, None)

    def entered(self) -> dict[Shard, Entry]:
        """All finished shards with their entries, in a few requests."""
        return {self.shards[shard]: entry for shard, entry in self.ledger.entries().items()}

    def having(self, table: str) -> list[Shard]:
        """Finished shards that have a part of a table."""
        return [shard for shard, entry in self.entered().items() if of_table(entry, table)]

    def done(self) -> list[Shard]:
        """Shards that are in the ledger."""
        entered = self.ledger.entered()
        return [shard for shard in self.shards if shard.index in entered]

    @property
    def scoring(self) -> int:
        """How often the run was scored again; scores of another number are out of date."""
        return int(self.record.get("scoring", 0))

    def outdated(self) -> list[Shard]:
        """Shards whose scores are of an earlier scoring than the last, which was interrupted then."""
        scored = ((shard, entry) for shard, entry in self.entered().items() if of_table(entry, "scores"))
        return [shard for shard, entry in scored if not self._is_scored(entry)]

    def unscored(self, shards: Iterable[Shard]) -> list[Shard]:
        """Those of some finished shards that have no scores of the last scoring."""
        asked = list(shards)
        entered = {shard: self.entry(shard) for shard in asked} if len(asked) == 1 else self.entered()
        return [shard for shard in asked if (entry := entered.get(shard)) and not self._is_scored(entry)]

    def begin_scoring(self) -> Run:
        """The run with all scores out of date, to be made again one shard after another."""
        return self.amended(scoring=self.scoring + 1, rescoring=True)

    @property
    def rescoring(self) -> bool:
        """Whether a scoring was begun that was not seen to its end."""
        return bool(self.record.get("rescoring"))

    def amended(self, **changes: Any) -> Run:
        """The run with changes to its record, which are written; and of this format, as what is added to it will be."""
        write_json(self.path / layout.RUN_JSON, {**Run.open(self.path).record, **changes, "format": layout.FORMAT})
        return Run.open(self.path)

    def account(self) -> Account:
        """Count samples by what became of them."""
        entered = self.entered()
        processed, failed, transient = (sum(entry[name] for entry in entered.values()) for name in COUNTED)
        pending = self.samples - sum(map(len, entered))
        outdated = sum(bool(of_table(entry, "scores")) and not self._is_scored(entry) for entry in entered.values())
        return Account(self.samples, processed, failed, pending, transient, len(self.shards), len(entered), outdated)

    def failures(self, most: int) -> list[tuple[str, str]]:
        """Ids and reasons of the first failed samples."""
        failures: list[tuple[str, str]] = []
        for shard, entry in self.entered().items():
            if len(failures) < most and entry["failed"]:
                rows = self.read("samples", shard, ["id", "status", "reason"]).to_pylist()
                failures += [(row["id"], row["reason"]) for row in rows if row["status"] == "failed"]
        return failures[:most]

    def damaged(self) -> Iterator[Damage]:
        """Files that are not what was written: those of no shard, then the first of each shard."""
        for name, digest in self.record["artefacts"].items():
            if sha256(self.path / name) != digest:
                yield Damage(name, _RESTORE)
        again = f"recompute it: camaudit repair {self.path}"
        for shard in self.done():
            try:
                artefacts = named(self.entry(shard))
            except RunError:
                yield Damage(below(self.ledger.path(shard.index), self.path), again, shard)
                continue
            wrong = [name for name, digest in artefacts.items() if sha256(self.path / name) != digest]
            if wrong:
                yield Damage(wrong[0], again, shard)

    def part(self, table: str, shard: Shard) -> Location | None:
        """The file of a shard's part of a table; None where its entry names none."""
        return next((self.path / name for name in of_table(self.entry(shard), table)), None)

    def check_part(self, table: str, shard: Shard) -> None:
        """See that a shard's part of a table, if there is one, is what was committed.

        Raises:
            RunError: it is not.
        """
        entry = self.entry(shard)
        for name in of_table(entry, table):
            check_digest(self.path / name, named(entry)[name], made_by(self.path / name))

    def read(self, table: str, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """A shard's part of a table, seen to be what was committed.

        Raises:
            RunError: there is none, or it is damaged.
        """
        part = read_part(self.path, self.entry(shard), table, columns)
        if part is None:
            where = f"samples {shard.start} to {shard.stop - 1} of {self.path}"
            raise RunError(f"Expected the table {table} of {where}, found none; go on with the run, or score it")
        return part

    def has_scores(self, shard: Shard) -> bool:
        """Whether the shard was scored."""
        return self.part("scores", shard) is not None

    def maps(self, start: int, stop: int) -> NDArray[np.floating]:
        """Maps [stop - start, K, h, w] of samples, each divided by its peak; NaN where there is none.

        They are float16 at a layer's resolution, float32 at the input's, where 8 bits were kept.

        Raises:
            RunError: they are damaged or lost.
        """
        from audit.store.maps.arrays import read_maps

        size, path = self.record["shard_size"], self.path / layout.MAPS
        for name, digest in self.record["artefacts"].items():
            check_digest(self.path / name, digest, _RESTORE)
        entries = map(self.entry, self.shards[start // size : -(-stop // size)])
        files = [self.path / name for entry in entries for name in of_table(entry, layout.MAPS)]
        return read_maps(path, start, stop, files)

    def sweep(self) -> int:
        """Delete what killed or slower writers left, roll the ledger up, and say how many files were deleted.

        That are partial files, and artefacts that the entry of a finished shard does not name; see `Artefacts.sweep`.
        """
        artefacts = Artefacts(self.path)
        self.ledger.roll_up()
        mapped(self.path, lambda told: artefacts.publish(*told), self.ledger.entries().items())
        return artefacts.sweep(self.ledger)

    def locked(self) -> AbstractContextManager[str | None]:
        """Hold the run for this process; gives who held it last if that one ended without letting go.

        Raises:
            RunError: another process holds it.
        """
        return held(self.path)

    def _lay_out(self, manifest: Manifest | ManifestFile) -> None:
        from audit.store.maps.arrays import create_maps

        slots, grid, shard_size = (self.record[name] for name in ("slots", "grid", "shard_size"))
        # Who works on a shard reads its rows alone.
        write_atomically(self.path / layout.MANIFEST, lambda partial: manifest.save(partial, shard_size))
        create_maps(self.path / layout.MAPS, len(manifest), slots, tuple(grid), shard_size, self.encoding)
        (self.path / layout.LEDGER).mkdir(exist_ok=True)
        fixed = [self.path / layout.MANIFEST, *metadata_files(self.path / layout.MAPS)]
        artefacts = {below(path, self.path): sha256(path) for path in fixed}
        write_json(self.path / layout.RUN_JSON, {**self.record, "artefacts": artefacts})

    def _is_scored(self, entry: Entry) -> bool:
        return bool(of_table(entry, "scores")) and entry.get("scoring", 0) == self.scoring


_RESTORE = "restore it from a copy, or audit again into another directory"
_LAID_OUT = (layout.RUN_JSON, layout.MANIFEST, layout.MAPS, layout.LEDGER, layout.LOCK, layout.LOCK_HOLDER)


def _claim(root: Location) -> None:
    """Make the directory of a new run; one that another run was killed in while it was laid out will do."""
    if root.exists() and not root.is_dir():
        raise RunError(f"Expected a directory for the run, got the file {root}; choose another")
    root.mkdir(parents=True, exist_ok=True)
    strays = {path.name for path in root.iterdir() if path.suffix != PARTIAL} - set(_LAID_OUT)
    if strays:
        raise RunError(f"Expected a new or empty directory for the run, got {root} with {min(strays)}; choose another")
