"""CVAT's `Segmentation mask 1.1`: a zip of VOC masks with CVAT's label map, to be uploaded as annotations of a task."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.errors import RunError
from audit.export.labels.kind import PALETTE_CLASSES, Collection, LabelFormat, Part, as_background
from audit.images.masks import index_png, voc_palette
from audit.segmentation import UNKNOWN, LabelImage
from audit.store.storage.files import write_atomically

_LIST = "ImageSets/Segmentation/default.txt"
_CLASSES, _OBJECTS = "SegmentationClass", "SegmentationObject"
_FORBIDDEN = (":", "\n", "\r")


class Cvat(LabelFormat):
    """`annotations.zip`. Frames are told by the image's path below the manifest's root, without its suffix.

    All of a class in an image is one object. Unknown pixels are background: CVAT refuses colours that are no label's.
    """

    name = "cvat"
    says = "CVAT's Segmentation mask 1.1: a zip of class and object masks with labelmap.txt"
    joined = ("annotations.zip",)
    suffix = ".zip"
    most_classes = PALETTE_CLASSES

    def check(self, classes: Sequence[str]) -> None:
        """Names are parts of a line with colons between, in which nothing can be escaped."""
        super().check(classes)
        for name in classes:
            if any(mark in name for mark in _FORBIDDEN) or name.startswith("#") or name.strip() != name or not name:
                raise RunError(
                    f"CVAT's label map cannot hold the class {name!r}: a colon, a line's end, # or a space at the rim; "
                    "rename it in the manifest, or export voc"
                )

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write the masks into a zip of the shard's."""
        part.write(part.payload(self.suffix), lambda path: _write_masks(images, part, collection, path))

    def notes(self, counts: Mapping[str, int]) -> str:
        """How many pixels are said to be background."""
        return as_background(counts)

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Lay all zips into one, with label map and list."""
        write_atomically(out / "annotations.zip", lambda path: _join(payloads, collection, path))


def _write_masks(images: Iterator[LabelImage], part: Part, collection: Collection, path: Path) -> None:
    frames: dict[str, None] = {}
    with zipfile.ZipFile(path, "w") as archive:
        for image in images:
            frame = collection.frame_name(image.sample)
            _add_new(frames, frame)
            part.counts["unknown"] += int((image.mask == UNKNOWN).sum())
            _add(archive, f"{_CLASSES}/{frame}.png", index_png(np.maximum(image.mask, 0).astype(np.uint8)))
            _add(archive, f"{_OBJECTS}/{frame}.png", index_png(_objects(image)))


def _objects(image: LabelImage) -> NDArray[np.uint8]:
    """[H, W] 0 without an object, else the object's number in the image from 1 on."""
    objects = np.zeros(image.mask.shape, np.uint8)
    for number, class_id in enumerate(image.class_ids, 1):
        objects[image.mask == class_id + 1] = number
    return objects


def _join(payloads: Sequence[Path], collection: Collection, path: Path) -> None:
    frames: dict[str, None] = {}
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, "labelmap.txt", _label_map(collection.classes).encode())
        for payload in payloads:
            with zipfile.ZipFile(payload) as part:
                for name in part.namelist():
                    folder, _, frame = name.removesuffix(".png").partition("/")
                    if folder == _CLASSES:
                        _add_new(frames, frame)
                    _add(archive, name, part.read(name))
        _add(archive, _LIST, "".join(f"{frame}\n" for frame in frames).encode())


def _add_new(frames: dict[str, None], frame: str) -> None:
    if frame in frames:
        raise RunError(f"CVAT tells frames by their images' names, two samples have {frame!r}; export voc")
    frames[frame] = None


def _label_map(classes: Sequence[str]) -> str:
    colours = voc_palette().tolist()
    rows = zip(("background", *classes), colours, strict=False)
    lines = (f"{name}:{','.join(map(str, colour))}::\n" for name, colour in rows)
    return "# label:color_rgb:parts:actions\n" + "".join(lines)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Stored as it is, without a time: PNGs are packed already, and the same masks give the same bytes."""
    archive.writestr(zipfile.ZipInfo(name), data)
