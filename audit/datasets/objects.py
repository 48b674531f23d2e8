"""Which objects are a sample's: those of its mask, or else its boxes, or else those that people drew."""

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
        rests_on: `mask` or `boxes`; None where no object is known.
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
