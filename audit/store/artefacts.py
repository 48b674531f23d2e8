"""The files that a run keeps of a shard: maps and parts of tables, each named by its content and never changed.

Files count once a ledger entry names them. So what is half written, superseded, or left by a writer that came second is
never read, and can be told and swept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import pyarrow as pa

from audit.store import layout
from audit.store.ledger import Entry, Ledger
from audit.store.maps.files import Maps, map_files, publish_maps
from audit.store.storage.files import sweep_partials
from audit.store.storage.objects import Location, below
from audit.store.tables.packing import older_names, packed_names, unpack
from audit.store.tables.parts import Column, read_table, write_part


def named(entry: Entry | None) -> dict[str, str]:
    """Paths below the run of the artefacts that an entry names, with their sha256."""
    artefacts: dict[str, str] = (entry or {"artefacts": {}})["artefacts"]
    return artefacts


def table_of(artefact: str) -> str:
    """The table that an artefact is a part of, or `layout.MAPS`."""
    return artefact.partition("/")[0]


def of_table(entry: Entry | None, table: str) -> list[str]:
    """The artefacts of a table, or of `layout.MAPS`, that an entry names."""
    return [name for name in named(entry) if table_of(name) == table]


def read_part(root: Location, entry: Entry | None, table: str, columns: Sequence[str] | None) -> pa.Table | None:
    """A shard's part of a table below `root`, seen to be what its entry says; None where that names none.

    Raises:
        RunError: it is damaged.
    """
    for name in of_table(entry, table):
        schema = (layout.PARTS | layout.LABEL_PARTS)[table]
        kept = [*packed_names(schema, columns), *older_names(schema, columns)]
        part = read_table(root / name, kept, named(entry)[name])
        return unpack(part, schema, columns)
    return None


class Artefacts:
    """The artefacts of the run at a place."""

    def __init__(self, run: Location) -> None:
        self._run = run
        self._maps = run / layout.MAPS

    def write_maps(self, start: int, maps: Maps) -> dict[str, str]:
        """Write the maps of the shard that begins at sample `start`; returns paths below the run with their sha256."""
        from audit.store.maps.arrays import write_maps

        return dict(self._below(*file) for file in write_maps(self._maps, start, maps).items())

    def write_part(self, table: str, shard: int, columns: Mapping[str, Column]) -> dict[str, str]:
        """Write a shard's part of a table; returns its path below the run with its sha256."""
        path = self._run / table / layout.part_name(shard)
        return dict([self._below(*write_part(path, columns, layout.PARTS[table]))])

    def discard(self, written: Iterable[str], standing: Entry | None) -> None:
        """Delete what was written, but for what stands."""
        for name in set(written) - named(standing).keys():
            (self._run / name).unlink(missing_ok=True)

    def publish(self, shard: int, entry: Entry | None) -> None:
        """Let every reader of Zarr see the maps that an entry names."""
        publish_maps(self._maps, shard, [self._run / name for name in of_table(entry, layout.MAPS)])

    def sweep(self, ledger: Ledger) -> int:
        """Delete partial files, and what the entries of finished shards do not name; returns how many.

        Files of pending shards stay: their writer may still be about to enter them.
        """
        count, entries = sweep_partials(self._run), ledger.entries()
        for shard, files in groupby(sorted(self._files()), key=itemgetter(0)):
            if shard in entries:
                kept = named(entries[shard])
                unnamed = [file for _, file in files if self._below(file, "")[0] not in kept]
                for file in unnamed:
                    file.unlink(missing_ok=True)
                count += len(unnamed)
        return count

    def _files(self) -> Iterator[tuple[int, Location]]:
        for table in layout.PARTS:
            for file in (self._run / table).glob("part-*.*.parquet"):
                yield layout.shard_of_part(file.name), file
        yield from map_files(self._maps)

    def _below(self, file: Location, digest: str) -> tuple[str, str]:
        return below(file, self._run), digest
