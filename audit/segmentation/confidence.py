"""How far a pseudo-mask is to be trusted, from the levels of its map alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audit.store.layout import LEVELS

SWAY = 26
"""Levels by which the threshold is moved to and fro: a tenth of the scale."""


def confidence(counts: NDArray[np.integer], level: int, probability: float) -> float:
    """Confidence 0..1 of a mask: the probability of its class times its stability; 0 for a mask without pixels."""
    return float(probability) * stability(counts, level)


def stability(counts: NDArray[np.integer], level: int) -> float:
    """IoU of the masks at a threshold a tenth higher and a tenth lower (the stability score of Kirillov et al. 2023).

    Args:
        counts: [256] pixels where the class's map is the highest, by level.
        level: from which pixels are kept, 0..256.
    """
    smaller, larger = (counts[max(level + sway, 0) :].sum() for sway in (min(SWAY, LEVELS - 1 - level), -SWAY))
    return float(smaller / larger) if larger > 0 and counts[level:].sum() > 0 else 0.0
