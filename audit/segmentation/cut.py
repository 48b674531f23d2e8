"""From levels to masks: one threshold, one a class, Otsu's of each mask, and a band between two for "don't know"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.segmentation.regions import otsu_level
from audit.store.layout import LEVELS

OTSU = "otsu"


@dataclass(frozen=True)
class Cut:
    """Which pixels of a label image belong to the class whose map is highest there.

    Raises:
        ValueError: a threshold outside 0..1, or a band below 0.

    Attributes:
        threshold: 0..1 for all classes; None for Otsu's, of each mask's own levels.
        by_class: class id -> threshold, where it is another.
        band: pixels that miss or pass the threshold by at most half of it are not decided. The peak is always kept.
        origin: where the thresholds come from, in words.
    """

    threshold: float | None = 0.5
    by_class: dict[int, float] = field(default_factory=dict)
    band: float = 0.0
    origin: str = "given"

    def __post_init__(self) -> None:
        for value in (*([] if self.threshold is None else [self.threshold]), *self.by_class.values()):
            if not 0 <= value <= 1:
                raise ValueError(f"Expected a threshold from 0 to 1, got {value}")
        if not 0 <= self.band <= 1:
            raise ValueError(f"Expected --band from 0 to 1, got {self.band}")

    def level(self, class_id: int, counts: NDArray[np.integer]) -> int:
        """The level from which a class's mask keeps pixels, 0..256.

        Args:
            counts: [256] pixels of the image where its map is the highest, by level.
        """
        if class_id in self.by_class:
            return _level(self.by_class[class_id])
        return otsu_level(counts) if self.threshold is None else _level(self.threshold)

    def decide(
        self, level: NDArray[np.integer], at: NDArray[np.integer]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pixels belong to the class that is highest there, and which are not decided.

        Args:
            level: [H, W] of the highest map.
            at: [H, W] the level from which its class keeps pixels.
        """
        half = round(self.band * LEVELS / 2)
        above = np.where(at < LEVELS, np.minimum(at + half, LEVELS - 1), at)
        kept = level >= above
        return kept, ~kept & (level >= at - half)

    def about(self) -> dict[str, Any]:
        """As JSON."""
        threshold = OTSU if self.threshold is None else self.threshold
        by_class = {str(class_id): value for class_id, value in self.by_class.items()}
        return {"threshold": threshold, "by_class": by_class, "band": self.band, "origin": self.origin}


def _level(threshold: float) -> int:
    """Levels from this one on are at or above a threshold.

    >>> _level(0.5), _level(1.0)
    (128, 255)
    """
    return min(int(np.ceil(threshold * LEVELS)), LEVELS - 1)
