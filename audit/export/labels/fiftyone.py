"""FiftyOne's `ImageSegmentationDirectory`: masks in one folder, images in another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.export.labels.kind import (
    PALETTE_CLASSES,
    UNKNOWN_INDEX,
    Collection,
    LabelFormat,
    Part,
    image_suffix,
    index_image,
)
from audit.images.masks import DEEP_VOID_INDEX
from audit.segmentation import UNKNOWN, LabelImage
from audit.store.storage.files import write_atomically


class FiftyOne(LabelFormat):
    """labels/ID.png, links in data, and `mask_targets.json` (value -> class), which FiftyOne asks for beside.

    A mask whose image cannot be linked is left out: FiftyOne ends at one. Of more than 254 classes the PNGs have 16
    bits, and 65535 for unknown.
    """

    name = "fiftyone"
    says = "FiftyOne's ImageSegmentationDirectory: mask PNGs, images as links, mask_targets.json"
    needs_disk = "links to the images"
    joined = ("mask_targets.json",)

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write the masks, and links to the images."""
        deep = _is_deep(collection.classes)
        for image in images:
            stem = collection.stem(image)
            if part.link(f"data/{stem}{image_suffix(image.sample)}", image.sample):
                part.write(f"labels/{stem}.png", partial(_save_grey, image.mask, deep))

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Write the names of the values."""
        unknown = DEEP_VOID_INDEX if _is_deep(collection.classes) else UNKNOWN_INDEX
        targets = {0: "background"} | dict(enumerate(collection.classes, 1)) | {unknown: "unknown"}
        write_atomically(out / "mask_targets.json", lambda path: path.write_text(json.dumps(targets, indent=1)))

    def notes(self, counts: Mapping[str, int]) -> str:
        """How many were left out."""
        missing = counts.get("without image", 0)
        return f"; {missing} of them left out, whose image is gone or behind a URL" if missing else ""


def _is_deep(classes: Sequence[str]) -> bool:
    return len(classes) > PALETTE_CLASSES


def _save_grey(mask: NDArray[np.int16], deep: bool, path: Path) -> None:
    """As grey values: of a palette FiftyOne takes the colours."""
    deeper = np.where(mask == UNKNOWN, DEEP_VOID_INDEX, mask).astype(np.uint16)
    Image.fromarray(deeper if deep else index_image(mask)).save(path, "PNG")
