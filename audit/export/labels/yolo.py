"""YOLO's segmentation labels (Ultralytics): polygons as text, one file an image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from skimage.measure import find_contours

from audit.export.labels.kind import Collection, LabelFormat, Part, as_background, image_suffix, without_image
from audit.segmentation import UNKNOWN, LabelImage
from audit.store.storage.files import write_atomically

_NEAR_INSIDE = 0.99
_LEAST_POINTS = 3


class Yolo(LabelFormat):
    """labels/train/ID.txt, links in images/train, and `data.yaml`.

    A polygon goes around each connected part, through the middles of its outermost pixels; a reader that draws these
    too gets the part back, its holes filled. How many pixels that adds is told. Unknown pixels are background.
    """

    name = "yolo"
    says = "YOLO polygons, one text an image, images as links, data.yaml; holes are filled"
    needs_disk = "links to the images"
    joined = ("data.yaml",)

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write them, and count what polygons add."""
        for image in images:
            stem = collection.stem(image)
            lines = []
            for class_id in image.class_ids:
                filled = binary_fill_holes(image.mask == class_id + 1)
                part.counts["masked"] += int((image.mask == class_id + 1).sum())
                part.counts["drawn"] += int(filled.sum())
                lines += [_row(class_id, points, image.mask.shape) for points in outlines(filled)]
            part.counts["unknown"] += int((image.mask == UNKNOWN).sum())
            part.write(f"labels/train/{stem}.txt", partial(Path.write_text, data="".join(lines)))
            part.link(f"images/train/{stem}{image_suffix(image.sample)}", image.sample)

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Write data.yaml. A double-quoted name of JSON is one of YAML too."""
        names = "".join(f"  {class_id}: {json.dumps(name)}\n" for class_id, name in enumerate(collection.classes))
        text = f"train: images/train\nval: images/train  # there is no other part\nnames:\n{names}"
        write_atomically(out / "data.yaml", lambda path: path.write_text(text, encoding="utf-8"))

    def notes(self, counts: Mapping[str, int]) -> str:
        """How far polygons are from the masks."""
        masked, added = counts.get("masked", 0), counts.get("drawn", 0) - counts.get("masked", 0)
        filled = f"; polygons fill holes of {added} pixels, {added / max(masked, 1):.2%} of the masks"
        return filled + as_background(counts) + without_image(counts)


def outlines(filled: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The outermost pixels [n, 2] (row, column) of each part without holes, in order around it, corners only.

    A part hangs together over sides and corners. The contour just inside is followed and brought to pixels.
    """
    find: Any = find_contours
    contours = find(np.pad(filled, 1).astype(np.float32), _NEAR_INSIDE, fully_connected="high")
    return [_corners(np.rint(contour).astype(np.int64) - 1) for contour in contours]


def _corners(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A closed way over pixels without repeats, and without those between two on a straight line."""
    steps = np.diff(pixels, axis=0)
    moves = pixels[:-1][steps.any(axis=1)]
    if len(moves) < _LEAST_POINTS:
        points = moves if len(moves) else pixels[:1]
        return np.resize(points, (_LEAST_POINTS, 2))
    before, after = moves - np.roll(moves, 1, axis=0), np.roll(moves, -1, axis=0) - moves
    turns = (before != after).any(axis=1)
    return moves[turns] if turns.sum() >= _LEAST_POINTS else np.resize(moves[turns], (_LEAST_POINTS, 2))


def _row(class_id: int, points: NDArray[np.int64], size: tuple[int, ...]) -> str:
    """`class x y x y ...` as shares of width and height, at the pixels' middles."""
    places = (points[:, ::-1] + 0.5) / np.array(size[::-1])
    return f"{class_id} " + " ".join(f"{value:.7g}" for value in places.ravel()) + "\n"
