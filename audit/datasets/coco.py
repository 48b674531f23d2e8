"""COCO instances (Lin et al., ECCV 2014): one JSON of images, categories and annotations."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Any

from pycocotools.coco import COCO

from audit.datasets.folder import stored_path, unique_ids
from audit.datasets.manifest import Box, Manifest, Sample, coordinate
from audit.errors import ManifestError
from audit.progress import Progress, silent, tracked

Record = dict[str, Any]


def read_coco(
    annotations: str | os.PathLike[str], images_dir: str | os.PathLike[str], progress: Progress = silent
) -> Manifest:
    """Index a COCO instances file. Nothing is drawn: `regions` keeps the polygons and run lengths.

    Classes are the categories by ascending id, class ids their positions. Labels and boxes leave crowds out; `regions`
    is a JSON list with one {class_id, segmentation, iscrowd, height, width} an annotation that has a segmentation.
    An id is the stem of the file name, or for a stem used twice the image id.

    Args:
        annotations: the JSON file, such as instances_val2017.json.
        images_dir: the folder that file names are relative to.
        progress: told of every image.

    Raises:
        ManifestError: the file is missing, is not COCO, lacks a field, or names an image or category it does not list.
    """
    try:
        coco = _open(annotations)
        return _manifest(coco, os.path.abspath(images_dir), progress)
    except RecursionError:
        raise ManifestError(f"Expected COCO instances at {annotations}, got brackets nested too deeply") from None
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ManifestError(f"Expected COCO instances at {annotations}, got {reason}; check the file") from None
    except OSError as error:
        raise ManifestError(f"Expected COCO instances at {annotations}, got: {error.strerror}; check it") from None


def _open(path: str | os.PathLike[str]) -> COCO:
    with open(path, encoding="utf-8") as file:
        dataset = json.load(file)
    coco = COCO()
    coco.dataset = {name: dataset[name] for name in ("images", "categories", "annotations")}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    if len(coco.imgs) != len(dataset["images"]) or len(coco.cats) != len(dataset["categories"]):
        raise ValueError("an image or category id twice")
    _expect_listed("image", coco.imgToAnns.keys() - coco.imgs.keys())
    _expect_listed("category", coco.catToImgs.keys() - coco.cats.keys())
    return coco


def _expect_listed(kind: str, unlisted: Collection[int]) -> None:
    if unlisted:
        raise ValueError(f"annotations of the unlisted {kind} {min(unlisted)}")


def _manifest(coco: COCO, root: str, progress: Progress) -> Manifest:
    images: list[Record] = list(coco.imgs.values())
    category_ids = sorted(coco.cats)
    class_ids = {category: place for place, category in enumerate(category_ids)}
    stems = [PurePosixPath(image["file_name"]).stem for image in images]
    ids = unique_ids(stems, [str(image["id"]) for image in images])
    samples = (
        _sample(name, image, coco.imgToAnns.get(image["id"], ()), class_ids, root)
        for name, image in zip(ids, tracked(progress, "indexing", images), strict=True)
    )
    return Manifest.from_samples(samples, [coco.cats[category]["name"] for category in category_ids], root=root)


def _sample(name: str, image: Record, entries: Sequence[Record], class_ids: dict[int, int], root: str) -> Sample:
    objects = [entry for entry in entries if not entry.get("iscrowd", 0)]
    return Sample(
        id=name,
        image=stored_path(root, image["file_name"]),
        labels=tuple(sorted({class_ids[entry["category_id"]] for entry in objects})),
        boxes=tuple(_box(entry, class_ids) for entry in objects if entry.get("bbox")),
        regions=_regions(image, entries, class_ids),
    )


def _box(entry: Record, class_ids: dict[int, int]) -> Box:
    numbers = entry["bbox"] if isinstance(entry["bbox"], list) and len(entry["bbox"]) == 4 else [None] * 4
    x, y, width, height = map(coordinate, numbers)
    return Box(class_ids[entry["category_id"]], x, y, x + width, y + height)


def _regions(image: Record, entries: Sequence[Record], class_ids: dict[int, int]) -> str | None:
    """What to draw: nothing without annotations, which is all background; None where there are only boxes."""
    regions = [
        {
            "class_id": class_ids[entry["category_id"]],
            "segmentation": entry["segmentation"],
            "iscrowd": int(entry.get("iscrowd", 0)),
            "height": image["height"],
            "width": image["width"],
        }
        for entry in entries
        if entry.get("segmentation")
    ]
    return json.dumps(regions, separators=(",", ":")) if regions or not entries else None
