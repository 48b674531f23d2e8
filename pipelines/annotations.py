"""What is known of the objects of a sample: its mask, or else its boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.errors import MaskError, TransientError
from audit.masks import draw_boxes, read_mask


@dataclass(frozen=True)
class Annotation:
    """Objects of a sample.

    Attributes:
        mask: int16 [H, W] of the upright image, as `audit.masks.read_mask` gives it; None where no object is known.
        rests_on: `mask` or `boxes`; None where no object is known.
        reason: why a mask that is there cannot be used.
        transient: whether it may be read later.
    """

    mask: NDArray[np.int16] | None = None
    rests_on: str | None = None
    reason: str | None = None
    transient: bool = False


def read_annotation(sample: Sample, mask_kind: str, size: tuple[int, int], class_count: int) -> Annotation:
    """A sample's objects; `size` is that of the upright image. Boxes count where there is no mask to read."""
    if sample.mask is None and sample.regions is None:
        if not sample.boxes:
            return Annotation()
        return Annotation(draw_boxes(sample.boxes, size), "boxes")
    try:
        return Annotation(read_mask(sample, mask_kind, size, class_count), "mask")
    except TransientError as error:
        return Annotation(reason=str(error), transient=True)
    except MaskError as error:
        return Annotation(reason=str(error))
