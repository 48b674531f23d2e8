"""A manifest on the disk: its head, its row groups, and its rows in batches, of which one at a time is held."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from audit.errors import ManifestError

BATCH = 4096
"""Rows that are held at a time."""
COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "image": pa.string(),
    "labels": pa.list_(pa.int32()),
    "mask": pa.string(),
    "boxes": pa.list_(
        pa.struct([("class_id", pa.int32()), *((name, pa.float32()) for name in ("x0", "y0", "x1", "y1"))])
    ),
    "regions": pa.string(),
}
"""Those of every manifest; each of the others is an attribute."""
_KEY = b"camaudit"


class Remote(Protocol):
    """A file that lies on no file system, as an object of a bucket, of which ranges can be read.

    Operations on it raise `OSError`, as those on a file do.
    """

    def __hash__(self) -> int:
        """Two of one place are equal."""

    def version(self) -> str:
        """Another one for every content."""

    def open(self) -> IO[bytes] | io.RawIOBase:
        """Its content, to be read by ranges."""


Source = str | os.PathLike[str] | Remote
"""Where a manifest lies."""


@dataclass(frozen=True)
class Head:
    """What a manifest says of all its samples; see `audit.datasets.manifest.Manifest`."""

    classes: tuple[str, ...]
    root: str
    mask_kind: str
    fingerprint: str = ""


def manifest_schema(attributes: Iterable[str]) -> pa.Schema:
    """Columns of a manifest whose samples have such attributes."""
    return pa.schema([*COLUMNS.items(), *((name, pa.string()) for name in sorted(attributes))])


class Fingerprint:
    """sha256 of classes, mask kind and rows, in whatever tables these come: first 16 hex digits.

    Rows count as an Arrow stream of batches of `BATCH`, each copied first: a slice of a larger array is written with
    what stands beside it.
    """

    def __init__(self, head: Head, attributes: Iterable[str]) -> None:
        schema = manifest_schema(attributes)
        self._digest = hashlib.sha256(json.dumps([head.classes, head.mask_kind, schema.names]).encode())
        self._writer = pa.ipc.new_stream(pa.PythonFile(_HashSink(self._digest), mode="w"), schema)
        self._schema = schema

    def over(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Take in the tables of all rows, and pass them on in batches of `BATCH`."""
        for table in rebatched(tables, BATCH):
            self._writer.write_table(table.cast(self._schema).take(np.arange(len(table))).combine_chunks())
            yield table

    def result(self) -> str:
        """Of all that was taken in."""
        self._writer.close()
        return self._digest.hexdigest()[:16]


def fingerprint(tables: Iterable[pa.Table], head: Head, attributes: Iterable[str]) -> str:
    """See `Fingerprint`."""
    digest = Fingerprint(head, attributes)
    for _ in digest.over(tables):
        pass
    return digest.result()


