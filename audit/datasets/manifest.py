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

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.datasets.ids import repeated
from audit.datasets.manifest_file import BATCH, COLUMNS, Head, ManifestFile, Source, fingerprint, write_manifest
from audit.errors import ManifestError
from audit.images.locations import is_url, location_fault

MASK_KINDS = ("index", "binary")
"""`index`: pixel value 0 is background, 255 void, i + 1 class i (PASCAL VOC). `binary`: non-zero is the one label."""


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
        names, base = checked_names(classes, mask_kind), checked_root(str(root))
        tables = list(sample_tables(samples, len(names)))
        if not tables:
            raise no_sample(base)
        table = pa.concat_tables(tables, promote_options="default").combine_chunks()
        table = table.select([*COLUMNS, *sorted(attribute_names(table.column_names))])
        head = Head(names, base, mask_kind)
        return cls(table, names, base, mask_kind, fingerprint([table], head, attribute_names(table.column_names)))

    @classmethod
    def open(cls, path: Source, start: int = 0, stop: int | None = None) -> Manifest:
        """Read a manifest, or only its rows `start:stop` (only the row groups that hold them are read).

        Raises:
            ManifestError: the file is missing or is not a camaudit manifest.
        """
        file = ManifestFile.open(path)
        table = file.rows(start, len(file) if stop is None else stop)
        return cls(table, file.head.classes, file.head.root, file.head.mask_kind, file.head.fingerprint)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attribute columns."""
        return attribute_names(self.table.column_names)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Sample]:
        """Samples in order, their paths joined to the root."""
        extra, place = self.attributes, itertools.count()
        for batch in self.table.to_batches(max_chunksize=BATCH):
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
        head = replace(self._head, classes=tuple(classes))
        return replace(self, classes=head.classes, fingerprint=fingerprint([self.table], head, self.attributes))

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, as those of a manifest on the disk come in several tables."""
        yield self.table.select(list(columns)) if columns else self.table

    def save(self, path: str | os.PathLike[str], rows: int = BATCH) -> Path:
        """Write the manifest as Parquet, whole or not at all, and return its path.

        Args:
            rows: of a row group.
        """
        write_manifest(Path(path), [self.table], self._head, self.attributes, rows)
        return Path(path)

    @property
    def _head(self) -> Head:
        return Head(self.classes, self.root, self.mask_kind, self.fingerprint)

    def _resolve(self, path: str) -> str:
        if not self.root or is_url(path) or os.path.isabs(path):
            return path
        return f"{self.root.rstrip('/')}/{path}"


def attribute_names(columns: Iterable[str]) -> tuple[str, ...]:
    """The attributes among a manifest's columns."""
    return tuple(name for name in columns if name not in COLUMNS)


def taken(manifest: Manifest | ManifestFile, rows: NDArray[np.integer]) -> Manifest:
    """A manifest of some samples, ascending rows [m], of one in memory or on the disk."""
    if isinstance(manifest, Manifest):
        return replace(manifest, table=manifest.table.take(pa.array(rows)), drawn={})
    table = pa.concat_tables([manifest.rows(row, row + 1) for row in map(int, rows)])
    head = manifest.head
    return Manifest(table, head.classes, head.root, head.mask_kind, head.fingerprint)


def manifest_length(path: str | os.PathLike[str]) -> int:
    """Number of samples, from the Parquet footer alone."""
    return len(ManifestFile.open(path))


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


def checked_names(classes: Iterable[str], mask_kind: str) -> tuple[str, ...]:
    """Class names, if they are distinct and the kind of masks is known.

    Raises:
        ManifestError: a class twice.
    """
    names = tuple(classes)
    if mask_kind not in MASK_KINDS:
        raise ValueError(f"Expected `mask_kind` to be one of {', '.join(MASK_KINDS)}, got {mask_kind!r}")
    if len(set(names)) != len(names):
        raise ManifestError(f"Expected distinct class names, got {_first_duplicate(names)!r} twice; rename one")
    return names


def checked_root(root: str) -> str:
    """A folder as an absolute path, or a URL prefix.

    Raises:
        ManifestError: it is a URL that is never read.
    """
    if fault := location_fault(root):
        raise ManifestError(f"Expected as root {fault}")
    return root if is_url(root) or not root else os.path.abspath(root)


def no_sample(root: str) -> ManifestError:
    """What to say of a collection that holds nothing."""
    where = f" in {root}" if root else ""
    advice = "check the folder, the split and the file types"
    return ManifestError(f"Expected at least one sample{where}, found none; {advice}")


def sample_tables(samples: Iterable[Sample], class_count: int, attributes: Iterable[str] = ()) -> Iterator[pa.Table]:
    """Samples as rows, `BATCH` at a time, with a column for each attribute that is named or that one of them has.

    Raises:
        ManifestError: a duplicate or empty id, a label or box outside the classes, a reserved attribute name.
    """
    ids: list[pa.ChunkedArray] = []
    coming = iter(samples)
    while batch := list(itertools.islice(coming, BATCH)):
        for sample in batch:
            _check(sample, class_count)
        table = _tabulate(batch, attributes)
        ids.append(table["id"])
        yield table
    _refuse_duplicates(ids)


def _tabulate(samples: Sequence[Sample], attributes: Iterable[str]) -> pa.Table:
    columns = {name: pa.array([_cell(sample, name) for sample in samples], kind) for name, kind in COLUMNS.items()}
    for name in sorted({*attributes, *itertools.chain.from_iterable(sample.attributes for sample in samples)}):
        columns[name] = pa.array([sample.attributes.get(name) for sample in samples], pa.string())
    return pa.table(columns)


def _cell(sample: Sample, name: str) -> Any:
    if name == "boxes":
        return [_box_row(box) for box in sample.boxes] or None
    return getattr(sample, name)


def _refuse_duplicates(columns: Sequence[pa.ChunkedArray]) -> None:
    """Ids are held as Arrow holds them, in a few bytes beside their text."""

    def ids() -> Iterator[str]:
        return (name for column in columns for name in column.to_pylist())

    several = repeated(ids)
    rows: dict[str, int] = {}
    for row, name in enumerate(ids() if several else ()):
        if name in rows:
            raise ManifestError(f"Expected unique ids, got {name!r} twice (rows {rows[name]} and {row}); rename one")
        if name in several:
            rows[name] = row


def _check(sample: Sample, class_count: int) -> None:
    if not sample.id:
        raise ManifestError(f"Expected every sample to have an id, got none for image {sample.image!r}")
    for label in (*sample.labels, *(box.class_id for box in sample.boxes)):
        if not (isinstance(label, Integral) and 0 <= label < class_count):
            raise ManifestError(f"Expected labels of {sample.id!r} below {class_count}, got {label}")
    for name in sample.attributes:
        if name in COLUMNS:
            raise ManifestError(f"Expected an attribute name other than {', '.join(COLUMNS)}, got {name!r}; rename it")


def _box_row(box: Box) -> dict[str, float]:
    corners = {name: coordinate(getattr(box, name)) for name in ("x0", "y0", "x1", "y1")}
    return {"class_id": box.class_id, **corners}


def _first_duplicate(names: tuple[str, ...]) -> str:
    return next(name for place, name in enumerate(names) if name in names[:place])
