"""A label set of a run, RUN/labels/NAME: label images without a threshold, and what their masks show, shard by shard.

Its ledger, parts and record are a run's own kind: a shard is done when its entry exists, files are named by their
content and never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from audit.errors import RunError
from audit.store import layout
from audit.store.account import Shard
from audit.store.artefacts import named, of_table, read_part
from audit.store.ledger import Entry, Ledger
from audit.store.run import Run
from audit.store.storage.files import read_json, sweep_partials, write_json
from audit.store.storage.objects import Location, below
from audit.store.tables.parts import Column, write_part

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AGAIN = "make it again with `camaudit labels`"


@dataclass(frozen=True)
class LabelStore:
    """The directory of a label set.

    Attributes:
        record: how it was made, as `pipelines.labels.make` asks it, and what was found out when it was begun.
    """

    run: Run
    name: str
    record: Mapping[str, Any]

    @classmethod
    def names(cls, run: Run) -> list[str]:
        """Of the label sets that a run has."""
        return sorted(path.parent.name for path in (run.path / layout.LABELS).glob(f"*/{layout.LABEL_RECORD}"))

    @classmethod
    def open(cls, run: Run, name: str) -> LabelStore:
        """Open a label set.

        Raises:
            RunError: there is none of the name, or its record is damaged.
        """
        path = run.path / layout.LABELS / check_name(name) / layout.LABEL_RECORD
        if not path.exists():
            known = ", ".join(cls.names(run))
            found = f"it has {known}" if known else "it has none"
            raise RunError(f"No label set {name!r} in {run.path}, {found}; make one with `camaudit labels {run.path}`")
        return cls(run, name, read_json(path, _AGAIN))

    @classmethod
    def make(
        cls, run: Run, name: str, record: Mapping[str, Any], begin: Callable[[], Mapping[str, Any]] = dict
    ) -> LabelStore:
        """Open the label set of the name, or begin it.

        Args:
            record: how it is made; may not change.
            begin: gives what is found out once, when it is begun, and holds for all shards.

        Raises:
            RunError: there is one that was made otherwise.
        """
        path = run.path / layout.LABELS / check_name(name)
        if not (path / layout.LABEL_RECORD).exists():
            (path / layout.LEDGER).mkdir(parents=True, exist_ok=True)
            write_json(path / layout.LABEL_RECORD, {**begin(), **record})
        store = cls.open(run, name)
        changed = [key for key in record if store.record.get(key) != record[key]]
        if changed:
            was, now = (", ".join(f"{key} {of.get(key)}" for key in changed) for of in (store.record, record))
            raise RunError(
                f"The label set {name!r} of {run.path} was made with {was}, now asked for {now}; choose another --name"
            )
        return store

    @property
    def path(self) -> Location:
        """Where it lies."""
        return self.run.path / layout.LABELS / self.name

    @property
    def ledger(self) -> Ledger:
        """Which shards are done."""
        return Ledger(self.path)

    def done(self) -> list[Shard]:
        """Shards that are in the ledger."""
        entered = self.ledger.entered()
        return [shard for shard in self.run.shards if shard.index in entered]

    def is_current(self, shard: Shard) -> bool:
        """Whether a shard is done, of the maps that the run has now, and without failures that may pass."""
        entry = self.entry(shard)
        return entry is not None and not entry["transient"] and entry["of"] == self._made_of(shard)

    def _made_of(self, shard: Shard) -> list[str]:
        """The run's artefacts that label images are made of, named by their content."""
        entry = self.run.entry(shard)
        return sorted(name for table in (layout.MAPS, "targets") for name in of_table(entry, table))

    def entry(self, shard: Shard) -> Entry | None:
        """A shard's entry, or None while it is pending."""
        return self.ledger.entry(shard.index)

    def commit(
        self, shard: Shard, tables: Mapping[str, Mapping[str, Column]], counts: Mapping[str, Any], before: Entry | None
    ) -> Entry:
        """Write a shard's parts, then its ledger entry, which alone makes them count; returns the entry that stands."""
        written = dict(
            write_part(self.path / table / layout.part_name(shard.index), columns, layout.LABEL_PARTS[table])
            for table, columns in tables.items()
        )
        artefacts = {below(path, self.path): digest for path, digest in written.items()}
        entry = {**counts, "of": self._made_of(shard), "shard": asdict(shard), "artefacts": artefacts}
        standing = self.ledger.enter(shard.index, entry, before)
        for name in artefacts.keys() - named(standing).keys():
            (self.path / name).unlink(missing_ok=True)
        return standing

    def read(self, table: str, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """A shard's part of a table, seen to be what was committed.

        Raises:
            RunError: there is none, or it is damaged.
        """
        part = read_part(self.path, self.entry(shard), table, columns)
        if part is None:
            where = f"samples {shard.start} to {shard.stop - 1}"
            raise RunError(f"Expected label images of {where} in {self.path}, found none; {_AGAIN}")
        return part

    def sweep(self) -> int:
        """Delete what killed writers left half written, roll the ledger up, and say how many files were deleted."""
        self.ledger.roll_up()
        return sweep_partials(self.path)


def run_and_name(text: str) -> tuple[str, str | None]:
    """RUN:NAME as the run and the name of its label set, None where only a run is named.

    >>> run_and_name("runs/val:by-class"), run_and_name("s3://audits/val")
    (('runs/val', 'by-class'), ('s3://audits/val', None))
    """
    run, colon, name = text.rpartition(":")
    return (run, name) if colon and "/" not in name else (text, None)


def check_name(name: str) -> str:
    """The name of a label set, if it can be one.

    Raises:
        RunError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise RunError(f"Expected a name of letters, digits, . _ and -, of at most 64, got {name!r}")
    return name
