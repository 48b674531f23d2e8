"""COCO (Lin et al., ECCV 2014): masks as run lengths. And panoptic (Kirillov et al., CVPR 2019): PNGs of ids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pycocotools.mask
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label

from audit.export.labels.kind import Collection, LabelFormat, Part
from audit.export.labels.runs import coco_rle
from audit.images.masks import voc_palette
from audit.segmentation import LabelImage
from audit.store.storage.files import write_atomically

_NEIGHBOURS = np.ones((3, 3), int)


class Coco(LabelFormat):
    """`instances.json`, as `pycocotools.coco.COCO` reads it, and `results.json` for `loadRes`, scored by confidence.

    An annotation is all of a class in an image: pseudo-masks do not tell objects apart. Unknown pixels are in none.
    Ids of images are rows of the manifest plus 1, of categories class ids plus 1.
    """

    name = "coco"
    says = "COCO instances, each class of an image as one, and results with confidence as score"
    joined = ("instances.json", "results.json")
    suffix = ".jsonl"

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write a line for each image, with its annotations."""
        lines = (json.dumps(self._described(image, collection)) + "\n" for image in images)
        part.write(part.payload(self.suffix), partial(_write_lines, lines))

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Write both files, annotations numbered from 1: pycocotools takes an id of 0 for none."""
        head = {"info": {"description": "pseudo-masks"}, "licenses": [], "categories": categories(collection.classes)}
        lists = {"images": _images(payloads), "annotations": enumerated(_annotations(payloads))}
        write_atomically(out / "instances.json", partial(write_streamed, head, lists))
        write_atomically(out / "results.json", partial(_write_list, map(_result, _annotations(payloads))))

    def _described(self, image: LabelImage, collection: Collection) -> dict[str, Any]:
        annotations = [
            _annotation(image, class_id, mask)
            for class_id in image.class_ids
            for mask in self._masks(image.mask == class_id + 1)
        ]
        return {"image": image_record(image, collection), "annotations": annotations}

    def _masks(self, mask: NDArray[np.bool_]) -> Iterable[NDArray[np.bool_]]:
        return [mask]


class CocoComponents(Coco):
    """The same with an annotation for each part of a class that hangs together, also over corners."""

    name = "coco-components"
    says = "COCO instances, each connected part as one, and results with confidence as score"

    def _masks(self, mask: NDArray[np.bool_]) -> Iterable[NDArray[np.bool_]]:
        parts, count = label(mask, _NEIGHBOURS)
        return (parts == part for part in range(1, count + 1))


class CocoPanoptic(LabelFormat):
    """`panoptic.json` and PNGs whose pixels are ids of segments, R + 256 G + 65536 B.

    A segment is all of a class in an image, its id that of the category. Background is a category of its own, after
    the classes; what is unknown is 0, COCO's void.
    """

    name = "coco-panoptic"
    says = "COCO panoptic: PNGs of ids, background as a category, unknown pixels void"
    joined = ("panoptic.json",)
    suffix = ".jsonl"

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write panoptic/ID.png of each, and a line with its segments."""
        lines = []
        for image in images:
            name = f"{collection.stem(image)}.png"
            ids = np.where(image.mask == 0, len(collection.classes) + 1, np.maximum(image.mask, 0)).astype(np.uint32)
            part.write(f"panoptic/{name}", partial(_save_ids, ids))
            segments = {"image_id": image.row + 1, "file_name": name, "segments_info": _segments(ids)}
            lines.append(json.dumps({"image": image_record(image, collection), "annotations": [segments]}) + "\n")
        part.write(part.payload(self.suffix), partial(_write_lines, lines))

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Write the JSON."""
        colours = voc_palette()[np.arange(1, len(collection.classes) + 2) % 256].tolist()
        background = {"id": len(collection.classes) + 1, "name": "background", "supercategory": ""}
        things = [{**category, "isthing": 1} for category in categories(collection.classes)]
        kinds = [*things, {**background, "isthing": 0}]
        coloured = [{**kind, "color": colour} for kind, colour in zip(kinds, colours, strict=True)]
        head = {"info": {"description": "pseudo-masks"}, "licenses": [], "categories": coloured}
        lists = {"images": _images(payloads), "annotations": _annotations(payloads)}
        write_atomically(out / "panoptic.json", partial(write_streamed, head, lists))


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO's, in the order of the classes."""
    return [{"id": place, "name": name, "supercategory": ""} for place, name in enumerate(classes, 1)]


def image_record(image: LabelImage, collection: Collection) -> dict[str, Any]:
    """COCO's record of an image."""
    height, width = image.mask.shape
    name = collection.image_name(image.sample)
    return {"id": image.row + 1, "file_name": name, "height": height, "width": width, "sample": image.sample.id}


def _annotation(image: LabelImage, class_id: int, mask: NDArray[np.bool_]) -> dict[str, Any]:
    runs = coco_rle(mask)
    return {
        "image_id": image.row + 1,
        "category_id": class_id + 1,
        "segmentation": runs,
        "area": int(mask.sum()),
        "bbox": pycocotools.mask.toBbox(runs).tolist(),
        "iscrowd": 0,
        "confidence": image.confidence[class_id],
    }


def _result(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Without a box: `loadRes` would take it for a result of boxes."""
    kept = {name: annotation[name] for name in ("image_id", "category_id", "segmentation")}
    return {**kept, "score": annotation["confidence"]}


def _segments(ids: NDArray[np.uint32]) -> list[dict[str, Any]]:
    segments = []
    for value in map(int, np.unique(ids)):
        if value:
            mask = ids == value
            box = pycocotools.mask.toBbox(coco_rle(mask)).astype(int).tolist()
            facts = {"area": int(mask.sum()), "bbox": box, "iscrowd": 0}
            segments.append({"id": value, "category_id": value, **facts})
    return segments


def _save_ids(ids: NDArray[np.uint32], path: Path) -> None:
    channels = np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1)
    Image.fromarray(channels.astype(np.uint8)).save(path, "PNG")


def read_lines(payloads: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The records of files with a JSON object a line, one at a time."""
    for payload in payloads:
        with payload.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _images(payloads: Sequence[Path]) -> Iterator[dict[str, Any]]:
    return (line["image"] for line in read_lines(payloads))


def _annotations(payloads: Sequence[Path]) -> Iterator[dict[str, Any]]:
    return (annotation for line in read_lines(payloads) for annotation in line["annotations"])


def enumerated(annotations: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Annotations with ids from 1."""
    return ({"id": place, **annotation} for place, annotation in enumerate(annotations, 1))


def write_streamed(head: Mapping[str, Any], lists: Mapping[str, Iterator[Any]], path: Path) -> None:
    """Write a JSON object with long lists, one item at a time."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1])
        for name, items in lists.items():
            file.write(f',\n"{name}": ')
            _write_items(items, file)
        file.write("}\n")


def _write_list(items: Iterator[Any], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        _write_items(items, file)


def _write_items(items: Iterator[Any], file: TextIO) -> None:
    separator = "[\n"
    for item in items:
        file.write(separator + json.dumps(item))
        separator = ",\n"
    file.write("\n]" if separator != "[\n" else "[]")


def _write_lines(lines: Iterable[str], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines)
