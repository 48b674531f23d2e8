"""COCO instances (Lin et al., ECCV 2014): one JSON of images, categories and annotations, read as a stream.

Annotations stand in any order, and a JSON of a million images takes many gigabytes in memory. So the file is gone
through once: annotations are put aside on the disk one by one, images are held as short tuples, and what belongs to an
image is fetched when its row is written.
"""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np

from audit.datasets.ids import unique_ids
from audit.datasets.manifest import Box, Manifest, Sample, coordinate
from audit.datasets.readers.folder import stored_path
from audit.datasets.readers.json_stream import JsonStream
from audit.datasets.readers.listing import Listing
from audit.errors import ManifestError
from audit.progress import Progress, silent, tracked

Record = dict[str, Any]
_KEPT = ("category_id", "iscrowd", "bbox", "segmentation")
_ARRAYS = ("images", "categories", "annotations")


def read_coco(
    annotations: str | os.PathLike[str], images_dir: str | os.PathLike[str], progress: Progress = silent
) -> Manifest:
    """Index a COCO instances file; see `list_coco`."""
    return list_coco(annotations, images_dir, progress).manifest()


def list_coco(
    annotations: str | os.PathLike[str], images_dir: str | os.PathLike[str], progress: Progress = silent
) -> Listing:
    """List a COCO instances file. Nothing is drawn: `regions` keeps the polygons and run lengths.

    Classes are the categories by ascending id, class ids their positions. Labels and boxes leave crowds out; `regions`
    is a JSON list with one {class_id, segmentation, iscrowd, height, width} an annotation that has a segmentation.
    An id is the stem of the file name, or for a stem used twice the image id.

    Args:
        annotations: the JSON file, such as instances_val2017.json.
        images_dir: the folder that file names are relative to.
        progress: told of every image.

    Raises:
        ManifestError: the file is missing, is not COCO, lacks a field, or names an image or category it does not list.
            What an image lacks is told when its sample is taken.
    """
    root = os.path.abspath(images_dir)
    with _told(annotations):
        instances = _read(annotations)
        class_ids = {category: place for place, category in enumerate(sorted(instances.categories))}
        names = [str(instances.categories[category]) for category in class_ids]
        stems = [PurePosixPath(image.file_name).stem for image in instances.images]
        ids = unique_ids(stems, [str(image.image_id) for image in instances.images])
    return Listing(_samples(annotations, instances, ids, class_ids, root, progress), tuple(names), root)


class _Image(NamedTuple):
    image_id: Any
    file_name: str
    height: int | None
    width: int | None


@dataclass
class _Instances:
    """A COCO file, gone through once.

    Attributes:
        images: in their order.
        categories: name by id.
        places: of image ids, in the order in which they came first.
        owners: place of the image of each annotation.
        begins: where each annotation begins in `aside`, and where the last one ends.
        aside: annotations, each as JSON.
        used: category ids of annotations.
    """

    images: list[_Image] = field(default_factory=list)
    categories: dict[Any, Any] = field(default_factory=dict)
    places: dict[Any, int] = field(default_factory=dict)
    owners: array[int] = field(default_factory=lambda: array("q"))
    begins: array[int] = field(default_factory=lambda: array("q", [0]))
    aside: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    used: set[Any] = field(default_factory=set)

    def take(self, kind: str, entry: Record) -> None:
        """Take in an element of one of `_ARRAYS`."""
        if kind == "images":
            self.images.append(_Image(entry["id"], entry["file_name"], entry.get("height"), entry.get("width")))
            self.places.setdefault(entry["id"], len(self.places))
        elif kind == "categories":
            if entry["id"] in self.categories:
                raise ValueError("an image or category id twice")
            self.categories[entry["id"]] = entry["name"]
        elif kind == "annotations":
            self.owners.append(self.places.setdefault(entry["image_id"], len(self.places)))
            self.used.add(entry["category_id"])
            text = json.dumps({name: entry[name] for name in _KEPT if name in entry}, separators=(",", ":")).encode()
            self.aside.write(text)
            self.begins.append(self.begins[-1] + len(text))

    def check(self) -> None:
        """See that what is named is listed, and once.

        Raises:
            ValueError: it is not.
        """
        listed = {image.image_id for image in self.images}
        if len(listed) != len(self.images):
            raise ValueError("an image or category id twice")
        _expect_listed("image", self.places.keys() - listed)
        _expect_listed("category", self.used - self.categories.keys())

    def by_image(self) -> Iterator[tuple[_Image, list[Record]]]:
        """Images in their order, with their annotations in theirs."""
        owners, begins = np.asarray(self.owners, np.int64), np.asarray(self.begins, np.int64)
        order = np.argsort(owners, kind="stable")
        firsts = np.searchsorted(owners[order], np.arange(len(self.places) + 1))
        for image in self.images:
            place = self.places[image.image_id]
            own = order[firsts[place] : firsts[place + 1]]
            yield image, [self._annotation(*begins[row : row + 2]) for row in own]

    def _annotation(self, begin: int, end: int) -> Record:
        self.aside.seek(begin)
        record: Record = json.loads(self.aside.read(end - begin))
        return record


