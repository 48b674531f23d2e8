"""The manifest: the table of samples, with the class names and a fingerprint. Paths, never pixels.

Parquet columns, one row a sample:

========== ========================== ==========================================================
id         string                     unique within the manifest
image      string                     path relative to `root`, absolute path, or URL
labels     list<int32>                class ids, ascending; empty when unknown
mask       string, null               path of a class-index mask, like `image`
boxes      list<struct>, null         object boxes: class_id, x0, y0, x1, y1 in upright pixels
regions    string, null               COCO annotations as JSON, drawn when a mask is needed
others     string                     one column an attribute (camera, source, group ...)
========== ========================== ==========================================================

The schema's metadata holds one JSON object under `camaudit`: classes, root, mask kind, attributes, fingerprint.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pyarrow as pa
import pyarrow.parquet as pq

from audit.errors import ManifestError
from audit.images.locations import is_url, location_fault

MASK_KINDS = ("index", "binary")
"""`index`: pixel value 0 is background, 255 void, i + 1 class i (PASCAL VOC). `binary`: non-zero is the one label."""

_ROW_GROUP = 4096
_KEY = b"camaudit"
_BOX = pa.struct([("class_id", pa.int32()), *[(name, pa.float32()) for name in ("x0", "y0", "x1", "y1")]])
_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "image": pa.string(),
    "labels": pa.list_(pa.int32()),
    "mask": pa.string(),
    "boxes": pa.list_(_BOX),
    "regions": pa.string(),
}


@dataclass(frozen=True, slots=True)
class Box:
    """An object's box in pixels of the upright image, x1 and y1 exclusive.

    Corners may be such that it cannot be drawn: then its sample's mask is bad, and no other's.
    """

    class_id: int
    x0: float
    y0: float
    x1: float
    y1: float


def coordinate(value: Any) -> float:
    """What a file gives as a coordinate; NaN where that is no number, for its box to be told of.

    >>> [coordinate("2.5"), coordinate(None), coordinate(10**400)]
    [2.5, nan, nan]
    """
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of the collection. See the module docstring for the fields.

    `drawn` are boxes that people drew around objects of some classes, looking at a run; no manifest lists them.
    """

    id: str
    image: str
    labels: tuple[int, ...] = ()
    mask: str | None = None
    boxes: tuple[Box, ...] = ()
    regions: str | None = None
    attributes: dict[str, str | None] = field(default_factory=dict)
    drawn: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Samples and class names.

    Attributes:
        table: one row a sample, columns as in the module docstring; paths as stored, relative to `root`.
        classes: class names; a class id is a position in this tuple.
        root: folder or URL prefix that relative paths start from.
        mask_kind: one of `MASK_KINDS`.
        fingerprint: sha256 of classes, mask kind and all rows, whatever the root; first 16 hex digits.
        drawn: of samples, by their place among the rows; not of the fingerprint.
    """

    table: pa.Table
    classes: tuple[str, ...]
    root: str
    mask_kind: str
    fingerprint: str
    drawn: Mapping[int, tuple[Box, ...]] = field(default_factory=dict)

    @classmethod
    def from_samples(
        cls,
        samples: Iterable[Sample],
        classes: Iterable[str],
        root: str | os.PathLike[str] = "",
        mask_kind: str = "index",
    ) -> Manifest:
        """Build a manifest from samples whose paths are relative to `root`, absolute, or URLs.

        Raises:
            ManifestError: a duplicate or empty id, a label or box outside the classes, a reserved attribute name, a
                root that is never read, no sample.
        """
        names = tuple(classes)
        if mask_kind not in MASK_KINDS:
            raise ValueError(f"Expected `mask_kind` to be one of {', '.join(MASK_KINDS)}, got {mask_kind!r}")
        if len(set(names)) != len(names):
            raise ManifestError(f"Expected distinct class names, got {_first_duplicate(names)!r} twice; rename one")
        base = _base(str(root))
        table = _tabulate(samples, names)
        if not len(table):
            where = f" in {base}" if base else ""
            advice = "check the folder, the split and the file types"
            raise ManifestError(f"Expected at least one sample{where}, found none; {advice}")
        return cls(table, names, base, mask_kind, _fingerprint(table, names, mask_kind))

    @classmethod
    def open(cls, path: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> Manifest:
        """Read a manifest, or only its rows `start:stop` (only the row groups that hold them are read).

        Raises:
            ManifestError: the file is missing or is not a camaudit manifest.
        """
        file = _open_parquet(path)
        meta = _metadata(file, path)
        total = file.metadata.num_rows
        stop = total if stop is None else min(stop, total)
        groups, first = _row_groups(file, start, stop)
        try:
            table = file.read_row_groups(groups).slice(start - first, stop - start)
        except (OSError, pa.ArrowException) as error:
            raise ManifestError(f"Damaged manifest {path}: {str(error).splitlines()[0]}; index it again") from None
        return cls(table, tuple(meta["classes"]), meta["root"], meta["mask_kind"], meta["fingerprint"])

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attribute columns."""
        return attribute_names(self.table.column_names)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Sample]:
        """Samples in order, their paths joined to the root."""
        extra, place = self.attributes, itertools.count()
        for batch in self.table.to_batches(max_chunksize=_ROW_GROUP):
            for row in batch.to_pylist():
                yield Sample(
                    id=row["id"],
                    image=self._resolve(row["image"]),
                    labels=tuple(row["labels"] or ()),
                    mask=None if row["mask"] is None else self._resolve(row["mask"]),
                    boxes=tuple(Box(**box) for box in row["boxes"] or ()),
                    regions=row["regions"],
                    drawn=self.drawn.get(next(place), ()),
                    attributes={name: row[name] for name in extra},
                )

    def named(self, classes: Iterable[str]) -> Manifest:
        """The same samples, none with a label or box, of other classes."""
        names = tuple(classes)
        return replace(self, classes=names, fingerprint=_fingerprint(self.table, names, self.mask_kind))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the manifest as Parquet, whole or not at all, and return its path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        meta = {
            "classes": self.classes,
            "root": self.root,
            "mask_kind": self.mask_kind,
            "fingerprint": self.fingerprint,
        }
        table = self.table.replace_schema_metadata({_KEY: json.dumps(meta).encode()})
        partial = target.with_name(f"{target.name}.{secrets.token_hex(8)}.partial")
        try:
            pq.write_table(table, partial, row_group_size=_ROW_GROUP, compression="zstd", write_page_checksum=True)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def _resolve(self, path: str) -> str:
        if not self.root or is_url(path) or os.path.isabs(path):
            return path
        return f"{self.root.rstrip('/')}/{path}"


