"""Label images over the images they are of, each class in its PASCAL VOC colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from audit.images.masks import voc_palette
from audit.segmentation.label_image import Ranked
from audit.store import Run
from audit.store.label_store import LabelStore
from audit.store.layout import LEVELS

DIMMED = 0.5
"""Brightness left to the background."""


@dataclass(frozen=True)
class Drawable:
    """A sample's label image without a threshold, to be drawn at any.

    Attributes:
        ranked: of the upright image.
        class_ids: of its maps, as `Ranked.winner` counts them.
        reason: why there is none; then the others are None.
    """

    ranked: Ranked | None
    class_ids: tuple[int, ...] = ()
    reason: str = ""

    def mask_at(self, threshold: float, size: tuple[int, int]) -> NDArray[np.int16] | None:
        """[h, w] 0 background, i + 1 class i, at a smaller size (height, width); None where there is no label image."""
        if self.ranked is None:
            return None
        kept = self.ranked.level >= threshold * LEVELS
        mask = np.where(kept, self.ranked.classes(self.class_ids), 0).astype(np.int32)
        return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST), np.int16)


def read_label(run: Run, name: str, sample: int) -> Drawable:
    """A sample's label image of a label set.

    Raises:
        RunError: the label set is damaged.
    """
    store, shard = LabelStore.open(run, name), run.shards[sample // run.record["shard_size"]]
    if store.entry(shard) is None:
        return Drawable(None, reason="not made yet; go on with `camaudit labels`")
    (row,) = store.read("images", shard).filter(pc.field("sample") == sample).to_pylist()
    if row["status"] != "processed":
        return Drawable(None, reason=row["reason"])
    return Drawable(Ranked.read(row["pixels"]), tuple(row["class_ids"]))


def draw_masks(image: NDArray[np.uint8], mask: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The image [H, W, 3] with each class of a mask [H, W] half in its colour, and the background dimmed.

    Beyond 255 classes colours repeat; a class is never black.
    """
    colours = voc_palette()[np.where(mask > 0, (mask - 1) % 255 + 1, 0)]
    shown = np.where((mask > 0)[..., None], 0.5 * image + 0.5 * colours, DIMMED * image)
    return np.rint(shown).astype(np.uint8)
