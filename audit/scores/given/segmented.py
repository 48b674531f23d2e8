"""The regions that a network gave for a sample: the object that each target of such a network brings along."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.objects import OwnObject
from audit.errors import RunError
from audit.images import View
from audit.store import Run

REGION = "region"


@dataclass(frozen=True)
class Segmented:
    """Regions of a sample.

    Attributes:
        labels: [h, w] class id at each place of the network's output; -1 where there is none.
        view: what the network saw of the image.
        size: (height, width) of the upright image.
    """

    labels: NDArray[np.int32]
    view: View
    size: tuple[int, int]

    @classmethod
    def of(cls, png: bytes, view: View, size: tuple[int, int]) -> Segmented:
        """From what the table `segmentations` keeps."""
        with Image.open(io.BytesIO(png)) as image:
            return cls(np.asarray(image, np.int32) - 1, view, size)

    def png(self) -> bytes:
        """What the table `segmentations` keeps: a grey image of 16 bits, class i as i + 1."""
        buffer = io.BytesIO()
        Image.fromarray((self.labels + 1).astype(np.uint16)).save(buffer, format="png")
        return buffer.getvalue()

    @cached_property
    def upright(self) -> NDArray[np.int32]:
        """[H, W] class id of each upright pixel, that of the place which its centre lies in; -1 beyond the view."""
        h, w = self.labels.shape
        y, x = (np.arange(length) + 0.5 for length in self.size)
        rows = np.floor((y - self.view.y0) / (self.view.y1 - self.view.y0) * h).astype(int)
        columns = np.floor((x - self.view.x0) / (self.view.x1 - self.view.x0) * w).astype(int)
        seen = ((rows >= 0) & (rows < h))[:, None] & (columns >= 0) & (columns < w)
        return np.where(seen, self.labels[np.ix_(rows.clip(0, h - 1), columns.clip(0, w - 1))], -1)

    def own(self, class_ids: Sequence[int]) -> list[OwnObject]:
        """What targets of these classes bring along: their regions.

        What the truth shows of the class beyond is no other object: the region was meant for it.
        """
        height, width = self.size
        everywhere = (0.0, 0.0, float(width), float(height))
        return [OwnObject(REGION, self.upright == class_id, everywhere) for class_id in class_ids]


def regions_of(run: Run, row: int) -> Segmented | None:
    """The regions of a sample; None in a run of another network.

    Args:
        row: of the sample in the manifest.

    Raises:
        RunError: the table is damaged, or has no such sample.
    """
    shard = run.shards[row // run.record["shard_size"]]
    if run.part("segmentations", shard) is None:
        return None
    kept = run.read("segmentations", shard).filter(pc.field("sample") == row).to_pylist()
    if not kept:
        raise RunError(f"Expected the regions of sample {row} of {run.path}, found none; audit again")
    names = ["sample", "height", "width", "x0", "y0", "x1", "y1"]
    (seen,) = run.read("samples", shard, names).filter(pc.field("sample") == row).to_pylist()
    view = View(*(seen[name] for name in ("x0", "y0", "x1", "y1")))
    return Segmented.of(kept[0]["labels"], view, (seen["height"], seen["width"]))
