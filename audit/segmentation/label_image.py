"""One label image before any threshold: for each pixel the class whose map is highest, and that map's level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.images import View
from audit.store.layout import LEVELS


@dataclass(frozen=True)
class Ranked:
    """What is kept of an image's heat.

    Attributes:
        winner: [H, W] uint8 of the upright image, place among the image's maps of the highest one, from 1; 0 where
            none takes part, or the network saw nothing.
        level: [H, W] uint8 of that map, as map levels are counted.
    """

    winner: NDArray[np.uint8]
    level: NDArray[np.uint8]

    @classmethod
    def of(cls, heat: NDArray[np.floating], view: View, size: tuple[int, int]) -> Ranked:
        """From maps [K, h', w'] in 0..1 at the pixels inside the view; K of 0 to 255.

        Args:
            size: (height, width) of the upright image.
        """
        winner, level = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        if len(heat):
            inside = view.inside(*size)
            winner[inside] = heat.argmax(axis=0) + 1
            level[inside] = np.clip(heat.max(axis=0) * LEVELS, 0, LEVELS - 1)
        return cls(winner, level)

    @classmethod
    def read(cls, data: bytes) -> Ranked:
        """From what `packed` gave."""
        with Image.open(BytesIO(data)) as picture:
            pixels = np.asarray(picture)
        return cls(pixels[..., 0], pixels[..., 1])

    def packed(self) -> bytes:
        """As one PNG of two channels: winner and level."""
        out = BytesIO()
        Image.fromarray(np.stack([self.winner, self.level], axis=-1), "LA").save(out, "PNG", compress_level=3)
        return out.getvalue()

    def classes(self, class_ids: Sequence[int]) -> NDArray[np.int16]:
        """[H, W] the winner as i + 1 for class i, 0 for none."""
        return np.array([0, *(class_id + 1 for class_id in class_ids)], np.int16)[self.winner]
