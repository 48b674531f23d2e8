"""A run: create it, open it, commit shards to its ledger, account for every sample."""

from __future__ import annotations

import json
import math
import os
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from audit.datasets.manifest import Manifest, manifest_length
from audit.errors import RunError
from audit.store import layout
from audit.store.files import ABSENT, PARTIAL, sha256, sweep_partials, write_json
from audit.store.maps import ENCODINGS, Maps, create_maps, read_maps, shard_files, write_maps
from audit.store.tables import Column, read_table, write_table

_VERSIONS = ("camaudit", "torch", "torchvision", "numpy", "zarr", "pyarrow", "pillow")


@dataclass(frozen=True, slots=True)
class Shard:
    """A contiguous block of samples: rows start to stop - 1 of the manifest."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Account:
    """Where a run stands; processed + failed + pending = samples, always.

    Attributes:
        transient: samples that a resume tries again.
    """

    samples: int
    processed: int
    failed: int
    pending: int
    transient: int
    shards: int
    shards_done: int


@dataclass(frozen=True)
class Run:
    """One audit: a directory laid out as `audit.store.layout` says.

    Attributes:
        path: the directory.
        record: what run.json holds: `config` and `model` as given and found, `manifest`, `grid`, `slots`, `encoding`
            of the maps, `shard_size`, `cost` of a sample, `classes`, `versions`, `created`.
    """

    path: Path
    record: Mapping[str, Any]

    @classmethod
    def create(cls, path: str | os.PathLike[str], manifest: Manifest, record: Mapping[str, Any]) -> Run:
        """Lay out a new run, run.json last.

        Raises:
            RunError: the place is taken: by a file, by other files, or by a run that began meanwhile.
        """
        run = cls(Path(path), _provenance(manifest, record))
        _claim(run.path)
        with run.locked():
            if (run.path / layout.RUN_JSON).exists():
                raise RunError(f"Another process began a run at {run.path} meanwhile; try again to go on with it")
            run._lay_out(manifest)
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run.

        Raises:
            RunError: there is no run here, or a later camaudit wrote it.
        """
        root = Path(path)
        try:
            record = json.loads((root / layout.RUN_JSON).read_text())
        except FileNotFoundError:
            raise RunError(f"No run at {root} ({layout.RUN_JSON} is missing); make one with `camaudit run`") from None
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(f"Cannot read {root / layout.RUN_JSON}: {error}") from None
        if record.get("format") != layout.FORMAT:
            run_format = record.get("format")
            later = isinstance(run_format, int) and run_format > layout.FORMAT
            advice = "update camaudit" if later else "an earlier camaudit made it: audit again into another directory"
            raise RunError(f"{root} has run format {run_format}, expected {layout.FORMAT}; {advice}")
        return cls(root, record)

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
        return manifest_length(self.path / layout.MANIFEST)

    @cached_property
    def shards(self) -> list[Shard]:
        """All shards, in order."""
        size = self.record["shard_size"]
        return [
            Shard(index, start, min(start + size, self.samples))
            for index, start in enumerate(range(0, self.samples, size))
        ]

    def manifest(self, shard: Shard | None = None) -> Manifest:
        """The manifest, or only a shard's rows of it."""
        path = self.path / layout.MANIFEST
        return Manifest.open(path) if shard is None else Manifest.open(path, shard.start, shard.stop)

    def differences(self, record: Mapping[str, Any], manifest_fingerprint: str) -> list[str]:
        """What would change if the run went on with another configuration, model or manifest: `name: old -> new`."""
        old = {**_flatten(self.record, _COMPARED), "manifest": self.record["manifest"]["fingerprint"]}
        new = {**_flatten(record, _COMPARED), "manifest": manifest_fingerprint}
        names = sorted(old.keys() | new.keys())
        return [f"{n}: {old.get(n)} -> {new.get(n)}" for n in names if _plain(old.get(n)) != _plain(new.get(n))]

    def commit(
        self,
        shard: Shard,
        maps: Maps | None,
        tables: Mapping[str, Mapping[str, Column]],
        counts: Mapping[str, Any],
    ) -> None:
        """Write a shard's artefacts, then its ledger entry. `maps` None keeps those there are."""
        self.withdraw(shard)  # an entry speaks of the old artefacts
        if maps is not None:
            write_maps(self.path / layout.MAPS, shard.start, maps)
        for name, columns in tables.items():
            write_table(self.part(name, shard.index), columns, layout.PARTS[name])
        digests = {str(path.relative_to(self.path)): sha256(path) for path in self._artefacts(shard)}
        entry = {"shard": asdict(shard), "artefacts": digests, **counts}
        write_json(self._entry_path(shard.index), entry)

    def entry(self, shard: Shard) -> dict[str, Any] | None:
        """A shard's ledger entry, or None while it is pending."""
        path = self._entry_path(shard.index)
        try:
            entry: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            entry = {}
        if not isinstance(entry, dict) or not entry.keys() >= set(_COUNTED):
            raise RunError(f"Damaged ledger entry {path}; recompute it: `camaudit repair {self.path}`")
        return entry

    def withdraw(self, shard: Shard) -> None:
        """Take a shard's ledger entry back: it is pending again."""
        self._entry_path(shard.index).unlink(missing_ok=True)

    def done(self) -> list[Shard]:
        """Shards that are in the ledger."""
        entered = self._entered()
        return [shard for shard in self.shards if f"{shard.index:05d}" in entered]

    def pending(self) -> list[Shard]:
        """Shards that are not."""
        entered = self._entered()
        return [shard for shard in self.shards if f"{shard.index:05d}" not in entered]

    def _entered(self) -> set[str]:
        return {path.stem for path in (self.path / layout.LEDGER).glob("*.json")}

    def account(self) -> Account:
        """Count samples by what became of them."""
        # The ledger is listed once: it may grow meanwhile.
        entered = {shard: entry for shard in self.done() if (entry := self.entry(shard)) is not None}
        processed, failed, transient = (sum(entry[name] for entry in entered.values()) for name in _COUNTED[1:])
        pending = self.samples - sum(map(len, entered))
        return Account(self.samples, processed, failed, pending, transient, len(self.shards), len(entered))

    def failures(self, most: int) -> list[tuple[str, str]]:
        """Ids and reasons of the first failed samples."""
        failures: list[tuple[str, str]] = []
        for shard in self.done():
            if len(failures) < most and (self.entry(shard) or {"failed": 0})["failed"]:
                rows = self.read("samples", shard, ["id", "status", "reason"]).to_pylist()
                failures += [(row["id"], row["reason"]) for row in rows if row["status"] == "failed"]
        return failures[:most]

    def damaged(self) -> Iterator[tuple[Shard, str]]:
        """Shards of the ledger whose artefacts are not what was committed, each with the first file that differs."""
        for shard in self.done():
            try:
                artefacts = (self.entry(shard) or {"artefacts": {}})["artefacts"]
            except RunError:
                yield shard, str(self._entry_path(shard.index).relative_to(self.path))
                continue
            wrong = [name for name, digest in artefacts.items() if sha256(self.path / name) != digest]
            if wrong:
                yield shard, wrong[0]

    def part(self, table: str, shard: int) -> Path:
        """Path of a shard's part of a table."""
        return self.path / table / layout.part_name(shard)

    def read(self, table: str, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """A shard's part of a table."""
        return read_table(self.part(table, shard.index), columns)

    def has_scores(self, shard: Shard) -> bool:
        """Whether the shard was scored."""
        return self.part("scores", shard.index).exists()

    def maps(self, start: int, stop: int) -> NDArray[np.floating]:
        """Maps [stop - start, K, h, w] of samples, each divided by its peak; NaN where there is none.

        They are float16 at a layer's resolution, float32 at the input's, where 8 bits were kept.

        Raises:
            RunError: they are damaged or lost.
        """
        self._refuse_lost(start, stop)
        return read_maps(self.path / layout.MAPS, start, stop)

    def sweep(self) -> int:
        """Delete partial files that killed writers left; returns how many."""
        return sweep_partials(self.path)

    @contextmanager
    def locked(self) -> Iterator[str | None]:
        """Hold the run for this process; yields who held it last if that one ended without letting go.

        Raises:
            RunError: another process holds it.
        """
        lock = FileLock(self.path / layout.LOCK)
        holder = self.path / layout.LOCK_HOLDER
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = holder.read_text().strip() if holder.exists() else "another process"
            raise RunError(f"{self.path} is in use by {who}; wait for it, or stop it, then try again") from None
        try:
            stale = holder.read_text().strip() if holder.exists() else None
            now = datetime.now(UTC).isoformat(timespec="seconds")
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
            yield stale
            holder.unlink(missing_ok=True)
        finally:
            lock.release()

    def _lay_out(self, manifest: Manifest) -> None:
        slots, grid, shard_size = (self.record[name] for name in ("slots", "grid", "shard_size"))
        manifest.save(self.path / layout.MANIFEST)
        create_maps(self.path / layout.MAPS, len(manifest), slots, tuple(grid), shard_size, self.encoding)
        (self.path / layout.LEDGER).mkdir(exist_ok=True)
        write_json(self.path / layout.RUN_JSON, dict(self.record))

    def _refuse_lost(self, start: int, stop: int) -> None:
        """A shard without maps has no file: one that lost its file would read as if it had none."""
        for shard in self.shards[start // self.record["shard_size"] : -(-stop // self.record["shard_size"])]:
            artefacts = (self.entry(shard) or {"artefacts": {}})["artefacts"]
            for file in shard_files(self.path / layout.MAPS, shard.index):
                committed = artefacts.get(str(file.relative_to(self.path)), ABSENT) != ABSENT
                if committed and not file.exists():
                    raise RunError(f"{file} is gone; recompute it: `camaudit repair {self.path}`")

    def _artefacts(self, shard: Shard) -> list[Path]:
        tables = [self.part(name, shard.index) for name in layout.PARTS]
        return [*shard_files(self.path / layout.MAPS, shard.index), *(path for path in tables if path.exists())]

    def _entry_path(self, shard: int) -> Path:
        return self.path / layout.LEDGER / f"{shard:05d}.json"


_COMPARED = ("config", "model")
_COUNTED = ("artefacts", "processed", "failed", "transient")
_LAID_OUT = (layout.RUN_JSON, layout.MANIFEST, layout.MAPS, layout.LEDGER, layout.LOCK, layout.LOCK_HOLDER)


def _claim(root: Path) -> None:
    """Make the directory of a new run; one that another run was killed in while it was laid out will do."""
    if root.exists() and not root.is_dir():
        raise RunError(f"Expected a directory for the run, got the file {root}; choose another")
    root.mkdir(parents=True, exist_ok=True)
    strays = {path.name for path in root.iterdir() if path.suffix != PARTIAL} - set(_LAID_OUT)
    if strays:
        raise RunError(f"Expected a new or empty directory for the run, got {root} with {min(strays)}; choose another")


def _provenance(manifest: Manifest, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **record,
        "format": layout.FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(manifest.classes),
        "manifest": {"fingerprint": manifest.fingerprint, "samples": len(manifest)},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _VERSIONS}},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _flatten(record: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    return {f"{part}.{name}": value for part in parts for name, value in record.get(part, {}).items()}


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))