def rebatched(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many, the last of fewer, each in one piece.

    >>> halves = [pa.table({"row": [1, 2, 3]}), pa.table({"row": [4, 5]})]
    >>> [table["row"].to_pylist() for table in rebatched(halves, 2)]
    [[1, 2], [3, 4], [5]]
    """
    waiting: list[pa.Table] = []
    for table in tables:
        start = 0
        while start < len(table):
            waiting.append(table.slice(start, rows - sum(map(len, waiting))))
            start += len(waiting[-1])
            if sum(map(len, waiting)) == rows:
                yield pa.concat_tables(waiting).combine_chunks()
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def write_manifest(
    path: Path, tables: Iterable[pa.Table], head: Head, attributes: Iterable[str], rows: int = BATCH
) -> Head:
    """Write tables of all rows as Parquet, whole or not at all.

    Args:
        head: its fingerprint is taken while the rows are written, where it has none.
        rows: of a row group.

    Returns:
        The head, with its fingerprint.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    schema = manifest_schema(attributes)
    digest = None if head.fingerprint else Fingerprint(head, attributes)
    coming = tables if digest is None else digest.over(tables)
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd", write_page_checksum=True) as writer:
            for table in rebatched(coming, rows):
                writer.write_table(table.cast(schema), row_group_size=rows)
            head = head if digest is None else replace(head, fingerprint=digest.result())
            writer.add_key_value_metadata({_KEY: json.dumps(asdict(head)).encode()})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return head


@dataclass(frozen=True)
class ManifestFile:
    """A manifest in Parquet, its footer read.

    Attributes:
        path: where it lies; of a remote one ranges are read, of no row group the others.
        starts: [groups + 1] the row that each row group begins at, and the number of rows.
    """

    path: Path | Remote
    head: Head
    footer: pq.FileMetaData
    starts: NDArray[np.int64]

    @classmethod
    def open(cls, path: Source) -> ManifestFile:
        """Open a manifest; a process reads the footer of each once, until the file changes.

        Raises:
            ManifestError: the file is missing or is not a camaudit manifest.
        """
        place = Path(path) if isinstance(path, str | os.PathLike) else path
        try:
            footer, starts = _footer(place, _version(place))
        except FileNotFoundError as error:
            why = "" if isinstance(place, Path) else f" ({error.strerror})"
            raise ManifestError(f"No manifest at {place}{why}; make one with `camaudit index`") from None
        except pa.ArrowInvalid as error:
            raise ManifestError(f"Expected a manifest in Parquet at {place}, got: {error}") from None
        except OSError as error:
            raise ManifestError(f"Cannot read the manifest {place}: {error.strerror or error}") from None
        return cls(place, _head(footer, place), footer, starts)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.head.classes

    @property
    def mask_kind(self) -> str:
        """One of `audit.datasets.MASK_KINDS`."""
        return self.head.mask_kind

    @property
    def fingerprint(self) -> str:
        """See `Fingerprint`."""
        return self.head.fingerprint

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attribute columns."""
        return tuple(name for name in self.footer.schema.to_arrow_schema().names if name not in COLUMNS)

    def rows(self, start: int = 0, stop: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows `start:stop`, for which only the row groups that hold them are read.

        Raises:
            ManifestError: they are damaged.
        """
        stop = len(self) if stop is None else max(min(stop, len(self)), start)
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        last = int(np.searchsorted(self.starts, stop, "left"))
        groups = list(range(first, last)) if stop > start else []
        origin = int(self.starts[first]) if groups else start
        try:
            with self._opened() as file:
                table = file.read_row_groups(groups, columns=None if columns is None else list(columns))
        except (OSError, pa.ArrowException) as error:
            if not isinstance(self.path, Path) and not isinstance(error, pa.ArrowException):
                raise ManifestError(f"Cannot read the manifest {self.path}: {error.strerror or error}") from None
            reason = str(error).splitlines()[0]
            raise ManifestError(f"Damaged manifest {self.path}: {reason}; index it again") from None
        return table.slice(start - origin, stop - start).replace_schema_metadata(None)

    def _opened(self) -> pq.ParquetFile:
        """Ranges of a remote one are read ahead, those beside one another in one request."""
        options = {"metadata": self.footer, "page_checksum_verification": True}
        if isinstance(self.path, Path):
            return pq.ParquetFile(self.path, memory_map=True, **options)
        return pq.ParquetFile(self.path.open(), pre_buffer=True, **options)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, `BATCH` at a time or a row group, where these are larger."""
        starts = [int(start) for start in self.starts]
        begin = 0
        for end, following in zip(starts[1:], [*starts[2:], None], strict=True):
            if following is None or following - begin > BATCH:
                yield self.rows(begin, end, columns)
                begin = end

    def named(self, classes: Iterable[str]) -> ManifestFile:
        """The same samples, none with a label or box, of other classes."""
        head = replace(self.head, classes=tuple(classes))
        return replace(self, head=replace(head, fingerprint=fingerprint(self.tables(), head, self.attributes)))

    def save(self, path: str | os.PathLike[str], rows: int = BATCH) -> Path:
        """Write the manifest to another file, in row groups of so many rows, and return its path."""
        write_manifest(Path(path), self.tables(), self.head, self.attributes, rows)
        return Path(path)


def most_labels(tables: Iterable[pa.Table]) -> int:
    """Of any sample of a manifest's tables."""
    return max((pc.max(pc.list_value_length(table["labels"])).as_py() or 0 for table in tables), default=0)


def _head(footer: pq.FileMetaData, path: Path | Remote) -> Head:
    raw = (footer.metadata or {}).get(_KEY)
    if raw is None:
        raise ManifestError(f"{path} is Parquet but not a manifest; index it with `camaudit index table {path}`")
    record: dict[str, Any] = json.loads(raw)
    return Head(tuple(record["classes"]), record["root"], record["mask_kind"], record["fingerprint"])


def _version(path: Path | Remote) -> str | tuple[int, int, int]:
    if not isinstance(path, Path):
        return path.version()
    state = os.stat(path)
    return state.st_ino, state.st_mtime_ns, state.st_size


@lru_cache(maxsize=4)
def _footer(path: Path | Remote, _version: object) -> tuple[pq.FileMetaData, NDArray[np.int64]]:
    """Of one version of a file: with thousands of row groups it takes longer to read than a shard's rows."""
    is_local = isinstance(path, Path)
    footer = pq.read_metadata(path, memory_map=True) if is_local else pq.read_metadata(path.open())
    groups = (footer.row_group(group).num_rows for group in range(footer.num_row_groups))
    return footer, np.cumsum(list(chain([0], groups)))


class _HashSink:
    """A file object that feeds what is written to a digest."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...
