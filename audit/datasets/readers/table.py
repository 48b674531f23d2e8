"""A table of images, CSV or Parquet: a path a row, perhaps with id, labels, mask, and attributes to group by."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from audit.datasets.classes import preview
from audit.datasets.ids import Ids
from audit.datasets.manifest import Manifest, Sample
from audit.datasets.manifest_file import BATCH
from audit.datasets.reach import holding_folder
from audit.datasets.readers.listing import Listing
from audit.errors import ManifestError
from audit.progress import Progress, silent, tracked

_ROLES = {"image": ("image", "path"), "id": ("id",), "labels": ("labels", "label"), "mask": ("mask",)}
_SEPARATOR = re.compile("[;|]")
_INTEGER = re.compile("[0-9]+")
_PARSE = pa.csv.ParseOptions(newlines_in_values=True)

LabelIds = dict[tuple[str, ...], tuple[int, ...]]


def read_table(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    mask_kind: str = "index",
    progress: Progress = silent,
) -> Manifest:
    """Index the rows of a CSV or Parquet file; see `list_table`."""
    return list_table(path, root, classes, mask_kind, progress).manifest()


def list_table(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    mask_kind: str = "index",
    progress: Progress = silent,
) -> Listing:
    """List the rows of a CSV or Parquet file, of which a batch is held; the file is gone through several times.

    Cells are text and pass unchanged, whatever they hold.

    Columns: `path` or `image`; optionally `id` (else the path's stem, or the path where stems clash), `labels` or
    `label` (names separated by ';' or '|', or a list; class ids when `classes` is given and every label is a number),
    `mask`. Any other column is an attribute, null where empty.

    Args:
        path: the table.
        root: folder or URL prefix that the paths are relative to; default: the table's folder, or the one that holds
            all files where every path is absolute.
        classes: the class names; default: the distinct labels, sorted.
        mask_kind: one of `MASK_KINDS`.
        progress: told of every row.

    Raises:
        ManifestError: not such a table, no path column or an empty path, or a label outside `classes`.
    """
    rows = _Rows.open(path)
    survey = _survey(rows)
    names, label_ids = _number_labels(survey.labels, classes, path)
    attributes = tuple(name for name in rows.columns if name not in _ROLES)
    base = root if root is not None else _common_root(survey.folders) or Path(path).parent
    samples = _samples(rows, survey, label_ids, attributes, progress)
    return Listing(samples, names, str(base), mask_kind, attributes)


@dataclass(frozen=True)
class _Rows:
    """The rows of a table, which are read as often as they are asked for, and of which a batch is held.

    Attributes:
        columns: name of each column by its role or attribute.
    """

    path: str | os.PathLike[str]
    columns: Mapping[str, str]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> _Rows:
        """See what columns there are."""
        with _told(path):
            schema = pq.read_schema(path) if _is_parquet(path) else _csv_schema(path)
        columns = _name_columns(schema.names, path)
        for key, name in columns.items():
            if key != "labels" and pa.types.is_nested(kind := schema.field(name).type):
                raise ManifestError(f"Expected text or numbers in column {key!r}, got {kind}; drop or flatten it")
        return cls(path, columns)

    def cells(self, *keys: str) -> Iterator[tuple[Any, ...]]:
        """Row by row the cells of some roles and attributes: text, null where empty, but labels as tuples of text.

        Of a role that has no column they are null, or no label.
        """
        known = [self.columns[key] for key in keys if key in self.columns]
        with _told(self.path):
            for batch in _batches(self.path, known):
                yield from zip(*(self._column(batch, key) for key in keys), strict=True)

    def _column(self, batch: pa.RecordBatch, key: str) -> list[Any]:
        if key not in self.columns:
            return [() if key == "labels" else None] * len(batch)
        cells = batch.column(self.columns[key])
        if key == "labels":
            return _label_cells(cells)
        text = cells.cast(pa.string())
        return pc.if_else(pc.equal(text, ""), None, text).to_pylist()  # type: ignore[no-any-return]


class _Survey(NamedTuple):
    """What has to be known of all rows before the first is taken.

    Attributes:
        labels: their combinations.
        folders: of all files; None where a path is relative.
    """

    rows: int
    labels: set[tuple[str, ...]]
    folders: set[str] | None


def _survey(rows: _Rows) -> _Survey:
    labels, folders, relative, count = set[tuple[str, ...]](), set[str](), False, 0
    for count, (image, combination, mask) in enumerate(rows.cells("image", "labels", "mask"), 1):
        if not image:
            raise ManifestError(f"Expected a path in each row of {rows.path}, got none in row {count}; fill it in")
        labels.add(combination)
        paths = [image, mask] if mask else [image]
        relative = relative or not all(map(os.path.isabs, paths))
        if not relative:
            folders.update(os.path.dirname(os.path.normpath(path)) for path in paths)
    return _Survey(count, labels, None if relative else folders)


def _samples(
    rows: _Rows, survey: _Survey, label_ids: LabelIds, attributes: Sequence[str], progress: Progress
) -> Iterator[Sample]:
    def names() -> Iterator[tuple[str, str]]:
        return ((_stem(image), image) for (image,) in rows.cells("image"))

    ids = None if "id" in rows.columns else Ids.among(names)
    cells = tracked(progress, "indexing", rows.cells("image", "id", "labels", "mask", *attributes), survey.rows)
    for image, name, labels, mask, *values in cells:
        yield Sample(
            id=(name or "") if ids is None else ids.choose(_stem(image), image),
            image=image,
            labels=label_ids[labels],
            mask=mask,
            attributes=dict(zip(attributes, values, strict=True)),
        )


def _common_root(folders: set[str] | None) -> str | None:
    """The folder that holds all files; None where a path is relative, or the folder would be too wide."""
    return holding_folder(folders) if folders else None


@contextmanager
def _told(path: str | os.PathLike[str]) -> Iterator[None]:
    """What cannot be read is told as what the table is not."""
    try:
        yield
    except OSError as error:
        raise ManifestError(f"Expected a table at {path}, got: {error.strerror or error}; check the path") from None
    except pa.ArrowException as error:
        raise ManifestError(f"Expected CSV or Parquet at {path}, got: {str(error).splitlines()[0]}; check it") from None


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _is_parquet(path: str | os.PathLike[str]) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _batches(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of all rows; those of CSV as text, as written: '007' stays '007'."""
    if _is_parquet(path):
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(BATCH, columns=list(columns))
        return
    types = dict.fromkeys(columns, pa.string())
    convert = pa.csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True, include_columns=list(columns)
    )
    with pa.csv.open_csv(path, parse_options=_PARSE, convert_options=convert) as file:
        yield from file


