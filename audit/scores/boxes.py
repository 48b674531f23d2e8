"""Boxes around what a map lights: MaxBoxAcc and MaxBoxAccV2 (Choe et al., CVPR 2020), localization error.

Boxes are x0, y0, x1, y1, the last two exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from audit.images import View, upsample
from audit.scores.histograms import quantise
from audit.store.layout import LEVELS

SIDE = 224
"""Maps are looked at on so many pixels a side, as Choe et al. do: a box needs no more."""
RULE = 0.15
"""Share of the peak from which a pixel is in the box of the localization error (Selvaraju et al. 2017, section 4.1)."""
OVERLAPS = (0.3, 0.5, 0.7)
_HIT = 0.5
_TOPS = (1, 5)
_NEIGHBOURS = np.ones((3, 3), int)

Boxes = NDArray[np.float64]


def parts(mask: NDArray[np.bool_]) -> tuple[Boxes, NDArray[np.int64]]:
    """Boxes [n, 4] around each part of a mask [H, W] that hangs together over sides and corners; pixels [n] of each."""
    labelled, count = label(mask, _NEIGHBOURS)
    places = find_objects(labelled)
    boxes = np.array([(x.start, y.start, x.stop, y.stop) for y, x in places], float).reshape(-1, 4)
    return boxes, np.bincount(labelled.ravel(), minlength=count + 1)[1:]


def box_ious(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union [n, m] of boxes [n, 4] with others [m, 4]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas, other_areas = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, others))
    union = areas[:, None] + other_areas[None] - shared
    ious: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ious


def largest_part_iou(mask: NDArray[np.bool_], truth: Boxes) -> float:
    """IoU of the box around the largest part of a mask with the truth's box [m, 4] that it fits best; 0 without any."""
    boxes, sizes = parts(mask)
    return float(box_ious(boxes[[sizes.argmax()]], truth).max(initial=0)) if len(boxes) else 0.0


def ious_by_level(levels: NDArray[np.uint8], truth: Boxes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Best IoU with a box of the truth at each of the 256 thresholds: of the largest part's box, and of any part's.

    Args:
        levels: [H, W] of a map.
        truth: [m, 4] boxes of its class.

    Returns:
        Two arrays [256]; 0 where the threshold leaves nothing.
    """
    largest, best = np.zeros(LEVELS), np.zeros(LEVELS)
    for level in range(int(levels.max()), -1, -1):
        mask = levels >= level
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        top, left = rows[0], columns[0]  # labelling a part of the image costs less
        boxes, sizes = parts(mask[top : rows[-1] + 1, left : columns[-1] + 1])
        overlaps = box_ious(boxes + np.array([left, top, left, top]), truth).max(axis=1)
        largest[level], best[level] = overlaps[sizes.argmax()], overlaps.max()
    return largest, best


def tight_box(mask: NDArray[np.bool_]) -> Boxes:
    """The box [1, 4] around all pixels of a mask [H, W]; [0, 4] where there are none."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((0, 4))
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], float)


@dataclass(frozen=True)
class Lit:
    """A target whose objects have boxes.

    Attributes:
        heat: [h', w'] its map at the pixels of the view in an image of 224 x 224, 1 at the peak; None without a map.
        truth: [m, 4] boxes there, from the view's corner on.
        rank: of its class among the logits, 0 the highest.
    """

    heat: NDArray[np.float32] | None
    truth: Boxes
    rank: int

    @classmethod
    def of(cls, values: NDArray[np.floating] | None, view: View, size: tuple[int, int], truth: Boxes, rank: int) -> Lit:
        """A map [h, w] on its view of an upright image of `size` (H, W), and boxes there."""
        down, across = SIDE / size[0], SIDE / size[1]
        small = View(view.x0 * across, view.y0 * down, view.x1 * across, view.y1 * down)
        heat = None if values is None else upsample(values, small, SIDE, SIDE)
        rows, columns = small.inside(SIDE, SIDE)
        scaled = truth * [across, down, across, down]
        return cls(heat, scaled - [columns.start, rows.start, columns.start, rows.start], rank)


@dataclass
class BoxCounts:
    """Counts from which the measures of boxes follow; those of several shards are added.

    Attributes:
        targets, images: that have boxes.
        largest: [256] targets whose largest part's box hits by 0.5, by threshold.
        any_part: [3, 256] targets of which any part's box hits, by `OVERLAPS` and threshold.
        right: images named right among the first 1 and 5 with the box of the 15 % rule hitting.
    """

    targets: int = 0
    images: int = 0
    largest: NDArray[np.int64] = field(default_factory=lambda: np.zeros(LEVELS, np.int64))
    any_part: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(OVERLAPS), LEVELS), np.int64))
    right: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_TOPS), np.int64))

    def add(self, image: list[Lit]) -> None:
        """Take the targets of an image: one for each class that it is labelled with and that has boxes."""
        right = np.zeros(len(_TOPS), bool)
        for target in image:
            self.targets += 1
            if target.heat is not None:
                largest, best = ious_by_level(quantise(target.heat), target.truth)
                self.largest += largest >= _HIT
                self.any_part += best >= np.array(OVERLAPS)[:, None]
                hit = largest_part_iou(target.heat >= RULE * target.heat.max(), target.truth) >= _HIT
                right |= hit & (target.rank < np.array(_TOPS))
        self.images += bool(image)
        self.right += right

    def merge(self, other: BoxCounts) -> None:
        """Take all that another holds."""
        self.targets, self.images = self.targets + other.targets, self.images + other.images
        self.largest, self.any_part = self.largest + other.largest, self.any_part + other.any_part
        self.right = self.right + other.right

    def result(self) -> dict[str, float | int]:
        """The measures; without targets only their number.

        `max_box_acc`: share of targets hit by 0.5 at the best threshold (Choe et al. 2020, section 3.4).
        `max_box_acc_v2`: the mean over `OVERLAPS` of the same with any part's box (their extended evaluation).
        `top1_error`, `top5_error`: shares of images that are not named right with a box that hits.
        """
        if not self.targets:
            return {"targets": 0}
        v2 = (self.any_part / self.targets).max(axis=1)
        errors = {
            f"top{top}_error": 1 - float(right) / self.images for top, right in zip(_TOPS, self.right, strict=True)
        }
        accuracies = {"max_box_acc": float(self.largest.max()) / self.targets, "max_box_acc_v2": float(v2.mean())}
        best = {"max_box_acc_threshold": int(self.largest.argmax()) / LEVELS}
        return {"targets": self.targets, "images": self.images, **accuracies, **best, **errors}