@contextmanager
def _told(path: str | os.PathLike[str]) -> Iterator[None]:
    """Tell of what is wrong with the file in one line."""
    try:
        yield
    except RecursionError:
        raise ManifestError(f"Expected COCO instances at {path}, got brackets nested too deeply") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ManifestError(f"Expected COCO instances at {path}, got {reason}; check the file") from None
    except OSError as error:
        raise ManifestError(f"Expected COCO instances at {path}, got: {error.strerror}; check it") from None


def _read(path: str | os.PathLike[str]) -> _Instances:
    instances = _Instances()
    with open(path, encoding="utf-8") as file:
        stream = JsonStream(file)
        for kind, entry in stream:
            instances.take(kind, entry)
    for name in _ARRAYS:
        if name not in stream.arrays:
            raise KeyError(name)
    instances.check()
    return instances


def _expect_listed(kind: str, unlisted: Collection[Any]) -> None:
    if unlisted:
        raise ValueError(f"annotations of the unlisted {kind} {min(unlisted)}")


def _samples(
    path: str | os.PathLike[str],
    instances: _Instances,
    ids: Sequence[str],
    class_ids: dict[Any, int],
    root: str,
    progress: Progress,
) -> Iterator[Sample]:
    listed = tracked(progress, "indexing", instances.by_image(), len(ids))
    for name, (image, entries) in zip(ids, listed, strict=True):
        with _told(path):
            sample = _sample(name, image, entries, class_ids, root)
        yield sample


def _sample(name: str, image: _Image, entries: Sequence[Record], class_ids: dict[Any, int], root: str) -> Sample:
    objects = [entry for entry in entries if not entry.get("iscrowd", 0)]
    return Sample(
        id=name,
        image=stored_path(root, image.file_name),
        labels=tuple(sorted({class_ids[entry["category_id"]] for entry in objects})),
        boxes=tuple(_box(entry, class_ids) for entry in objects if entry.get("bbox")),
        regions=_regions(image, entries, class_ids),
    )


def _box(entry: Record, class_ids: dict[Any, int]) -> Box:
    numbers = entry["bbox"] if isinstance(entry["bbox"], list) and len(entry["bbox"]) == 4 else [None] * 4
    x, y, width, height = map(coordinate, numbers)
    return Box(class_ids[entry["category_id"]], x, y, x + width, y + height)


def _regions(image: _Image, entries: Sequence[Record], class_ids: dict[Any, int]) -> str | None:
    """What to draw: nothing without annotations, which is all background; None where there are only boxes."""
    regions = [
        {
            "class_id": class_ids[entry["category_id"]],
            "segmentation": entry["segmentation"],
            "iscrowd": int(entry.get("iscrowd", 0)),
            "height": _size(image, "height"),
            "width": _size(image, "width"),
        }
        for entry in entries
        if entry.get("segmentation")
    ]
    return json.dumps(regions, separators=(",", ":")) if regions or not entries else None


def _size(image: _Image, name: str) -> Any:
    size = getattr(image, name)
    if size is None:
        raise KeyError(name)
    return size