def _csv_schema(path: str | os.PathLike[str]) -> pa.Schema:
    with pa.csv.open_csv(path, parse_options=_PARSE) as head:
        return pa.schema([(name, pa.string()) for name in head.schema.names])


def _name_columns(names: Sequence[str], path: str | os.PathLike[str]) -> dict[str, str]:
    """Name of each column by role or attribute; a column without a name (a saved index) is left out."""
    columns: dict[str, str] = {}
    aliases = {alias: role for role, known in _ROLES.items() for alias in known}
    for name in names:
        key = aliases.get(name, name)
        if key in columns:
            raise ManifestError(f"Expected one column {' or '.join(_ROLES.get(key, (key,)))} in {path}, got two")
        if key:
            columns[key] = name
    if "image" not in columns:
        raise ManifestError(f"Expected a column path or image in {path}, got {preview(names)}; rename one")
    return columns


def _label_cells(column: pa.Array) -> list[tuple[str, ...]]:
    if pa.types.is_nested(column.type):
        return [tuple(str(label) for label in cell or ()) for cell in column.to_pylist()]
    cells = column.cast(pa.string()).to_pylist()
    split = {cell: tuple(filter(None, map(str.strip, _SEPARATOR.split(cell or "")))) for cell in dict.fromkeys(cells)}
    return [split[cell] for cell in cells]


def _number_labels(
    combinations: set[tuple[str, ...]], classes: Sequence[str] | None, path: str | os.PathLike[str]
) -> tuple[tuple[str, ...], LabelIds]:
    """Class names, and the class ids of every combination of labels that occurs."""
    labelled = sorted({label for combination in combinations for label in combination})
    names = tuple(labelled if classes is None else classes)
    class_ids = {name: place for place, name in enumerate(names)}
    unknown = [label for label in labelled if label not in class_ids]
    if unknown and all(_INTEGER.fullmatch(label) for label in labelled):
        class_ids, unknown = {label: int(label) for label in labelled}, []
    if unknown:
        raise ManifestError(f"Expected labels of {path} among {preview(names)}, got {unknown[0]!r}; correct it")
    return names, {combination: _ascending(combination, class_ids) for combination in combinations}


def _ascending(labels: tuple[str, ...], class_ids: dict[str, int]) -> tuple[int, ...]:
    return tuple(sorted({class_ids[label] for label in labels}))
