"""PASCAL VOC (Everingham et al., IJCV 2010): split lists, JPEGImages, SegmentationClass, Annotations."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from audit.datasets.classes import VOC_CLASSES, preview
from audit.datasets.ids import unique_ids
from audit.datasets.manifest import Box, Manifest, Sample, coordinate
from audit.datasets.readers.folder import stored_path
from audit.datasets.readers.listing import Listing
from audit.errors import ManifestError
from audit.progress import Progress, silent, tracked

TASKS = ("Segmentation", "Main")
LABELS = ("auto", "annotations", "masks", "none")

_SUFFIXES = (".jpg", ".jpeg", ".png")
_THREADS = min(8, os.cpu_count() or 1)
_BATCH = 64


def read_voc(
    root: str | os.PathLike[str],
    split: str = "trainval",
    labels: str = "auto",
    task: str = "auto",
    progress: Progress = silent,
) -> Manifest:
    """Index a split of a VOC data set; see `list_voc`."""
    return list_voc(root, split, labels, task, progress).manifest()


def list_voc(
    root: str | os.PathLike[str],
    split: str = "trainval",
    labels: str = "auto",
    task: str = "auto",
    progress: Progress = silent,
) -> Listing:
    """List a split of a VOC data set, masks in VOC's palette indices (0 background, 255 void).

    Classes are the names in `classes.txt` at the data set's root, one a line, or else `VOC_CLASSES`. An image or mask
    that is listed but damaged or missing is kept: the run records it.

    Args:
        root: a folder with JPEGImages and ImageSets, or the VOCdevkit folder around VOC2012.
        split: name of a list in ImageSets, or one of Main's class lists (`cat_val`: its images that show a cat).
        labels: `annotations` (object names and boxes of the XML files), `masks` (the indices present), `none`, or
            `auto`: annotations where there are any, else the mask.
        task: the folder of ImageSets to take the list from; `auto` tries Segmentation, then Main.
        progress: told of every image.

    Raises:
        ManifestError: no VOC folder, unknown split, unreadable annotation, or an object of an unknown class.
    """
    _expect("labels", labels, LABELS)
    _expect("task", task, ("auto", *TASKS))
    folder = _find_voc(Path(root))
    classes = _read_classes(folder)
    names = _read_split(folder, split, TASKS if task == "auto" else (task,), classes)
    layout = _Layout.scan(folder, classes, labels)
    return Listing(
        _described(layout, tracked(progress, "indexing", names), unique_ids(names, names)), classes, str(folder)
    )


def _described(layout: _Layout, names: Iterable[str], ids: Sequence[str]) -> Iterator[Sample]:
    """Samples in order, a batch of files read at once."""
    coming = zip(names, ids, strict=True)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(coming, _BATCH)):
            yield from pool.map(layout.describe, *zip(*batch, strict=True))


def is_segmentation(root: str | os.PathLike[str], split: str) -> bool:
    """Whether a split is one of those that VOC drew masks for.

    Raises:
        ManifestError: no VOC folder.
    """
    return (_find_voc(Path(root)) / "ImageSets" / TASKS[0] / f"{split}.txt").exists()


@dataclass(frozen=True)
class _Layout:
    """What a VOC folder holds, listed once.

    Attributes:
        images: file name in JPEGImages by image name.
        masks, annotations: image names that have one.
        labels: one of `LABELS`.
    """

    folder: Path
    class_ids: dict[str, int]
    images: dict[str, str]
    masks: frozenset[str]
    annotations: frozenset[str]
    labels: str

    @classmethod
    def scan(cls, folder: Path, classes: Sequence[str], labels: str) -> _Layout:
        masks, annotations = _stems(folder / "SegmentationClass", ".png"), _stems(folder / "Annotations", ".xml")
        class_ids = {name: place for place, name in enumerate(classes)}
        return cls(folder, class_ids, _image_files(folder / "JPEGImages"), masks, annotations, labels)

    def describe(self, name: str, sample_id: str) -> Sample:
        mask = f"SegmentationClass/{name}.png" if name in self.masks else None
        labels, boxes = self._objects(name)
        return Sample(
            id=sample_id,
            image=stored_path(str(self.folder), f"JPEGImages/{self.images.get(name, name + '.jpg')}"),
            labels=labels,
            mask=None if mask is None else stored_path(str(self.folder), mask),
            boxes=boxes,
        )

    def _objects(self, name: str) -> tuple[tuple[int, ...], tuple[Box, ...]]:
        if self.labels in ("auto", "annotations") and name in self.annotations:
            return _read_annotation(self.folder / "Annotations" / f"{name}.xml", self.class_ids)
        if self.labels in ("auto", "masks") and name in self.masks:
            return _mask_labels(self.folder / "SegmentationClass" / f"{name}.png", len(self.class_ids)), ()
        return (), ()


def _find_voc(root: Path) -> Path:
    """The folder with JPEGImages: `root`, its VOC2012, or the only VOC20xx in it, perhaps below a VOCdevkit."""
    for base in (root, root / "VOCdevkit"):
        years = sorted(base.glob("VOC20??"))
        candidates = [base, base / "VOC2012", *(years if len(years) == 1 else [])]
        for folder in candidates:
            if (folder / "JPEGImages").is_dir():
                return folder
        if years:
            raise ManifestError(f"Expected one VOC folder at {base}, got {len(years)}; name one")
    raise ManifestError(f"Expected a VOC folder with JPEGImages and ImageSets at {root}, found none; check the path")


def _read_classes(folder: Path) -> tuple[str, ...]:
    path = folder / "classes.txt"
    if not path.is_file():
        return VOC_CLASSES
    return tuple(_lines(path))


def _read_split(folder: Path, split: str, tasks: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Image names of a split; of a class list those not marked -1 (0, difficult, still shows the class)."""
    sets = folder / "ImageSets"
    lists = {path.stem: path for task in reversed(tasks) for path in (sets / task).glob("*.txt")}
    if not lists:
        raise ManifestError(f"Expected lists in {sets}/{' or '.join(tasks)}, found none; check the data set")
    of_class = {stem for stem in lists if stem.rpartition("_")[0] in classes}
    if split not in lists:
        raise ManifestError(f"Expected split to be one of {', '.join(sorted(lists.keys() - of_class))}, got {split!r}")
    lines = _lines(lists[split])
    if split not in of_class:
        return lines
    flagged = [line.rsplit(maxsplit=1) for line in lines]
    return [fields[0] for fields in flagged if fields[1:] != ["-1"]]


