"""Which objects are a sample's: those of its mask, or else its boxes, or else those that people drew.

A target may bring an object of its own: a detection its box, a region that was segmented its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.errors import MaskError, TransientError
from audit.images import draw_boxes, read_mask


@dataclass(frozen=True)
class Objects:
    """What is known of a sample's objects.

    Attributes:
        mask: int16 [H, W] of the upright image, as `audit.images.masks.read_mask` gives it; None where no object is
            known.
        rests_on: `mask` or `boxes`, or what a target's own object is; None where no object is known.
        reason: why a mask that is there, or boxes, cannot be used.
        transient: whether it may be read later.
        only: classes whose objects are known, where people drew around these alone; None where all are.
    """

    mask: NDArray[np.int16] | None = None
    rests_on: str | None = None
    reason: str | None = None
    transient: bool = False
    only: frozenset[int] | None = None

    def cover(self, class_ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """[k] whether the objects of classes [k] are known."""
        known = np.ones(len(class_ids), bool) if self.only is None else np.isin(class_ids, list(self.only))
        return known & (self.mask is not None)


Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1 in upright pixels, the last two exclusive."""


@dataclass(frozen=True)
class OwnObject:
    """An object that a target brings along.

    Attributes:
        rests_on: `detection` or `region`.
        place: a box, or pixels [H, W] of the upright image.
        meant: box of the object of its class that it is meant for: what lies beyond of that is no other object.
    """

    rests_on: str
    place: Corners | NDArray[np.bool_]
    meant: Corners | None = None

    def pixels(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """[H, W] those of the object; of a box one at least, where it lies in the image."""
        return self.place if isinstance(self.place, np.ndarray) else _inside(self.place, size)

    def among(self, others: Objects, class_id: int, size: tuple[int, int]) -> tuple[Objects, int]:
        """The object among others of the image, one more class than these have, and the id of that class.

        So another object of the target's own class is another one.
        """
        mask = np.zeros(size, np.int16) if others.mask is None else others.mask.copy()
        if self.meant is not None:
            mask[_inside(self.meant, size) & (mask == class_id + 1)] = 0
        own = max(int(mask.max(initial=0)), class_id + 1)
        mask[self.pixels(size)] = own + 1
        return Objects(mask, self.rests_on), own


def _inside(box: Corners, size: tuple[int, int]) -> NDArray[np.bool_]:
    pixels = np.zeros(size, bool)
    (top, bottom), (left, right) = (
        (min(max(round(low), 0), length - 1), min(round(high), length))
        for low, high, length in ((box[1], box[3], size[0]), (box[0], box[2], size[1]))
    )
    pixels[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return pixels


def has_objects(sample: Sample) -> bool:
    """Whether a sample comes with a mask, regions or boxes; the mask may still turn out to be damaged."""
    return _has_mask(sample) or bool(sample.boxes) or bool(sample.drawn)


def read_objects(sample: Sample, mask_kind: str, size: tuple[int, int], class_count: int) -> Objects:
    """A sample's objects. Boxes count where there is no mask to read; what cannot be read or drawn has its reason.

    Args:
        mask_kind: one of `audit.datasets.manifest.MASK_KINDS`.
        size: (height, width) of the upright image in pixels.
        class_count: number of known classes.
    """
    if not has_objects(sample):
        return Objects()
    try:
        if not _has_mask(sample):
            only = None if sample.boxes else frozenset(box.class_id for box in sample.drawn)
            return Objects(_draw_boxes(sample, size, class_count), "boxes", only=only)
        return Objects(read_mask(sample, mask_kind, size, class_count), "mask")
    except TransientError as error:
        return Objects(reason=str(error), transient=True)
    except MaskError as error:
        return Objects(reason=str(error))


def _draw_boxes(sample: Sample, size: tuple[int, int], class_count: int) -> NDArray[np.int16]:
    try:
        return draw_boxes(sample.boxes or sample.drawn, size, class_count)
    except MaskError as error:
        raise MaskError(f"Boxes of sample {sample.id!r}: {error}") from None


def _has_mask(sample: Sample) -> bool:
    return sample.mask is not None or sample.regions is not None
