"""What every format of label images is: how a shard of them is written, and how parts become one file."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.errors import ImageError, RunError
from audit.images import is_remote, is_url, local_path
from audit.segmentation import UNKNOWN, LabelImage
from audit.store.storage.files import bytes_made, file_stem, write_atomically
from audit.store.storage.objects import Location
from audit.store.storage.uploads import Uploads

PARTS = ".camaudit"
"""Folder within an export of what each shard wrote, from which one that was interrupted is gone on with."""
UNKNOWN_INDEX = 255
PALETTE_CLASSES = 254


@dataclass(frozen=True)
class Collection:
    """What the images belong to.

    Attributes:
        classes: names; a class id is a position.
        root: folder or URL prefix of the manifest.
        samples: how many there are.
        a_folder: samples from which on files go into numbered folders, so many in each.
    """

    a_folder: ClassVar[int] = 4096

    classes: tuple[str, ...]
    root: str
    samples: int = 0

    def stem(self, image: LabelImage) -> str:
        """Of a sample's files, without their suffix: its id, in a numbered folder where there are many samples."""
        stem = file_stem(image.sample.id)
        return f"{image.row // self.a_folder:05d}/{stem}" if self.folders else stem

    @property
    def folders(self) -> list[str]:
        """The numbered folders; none where there are few samples."""
        count = -(-self.samples // self.a_folder) if self.samples > self.a_folder else 0
        return [f"{number:05d}" for number in range(count)]

    def image_name(self, sample: Sample) -> str:
        """The image's path below the root, with `/`; as it is where it lies elsewhere."""
        return sample.image.removeprefix(f"{self.root.rstrip('/')}/") if self.root else sample.image

    def frame_name(self, sample: Sample) -> str:
        """The image's path below the root without its suffix; of one that lies elsewhere, a file name of its id."""
        path = PurePosixPath(self.image_name(sample))
        plain = not is_url(str(path)) and not path.is_absolute() and ".." not in path.parts
        return str(path.with_suffix("")) if plain else file_stem(sample.id)


@dataclass
class Part:
    """What a shard writes, and where.

    Attributes:
        out: folder of the export, on the disk or of a bucket.
        shard: its number.
        files: paths below `out` of what was written -> bytes; None of a link or folder.
        counts: what there is to tell, summed over shards.
        uploads: by which files go into a bucket, waited for by whoever made them; None on the disk.
    """

    out: Location
    shard: int
    files: dict[str, int | None] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    uploads: Uploads | None = None

    @property
    def folder(self) -> Path:
        """The export's folder on the disk, for formats that `needs_disk`."""
        if not isinstance(self.out, Path):
            raise TypeError(f"Expected a folder on the disk, got {self.out}")
        return self.out

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make the file of that name, whole or not at all."""
        path = self.out / name
        if not isinstance(path, Path):
            if self.uploads is None:
                raise TypeError(f"Expected uploads to write {path} by, got none")
            content = bytes_made(write)
            self.uploads.put(path, content)
            self.files[name] = len(content)
            return
        # Not waited for: a file that a power cut has emptied differs in size from what its part says.
        write_atomically(path, write, durable=False)
        self.files[name] = path.stat().st_size

    def link(self, name: str, sample: Sample) -> bool:
        """Make a link to a sample's image; False where that is behind a URL or gone, or there are no links here."""
        source, path = image_file(sample), self.folder / name
        if source is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.symlink_to(source)
                self.files[name] = None
        linked = name in self.files
        self.counts["without image"] += not linked
        return linked

    def payload(self, suffix: str) -> str:
        """Name of the shard's file that is to be joined with others'."""
        return part_name(self.shard, suffix)


def part_name(shard: int, suffix: str) -> str:
    """Path below the export of a file that a shard leaves beside its label images."""
    return f"{PARTS}/part-{shard:05d}{suffix}"


class LabelFormat(ABC):
    """A format: one class, one file, one line of the registry.

    Attributes:
        name: as `--format` takes it.
        says: what is written, in one sentence.
        suffix: of what a shard leaves to be joined; empty where nothing is joined.
        joined: paths below the export of what `join` writes.
        most_classes: that it can hold; None for any number.
        needs_disk: what no bucket can hold of it; empty where one can hold all.
    """

    name: ClassVar[str]
    says: ClassVar[str]
    suffix: ClassVar[str] = ""
    joined: ClassVar[tuple[str, ...]] = ()
    most_classes: ClassVar[int | None] = None
    needs_disk: ClassVar[str] = ""

    def check_place(self, out: Location) -> None:
        """See that it can lie there.

        Raises:
            RunError: it cannot.
        """
        if self.needs_disk and not isinstance(out, Path):
            raise RunError(
                f"{self.name} holds {self.needs_disk}, which no bucket can; "
                "write it to a folder, or export voc-png, coco, mask-table or npz"
            )

    def check(self, classes: Sequence[str]) -> None:
        """See that the classes can be written.

        Raises:
            RunError: they cannot.
        """
        if self.most_classes is not None and len(classes) > self.most_classes:
            raise RunError(
                f"{self.name} holds {self.most_classes} classes at most, the run has {len(classes)}; "
                "export mask-table, coco, npz or zarr"
            )

    @abstractmethod
    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write a shard's label images, one after another."""

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:  # noqa: B027
        """Make of all shards' payloads, in their order, what is one file; lists and descriptions too."""

    def notes(self, counts: Mapping[str, int]) -> str:
        """What there is to tell beside the number of images, as the end of a line."""
        return ""


def index_image(mask: NDArray[np.int16]) -> NDArray[np.uint8]:
    """[H, W] 0 background, i + 1 class i, 255 unknown."""
    return np.where(mask == UNKNOWN, UNKNOWN_INDEX, mask).astype(np.uint8)


def image_file(sample: Sample) -> Path | None:
    """Absolute path of a sample's image; None where it is gone or behind a URL."""
    if is_remote(sample.image):
        return None
    try:
        path = Path(os.path.abspath(local_path(sample.image)))
    except ImageError:
        return None
    return path if path.is_file() else None


def without_image(counts: Mapping[str, int]) -> str:
    """How many images could not be linked."""
    missing = counts.get("without image", 0)
    return f"; {missing} of them without their image, which is gone or behind a URL" if missing else ""


def image_suffix(sample: Sample) -> str:
    """Of the name of a link to its image: readers go by it."""
    return PurePosixPath(sample.image).suffix.lower() or ".jpg"


def as_background(counts: Mapping[str, int]) -> str:
    """How many pixels of which nothing is known a format had to call background."""
    return f"; {counts['unknown']} unknown pixels are background" if counts.get("unknown") else ""