def _lines(path: Path) -> list[str]:
    """Lines of a list without blanks around them, empty ones left out; bytes that are not UTF-8 as in file names."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    return [line.strip() for line in text.split("\n") if line.strip()]


def _image_files(folder: Path) -> dict[str, str]:
    """File name by stem; where a stem has several suffixes, the first of `_SUFFIXES`."""
    files: dict[str, str] = {}
    split = [os.path.splitext(name) for name in os.listdir(folder)]
    for suffix in reversed(_SUFFIXES):
        files |= {stem: stem + end for stem, end in split if end.lower() == suffix}
    return files


def _stems(folder: Path, suffix: str) -> frozenset[str]:
    names = os.listdir(folder) if folder.is_dir() else []
    return frozenset(name[: -len(suffix)] for name in names if name.endswith(suffix))


def _mask_labels(path: Path, class_count: int) -> tuple[int, ...]:
    """Class ids whose index occurs in a mask; none of a mask that is no such mask, which scoring will report."""
    try:
        with Image.open(path) as mask:
            if mask.mode not in ("P", "L"):
                return ()
            counts = mask.histogram()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ()
    return tuple(class_id for class_id, count in enumerate(counts[1:255]) if count and class_id < class_count)


def _read_annotation(path: Path, class_ids: dict[str, int]) -> tuple[tuple[int, ...], tuple[Box, ...]]:
    """Labels and boxes of an annotation's objects; their parts (head, hand ...) are not objects."""
    try:
        tree = ET.fromstring(path.read_bytes(), ET.XMLParser(target=_NoDoctype()))
        boxes = [_read_object(entry, class_ids) for entry in tree.iterfind("object")]
    except (ET.ParseError, ValueError, KeyError, OSError) as error:
        reason = f"unknown class {error}" if isinstance(error, KeyError) else str(error)
        raise ManifestError(f"Expected an annotation of {preview(class_ids)}, got {reason} in {path}; fix it") from None
    return tuple(sorted({class_id for class_id, _ in boxes})), tuple(box for _, box in boxes if box is not None)


def _read_object(entry: ET.Element, class_ids: dict[str, int]) -> tuple[int, Box | None]:
    """Class id and box; VOC counts pixels from 1 and includes the last, here from 0 without it."""
    class_id = class_ids[entry.findtext("name", "").strip()]
    corners = entry.find("bndbox")
    if corners is None:
        return class_id, None
    x0, y0, x1, y1 = (coordinate(corners.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax"))
    return class_id, Box(class_id, x0 - 1, y0 - 1, x1, y1)


class _NoDoctype(ET.TreeBuilder):
    """Builds a tree, refusing the document types in which entities could be declared that blow up or read files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("a document type declaration")


def _expect(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"Expected `{name}` to be one of {', '.join(allowed)}, got {value!r}")
