"""PASCAL VOC (Everingham et al., IJCV 2010): palette PNGs alone, or the tree of a data kit with its lists."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from audit.export.labels.kind import PALETTE_CLASSES, Collection, LabelFormat, Part, index_image, without_image
from audit.images import write_index_png
from audit.segmentation import LabelImage
from audit.store.storage.files import write_atomically

_KIT = "VOCdevkit/VOC2012"
_LISTS = tuple(f"{_KIT}/ImageSets/Segmentation/{split}.txt" for split in ("train", "trainval"))


class VocPng(LabelFormat):
    """One index image a sample, all in one folder, and how far each is to be trusted."""

    name = "voc-png"
    says = "one palette PNG an image: 0 background, i + 1 class i, 255 unknown; confidence.csv"
    suffix = ".csv"
    joined = ("confidence.csv",)
    most_classes = PALETTE_CLASSES

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write ID.png of each, and the shard's part of the table: an image counts for its least trusted mask."""
        rows = []
        for image in images:
            write = partial(write_index_png, index=index_image(image.mask))
            part.write(f"{collection.stem(image)}.png", write)
            rows.append((image.sample.id, f"{min(image.confidence.values(), default=0.0):.6f}"))
        part.write(part.payload(self.suffix), partial(_write_rows, rows))

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Write the table of all, as `camaudit distill --confidence` takes it."""
        head = b"id,confidence\n"
        write_atomically(out / self.joined[0], partial(_concatenate, payloads, head=head))


class VocTree(LabelFormat):
    """What `torchvision.datasets.VOCSegmentation(OUT, "2012", "train")` reads.

    JPEGImages are links to the images, whatever their kind: readers go by content.
    """

    name = "voc"
    says = "the tree of a VOC data kit, JPEGImages as links; lists train and trainval name all of it"
    suffix = ".txt"
    needs_disk = "links to the images"
    joined = (*_LISTS, f"{_KIT}/classes.txt")
    most_classes = PALETTE_CLASSES

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write SegmentationClass/ID.png of each, a link to its image, and the shard's part of the list."""
        names = []
        for image in images:
            stem = collection.stem(image)
            write = partial(write_index_png, index=index_image(image.mask))
            part.write(f"{_KIT}/SegmentationClass/{stem}.png", write)
            part.link(f"{_KIT}/JPEGImages/{stem}.jpg", image.sample)
            names.append(f"{stem}\n")
        part.write(part.payload(self.suffix), lambda path: path.write_text("".join(names)))

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Write the lists, and the names of the classes."""
        for name in _LISTS:
            write_atomically(out / name, partial(_concatenate, payloads))
        names = "".join(f"{' '.join(name.split())}\n" for name in collection.classes)
        write_atomically(out / _KIT / "classes.txt", lambda path: path.write_text(names))

    def notes(self, counts: Mapping[str, int]) -> str:
        """How many images could not be linked."""
        return without_image(counts)


def _write_rows(rows: Sequence[tuple[str, str]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _concatenate(payloads: Sequence[Path], path: Path, head: bytes = b"") -> None:
    """Files of text behind one another."""
    with path.open("wb") as file:
        file.write(head)
        for payload in payloads:
            file.write(payload.read_bytes())
