"""A target's image, map and object at the size of a screen, checked against what the run saw."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.manifest import Manifest, Sample
from audit.datasets.objects import read_objects
from audit.datasets.reach import BELOW_ROOT, Reach
from audit.drawing.pixels import draw_contour, enlarge, overlay, resize_mask, scale_view, shrink, thumbnail, tint
from audit.errors import AuditError
from audit.images import MAX_PIXELS, View, decode_image, object_mask, read_bytes
from audit.scores.given.registry import objects_of_target
from audit.segmentation import pseudo_mask
from audit.store import Run

LONGEST = 900
"""Longer side of pictures on the sample's page, pixels."""
SHORTEST = 480
"""Images whose longer side has at most half as many pixels are enlarged."""
THUMBNAIL = (240, 320)
"""Height and width, pixels."""
CHANGED = "The image file is not the one that the run read: it has changed since. Its map is not shown."
ON_GREY = "The map is drawn on grey. If the images have moved, name their folder with --root."
GREY = 128
"""Brightness of what stands for an image that cannot be read."""

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Picture:
    """A target to look at. What could not be read is None and has a notice.

    Attributes:
        image: [H, W, 3] upright, shrunk to the screen.
        heat: [h, w] the map on its view, 1 at the peak.
        target: [H, W] pixels of the object.
        view: where the map lies, in pixels of `image`.
        notices: what is missing and why, a line each.
        on_grey: whether `image` is but a grey ground of its shape, since the file cannot be read.
        scale: pixels of `image` to a pixel of the upright image.
    """

    image: NDArray[np.uint8] | None
    heat: NDArray[np.float32] | None
    target: NDArray[np.bool_] | None
    view: View
    notices: list[str] = field(default_factory=list)
    on_grey: bool = False
    scale: float = 1.0

    def with_contour(self, picture: NDArray[np.uint8], wanted: bool = True) -> NDArray[np.uint8]:
        """A picture of this size with the object's contour, if it is wanted and known; small ones are enlarged."""
        factor = max(SHORTEST // max(picture.shape[:2]), 1)
        large = enlarge(picture, factor)
        return draw_contour(large, enlarge(self.target, factor)) if wanted and self.target is not None else large

    def overlay(self, opacity: float) -> NDArray[np.uint8] | None:
        """The map over the image."""
        if self.image is None or self.heat is None:
            return None
        return overlay(self.image, self.heat, self.view, opacity)

    def mask_at(self, threshold: float) -> NDArray[np.bool_] | None:
        """The pseudo-mask [H, W] of this target alone."""
        if self.image is None or self.heat is None:
            return None
        # Threshold 0 keeps all that was seen, also where a map is negative, as the counts do.
        least = threshold if threshold > 0 else -np.inf
        mask: NDArray[np.bool_] = (
            pseudo_mask(self.heat[None], np.zeros(1, np.int64), self.view, self.image.shape[:2], least) > 0
        )
        return mask

    def tinted(self, threshold: float) -> NDArray[np.uint8] | None:
        """The image with the pseudo-mask laid over it."""
        mask = self.mask_at(threshold)
        return None if mask is None or self.image is None else tint(self.image, mask)


def read_target(
    run: Run, sample: int, slot: int, longest: int = LONGEST, reach: Reach = BELOW_ROOT
) -> tuple[Picture, str]:
    """What there is to see of a target, and its name: its class in its sample.

    Raises:
        RunError: the run's tables are damaged.
    """
    shard = run.shards[sample // run.record["shard_size"]]
    of_sample = pc.field("sample") == sample
    row = run.read("samples", shard).filter(of_sample).to_pylist()[0]
    columns = ["sample", "slot", "class_id", "class"]
    target = run.read("targets", shard, columns).filter(of_sample & (pc.field("slot") == slot)).to_pylist()[0]
    return read_picture(run, row, slot, target["class_id"], longest, reach), f"{target['class']} in {row['id']}"


def read_picture(
    run: Run, sample: Mapping[str, Any], slot: int, class_id: int, longest: int = LONGEST, reach: Reach = BELOW_ROOT
) -> Picture:
    """Read what there is to see of a target; nothing raises.

    Args:
        sample: a row of the table `samples`, processed.
        slot, class_id: of the target.
        longest: longer side of the picture, pixels.
        reach: which files may be read.
    """
    notices: list[str] = []
    row, size = int(sample["sample"]), (int(sample["height"]), int(sample["width"]))
    entry = _attempt(notices, lambda: _entry(run, row))
    if entry is None:
        return Picture(None, None, None, _view(sample), notices)
    manifest, listed = entry
    image = _read_image(manifest, listed, sample["digest"], reach, notices)
    ground = _grey(size) if image is None else image
    if ground is None or CHANGED in notices:
        return Picture(None if ground is None else shrink(ground, longest), None, None, _view(sample), notices)
    heat = _attempt(notices, lambda: _read_map(run, row, slot))
    target = _attempt(notices, lambda: _read_object(run, (row, slot, class_id), manifest, listed, size, reach, notices))
    return replace(_shrunk(ground, heat, target, _view(sample), notices, longest), on_grey=image is None)


def thumbnail_webp(
    run: Run, sample: Mapping[str, Any], slot: int, class_id: int, reach: Reach = BELOW_ROOT
) -> tuple[bytes, list[str]]:
    """A target's overlay with the object's contour, as WebP on a ground of nothing, and what is amiss with it."""
    picture = read_picture(run, sample, slot, class_id, 2 * max(THUMBNAIL), reach)
    if picture.image is None:
        return blank_webp(), picture.notices
    small = thumbnail(picture.image, picture.heat, picture.view, picture.target, THUMBNAIL)
    return _webp_bytes(small), picture.notices


def blank_webp() -> bytes:
    """A thumbnail of nothing."""
    return _webp_bytes(np.zeros((*THUMBNAIL, 4), np.uint8))


def _webp_bytes(pixels: NDArray[np.uint8]) -> bytes:
    data = BytesIO()
    Image.fromarray(pixels).save(data, "WEBP", quality=82, method=0)
    return data.getvalue()


def jpeg_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """An image [H, W, 3] as a JPEG file."""
    data = BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=88)
    return data.getvalue()


def _attempt(notices: list[str], read: Callable[[], _Read]) -> _Read | None:
    try:
        return read()
    except AuditError as error:
        notices.append(str(error))
        return None


def _entry(run: Run, row: int) -> tuple[Manifest, Sample]:
    manifest = run.manifest(row, row + 1)
    return manifest, next(iter(manifest))


def _read_image(
    manifest: Manifest, sample: Sample, digest: str | None, reach: Reach, notices: list[str]
) -> NDArray[np.uint8] | None:
    """The image; None, with a notice, where it cannot be read."""
    try:
        data = read_bytes(reach.locate(sample.image, manifest.root), attempts=1)
        image = decode_image(data, sample.image)
    except AuditError as error:
        notices.append(f"{error}. {ON_GREY}")
        return None
    if hashlib.blake2b(data, digest_size=8).hexdigest() != digest:
        notices.append(CHANGED)
    return image


def _grey(size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """What stands for an image of this size; None for a size that no image has, as a damaged table may say."""
    height, width = size
    if min(size) < 1 or height * width > MAX_PIXELS:
        return None
    return np.full((height, width, 3), GREY, np.uint8)


def _read_object(
    run: Run,
    target: tuple[int, int, int],
    manifest: Manifest,
    sample: Sample,
    size: tuple[int, int],
    reach: Reach,
    notices: list[str],
) -> NDArray[np.bool_] | None:
    """Pixels [H, W] of a target's object, as it was scored; None where none is known.

    Args:
        target: row, slot and class.
    """
    mask = None if sample.mask is None else reach.locate(sample.mask, manifest.root)
    objects = read_objects(replace(sample, mask=mask), manifest.mask_kind, size, len(manifest.classes))
    if objects.reason is not None:
        notices.append(objects.reason)
    objects, object_id = objects_of_target(run, *target, objects, size)
    return None if objects.mask is None else object_mask(objects.mask, object_id)


def _read_map(run: Run, row: int, slot: int) -> NDArray[np.float32] | None:
    heat: NDArray[np.float32] = run.maps(row, row + 1)[0, slot].astype(np.float32)
    return heat if np.isfinite(heat).all() else None


def _view(sample: Mapping[str, Any]) -> View:
    return View(*(float(sample[name]) for name in ("x0", "y0", "x1", "y1")))


def _shrunk(
    image: NDArray[np.uint8],
    heat: NDArray[np.float32] | None,
    target: NDArray[np.bool_] | None,
    view: View,
    notices: list[str],
    longest: int,
) -> Picture:
    small = shrink(image, longest)
    height, width = small.shape[:2]
    scaled = scale_view(view, width / image.shape[1], height / image.shape[0])
    outlined = None if target is None else resize_mask(target, height, width)
    return Picture(small, heat, outlined, scaled, notices, scale=width / image.shape[1])
