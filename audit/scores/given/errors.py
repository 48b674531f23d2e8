"""What is wrong with a detection, by the boxes that are there: the kinds of TIDE (Bolya et al., ECCV 2020, section 2).

A detection is right if it is the first, by falling score, on an object of its class with an IoU of 0.5 or more, as in
COCO's matching. Else, in this order, for more than one may fit:

- `misplaced` (Loc): of an object of its class, with an IoU from 0.1 to 0.5;
- `confused` (Cls): on an object of another class, by 0.5 or more;
- `duplicate` (Dupe): on an object of its class that a surer one has;
- `background` (Bkg): on no object, by 0.1 at most;
- `both` (Both): of an object of another class, with an IoU from 0.1 to 0.5.

An object is missed (Miss) that no detection is right about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.datasets.objects import Objects
from audit.images.masks import box_fault, object_mask
from audit.scores.boxes import Boxes, box_ious, parts

ERRORS = ("right", "confused", "misplaced", "both", "duplicate", "background")
MISSED = "missed"
HIT, NEAR = 0.5, 0.1
"""IoU from which a box is on an object, and from which it is of one."""


@dataclass(frozen=True)
class Truths:
    """The objects of an image.

    Attributes:
        class_ids: [m].
        boxes: [m, 4] in upright pixels.
    """

    class_ids: NDArray[np.int64]
    boxes: Boxes


class Judged(NamedTuple):
    """What is said of detections [n] beside objects [m].

    Attributes:
        errors: [n] one of `ERRORS`.
        truth: [n] place of the object that this rests on; -1 of `background`.
        ious: [n] with that object, 0 without.
        missed: [m] bool.
    """

    errors: NDArray[np.object_]
    truth: NDArray[np.int64]
    ious: NDArray[np.float64]
    missed: NDArray[np.bool_]


def judge_boxes(boxes: Boxes, class_ids: NDArray[np.integer], truths: Truths) -> Judged:
    """Say what is wrong with detections [n] of an image, by falling score."""
    ious = box_ious(boxes, truths.boxes)
    same = class_ids[:, None] == truths.class_ids[None]
    taken = np.zeros(len(truths.class_ids), bool)
    errors: NDArray[np.object_] = np.full(len(boxes), "background", object)
    truth: NDArray[np.int64] = np.full(len(boxes), -1)
    for place, own in enumerate(ious * same):
        free = np.where(taken, 0, own)
        if free.max(initial=0) >= HIT:
            errors[place], truth[place] = "right", free.argmax()
            taken[free.argmax()] = True
    for place in np.flatnonzero(truth < 0).tolist():
        own, other = ious[place] * same[place], ious[place] * ~same[place]
        errors[place], truth[place] = _error(own, other)
    best = np.where(truth < 0, 0, np.take_along_axis(_padded(ious), truth[:, None].clip(0), axis=1)[:, 0])
    return Judged(errors, truth, best, ~taken)


def _error(own: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[str, int]:
    """Of a box that is not right: with objects of its class, and of others; 0 where an object is not of these."""
    nearest, strange = own.max(initial=0), other.max(initial=0)
    if NEAR <= nearest < HIT:
        return "misplaced", int(own.argmax())
    if strange >= HIT:
        return "confused", int(other.argmax())
    if nearest >= HIT:
        return "duplicate", int(own.argmax())
    return ("both", int(other.argmax())) if strange > NEAR else ("background", -1)


def _padded(ious: NDArray[np.float64]) -> NDArray[np.float64]:
    return ious if ious.shape[1] else np.zeros((len(ious), 1))


def true_objects(sample: Sample, objects: Objects, class_count: int) -> Truths | None:
    """The boxes that the manifest lists, else one around each part of a mask that hangs together.

    None where nothing is known of the objects, or of some classes only.
    """
    usable = [box for box in sample.boxes if box_fault(box, class_count) is None]
    if usable:
        corners = np.array([(box.x0, box.y0, box.x1, box.y1) for box in usable], float)
        return Truths(np.array([box.class_id for box in usable], np.int64), corners)
    if objects.mask is None or objects.only is not None:
        return None
    present = [value for value in np.unique(objects.mask).tolist() if value > 0]
    around = [parts(object_mask(objects.mask, value - 1))[0] for value in present]
    class_ids = np.repeat(np.array(present, np.int64) - 1, [len(boxes) for boxes in around])
    return Truths(class_ids, np.concatenate([np.zeros((0, 4)), *around]))
