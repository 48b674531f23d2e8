"""How well label images agree with true masks: PASCAL VOC's mean IoU, boundary IoU and boundary F, class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.scores.metrics.boundaries import boundary_f, boundary_overlap
from audit.scores.overlap import ratio


@dataclass
class Agreement:
    """Counts over images; those of several shards are added. Rows are background and the classes in turn.

    Attributes:
        both, said, true: [C + 1] pixels that both have, that the label image has, that the mask has.
        rim, rims: [C + 1] pixels that both boundary regions share, and that either has; of background none.
        f, images: [C + 1] boundary F summed over the images, and how many, in which either has the class.
    """

    both: NDArray[np.int64]
    said: NDArray[np.int64]
    true: NDArray[np.int64]
    rim: NDArray[np.int64]
    rims: NDArray[np.int64]
    f: NDArray[np.float64]
    images: NDArray[np.int64]

    @classmethod
    def none(cls, classes: int) -> Agreement:
        """No image yet."""
        both, said, true, rim, rims, images = np.zeros((6, classes + 1), np.int64)
        return cls(both, said, true, rim, rims, np.zeros(classes + 1), images)

    def add(self, said: NDArray[np.int16], true: NDArray[np.int16]) -> None:
        """Take an image.

        Args:
            said: [H, W] 0 background, i + 1 class i, -1 unknown: missed, and claimed by none.
            true: [H, W] the same, -1 void: in neither.
        """
        valid, rows = true >= 0, len(self.true)
        said = np.where(valid, said, -1)
        for counts, values in ((self.both, said[said == true]), (self.said, said), (self.true, true)):
            counts += np.bincount(values[values >= 0], minlength=rows)
        for row in np.union1d(said[said > 0], true[true > 0]):
            masks = said == row, true == row
            rim, rims = boundary_overlap(*masks)
            self.rim[row], self.rims[row] = self.rim[row] + rim, self.rims[row] + rims
            self.f[row], self.images[row] = self.f[row] + boundary_f(*masks), self.images[row] + 1

    def merge(self, other: Agreement) -> None:
        """Take all that another holds."""
        for name in ("both", "said", "true", "rim", "rims", "f", "images"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def result(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """The means over what occurs, and a row for background and each class; None where a class never occurs.

        IoU and boundary IoU are of pixels pooled over all images, boundary F is a mean over images. Background has IoU
        alone.
        """
        columns = {
            "iou": ratio(self.both, self.said + self.true - self.both),
            "boundary_iou": ratio(self.rim, self.rims),
            "boundary_f": ratio(self.f, self.images),
        }
        means = {f"mean_{name}": _mean(values) for name, values in columns.items()}
        names = ("background", *classes)
        rows = [
            {"class": name, **{key: _number(values[row]) for key, values in columns.items()}, "images": int(images)}
            for row, (name, images) in enumerate(zip(names, self.images, strict=True))
        ]
        return {**means, "classes": rows}


def _mean(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
