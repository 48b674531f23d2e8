"""PASCAL VOC (Everingham et al., IJCV 2010): palette PNGs alone, or the tree of a data kit with its lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from audit.export.labels.kind import PALETTE_CLASSES, Collection, LabelFormat, Part, index_image, without_image
from audit.images import write_index_png
from audit.segmentation import LabelImage
from audit.store.files import file_stem, write_atomically

_KIT = "VOCdevkit/VOC2012"
_LISTS = tuple(f"{_KIT}/ImageSets/Segmentation/{split}.txt" for split in ("train", "trainval"))


class VocPng(LabelFormat):
    """One index image a sample, all in one folder."""

    name = "voc-png"
    says = "one palette PNG an image: 0 background, i + 1 class i, 255 unknown"
    most_classes = PALETTE_CLASSES

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write ID.png of each."""
        for image in images:
            write = partial(write_index_png, index=index_image(image.mask))
            part.write(f"{file_stem(image.sample.id)}.png", write)


class VocTree(LabelFormat):
    """What `torchvision.datasets.VOCSegmentation(OUT, "2012", "train")` reads.

    JPEGImages are links to the images, whatever their kind: readers go by content.
    """

    name = "voc"
    says = "the tree of a VOC data kit, JPEGImages as links; lists train and trainval name all of it"
    suffix = ".txt"
    joined = (*_LISTS, f"{_KIT}/classes.txt")
    most_classes = PALETTE_CLASSES

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write SegmentationClass/ID.png of each, a link to its image, and the shard's part of the list."""
        names = []
        for image in images:
            stem = file_stem(image.sample.id)
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


def _concatenate(payloads: Sequence[Path], path: Path) -> None:
    """Files of text behind one another."""
    with path.open("wb") as file:
        for payload in payloads:
            file.write(payload.read_bytes())