def attribute_names(columns: Iterable[str]) -> tuple[str, ...]:
    """The attributes among a manifest's columns."""
    return tuple(name for name in columns if name not in _COLUMNS)


def manifest_length(path: str | os.PathLike[str]) -> int:
    """Number of samples, from the Parquet footer alone."""
    return int(_open_parquet(path).metadata.num_rows)


def storable_path(path: str) -> str:
    """A path as UTF-8 text: unchanged, or a percent-encoded `file:` URL where its name is not UTF-8 (RFC 8089).

    >>> storable_path("/data/caf\\udce9.jpg")
    'file:///data/caf%E9.jpg'
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(os.path.abspath(path)))
    return path


def _base(root: str) -> str:
    if fault := location_fault(root):
        raise ManifestError(f"Expected as root {fault}")
    return root if is_url(root) or not root else os.path.abspath(root)


def _tabulate(samples: Iterable[Sample], classes: tuple[str, ...]) -> pa.Table:
    rows: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    attributes: dict[str, list[str | None]] = {}
    ids: set[str] = set()
    for count, sample in enumerate(samples):
        _check(sample, ids, len(classes))
        ids.add(sample.id)
        for name in _COLUMNS:
            rows[name].append(getattr(sample, name))
        rows["boxes"][-1] = [_box_row(box) for box in sample.boxes] or None
        for name, value in sample.attributes.items():
            if name not in attributes:
                attributes[name] = [None] * count
            attributes[name].append(value)
        for name in attributes.keys() - sample.attributes.keys():
            attributes[name].append(None)
    columns = {name: pa.array(rows[name], kind) for name, kind in _COLUMNS.items()}
    return pa.table(columns | {name: pa.array(values, pa.string()) for name, values in sorted(attributes.items())})


def _check(sample: Sample, ids: set[str], class_count: int) -> None:
    if not sample.id:
        raise ManifestError(f"Expected every sample to have an id, got none for image {sample.image!r}")
    if sample.id in ids:
        raise ManifestError(f"Expected unique ids, got {sample.id!r} twice (again at {sample.image!r}); rename one")
    for label in (*sample.labels, *(box.class_id for box in sample.boxes)):
        if not (isinstance(label, Integral) and 0 <= label < class_count):
            raise ManifestError(f"Expected labels of {sample.id!r} below {class_count}, got {label}")
    for name in sample.attributes:
        if name in _COLUMNS:
            raise ManifestError(f"Expected an attribute name other than {', '.join(_COLUMNS)}, got {name!r}; rename it")


def _box_row(box: Box) -> dict[str, float]:
    corners = {name: coordinate(getattr(box, name)) for name in ("x0", "y0", "x1", "y1")}
    return {"class_id": box.class_id, **corners}


def _first_duplicate(names: tuple[str, ...]) -> str:
    return next(name for place, name in enumerate(names) if name in names[:place])


def _fingerprint(table: pa.Table, classes: tuple[str, ...], mask_kind: str) -> str:
    digest = hashlib.sha256(json.dumps([classes, mask_kind, table.column_names]).encode())
    sink = _HashSink(digest)
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=_ROW_GROUP)
    return digest.hexdigest()[:16]


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


def _open_parquet(path: str | os.PathLike[str]) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except FileNotFoundError:
        raise ManifestError(f"No manifest at {path}; make one with `camaudit index`") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"Expected a manifest in Parquet at {path}, got: {error}") from None


def _metadata(file: pq.ParquetFile, path: str | os.PathLike[str]) -> dict[str, Any]:
    raw = (file.schema_arrow.metadata or {}).get(_KEY)
    if raw is None:
        raise ManifestError(f"{path} is Parquet but not a manifest; index it with `camaudit index table {path}`")
    meta: dict[str, Any] = json.loads(raw)
    return meta


def _row_groups(file: pq.ParquetFile, start: int, stop: int) -> tuple[list[int], int]:
    """Row groups that overlap rows `start:stop`, and the row the first of them begins at."""
    groups: list[int] = []
    first = begin = 0
    for group in range(file.metadata.num_row_groups):
        end = begin + file.metadata.row_group(group).num_rows
        if begin < stop and end > start:
            if not groups:
                first = begin
            groups.append(group)
        begin = end
    return groups, first
