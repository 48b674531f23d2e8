"""A table of images, CSV or Parquet: a path a row, perhaps with id, labels, mask, and attributes to group by."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from audit.datasets.classes import preview
from audit.datasets.folder import unique_ids
from audit.datasets.listing import Listing
from audit.datasets.manifest import Manifest, Sample
from audit.datasets.reach import holding_folder
from audit.errors import ManifestError
from audit.progress import Progress, silent, tracked

_ROLES = {"image": ("image", "path"), "id": ("id",), "labels": ("labels", "label"), "mask": ("mask",)}
_SEPARATOR = re.compile("[;|]")
_INTEGER = re.compile("[0-9]+")

Columns = dict[str, list[Any]]
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
    """List the rows of a CSV or Parquet file. Cells are text and pass unchanged, whatever they hold.

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
    columns = _read_columns(path)
    images = columns.pop("image")
    count = len(images)
    if not all(images):
        raise ManifestError(
            f"Expected a path in each row of {path}, got none in row {images.index(None) + 1}; fill it in"
        )
    ids = columns.pop("id", None) or unique_ids([_stem(image) for image in images], images)
    labels = columns.pop("labels", [()] * count)
    names, label_ids = _number_labels(labels, classes, path)
    masks = columns.pop("mask", [None] * count)
    samples = (
        Sample(
            id=ids[row] or "",
            image=images[row],
            labels=label_ids[labels[row]],
            mask=masks[row],
            attributes={name: values[row] for name, values in columns.items()},
        )
        for row in tracked(progress, "indexing", range(count))
    )
    base = root if root is not None else _common_root([*images, *filter(None, masks)]) or Path(path).parent
    return Listing(samples, names, str(base), mask_kind, tuple(columns))


def _common_root(paths: Sequence[str]) -> str | None:
    """The folder that holds all files; None where a path is relative, or the folder would be too wide."""
    if not paths or not all(map(os.path.isabs, paths)):
        return None
    return holding_folder({os.path.dirname(os.path.normpath(path)) for path in paths})


def _read_columns(path: str | os.PathLike[str]) -> Columns:
    """Columns under their role or attribute name: text, null where empty, but labels as tuples of text."""
    try:
        table = _read_parquet(path) if _is_parquet(path) else _read_csv(path)
    except OSError as error:
        raise ManifestError(f"Expected a table at {path}, got: {error.strerror or error}; check the path") from None
    except pa.ArrowException as error:
        raise ManifestError(f"Expected CSV or Parquet at {path}, got: {str(error).splitlines()[0]}; check it") from None
    names = _name_columns(table.column_names, path)
    return {name: _cells(table.column(place), name) for name, place in names.items()}


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _is_parquet(path: str | os.PathLike[str]) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _read_parquet(path: str | os.PathLike[str]) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read()


def _read_csv(path: str | os.PathLike[str]) -> pa.Table:
    """All columns as text, as written: '007' stays '007'."""
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.csv.open_csv(path, parse_options=parse) as head:
        types = dict.fromkeys(head.schema.names, pa.string())
    convert = pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
    return pa.csv.read_csv(path, parse_options=parse, convert_options=convert)


def _name_columns(names: Sequence[str], path: str | os.PathLike[str]) -> dict[str, int]:
    """Position of each column by role or attribute name; a column without a name (a saved index) is left out."""
    places: dict[str, int] = {}
    aliases = {alias: role for role, known in _ROLES.items() for alias in known}
    for place, name in enumerate(names):
        key = aliases.get(name, name)
        if key in places:
            raise ManifestError(f"Expected one column {' or '.join(_ROLES.get(key, (key,)))} in {path}, got two")
        if key:
            places[key] = place
    if "image" not in places:
        raise ManifestError(f"Expected a column path or image in {path}, got {preview(names)}; rename one")
    return places


def _cells(column: pa.ChunkedArray, name: str) -> list[Any]:
    if name == "labels":
        return _label_cells(column)
    if pa.types.is_nested(column.type):
        raise ManifestError(f"Expected text or numbers in column {name!r}, got {column.type}; drop or flatten it")
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), None, text).to_pylist()  # type: ignore[no-any-return]


def _label_cells(column: pa.ChunkedArray) -> list[tuple[str, ...]]:
    if pa.types.is_nested(column.type):
        return [tuple(str(label) for label in cell or ()) for cell in column.to_pylist()]
    cells = column.cast(pa.string()).to_pylist()
    split = {cell: tuple(filter(None, map(str.strip, _SEPARATOR.split(cell or "")))) for cell in dict.fromkeys(cells)}
    return [split[cell] for cell in cells]


def _number_labels(
    labels: Sequence[tuple[str, ...]], classes: Sequence[str] | None, path: str | os.PathLike[str]
) -> tuple[tuple[str, ...], LabelIds]:
    """Class names, and the class ids of every combination of labels that occurs."""
    combinations = set(labels)
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
