"""A collection of which a part has no masks, drawn as features and truth: what a detector states, and what is so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audit.findings.detector import Share, fit_detector, target_features

CLASSES = 4


def draw(
    rng: np.random.Generator, n: int, rate: float = 0.35, telling: float = 0.95
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features and truth of targets, off the object at a rate: their heat is in the corner, as often as it tells."""
    off = rng.random(n) < rate
    corner = np.where(rng.random(n) < telling, off, rng.random(n) < 0.3)
    heat = rng.gamma(0.3, size=(n, 8, 8))
    heat[corner, 6:, 6:] += 4
    heat[~corner, 2:6, 2:6] += 1
    return target_features(heat.reshape(n, 64), rng.random(n), rng.integers(0, CLASSES, n), CLASSES), off


def hidden_precision(seed: int, masked: float, unmasked: float, telling: float = 0.95) -> tuple[Share, float] | None:
    """What a detector states, and what the masks put aside say; None where there is no detector."""
    rng = np.random.default_rng(seed)
    features, off = draw(rng, 500, masked, telling)
    others, hidden = draw(rng, 500, unmasked, telling)
    detector = fit_detector(features, off, np.arange(len(off)), others)
    if isinstance(detector, str):
        return None
    return detector.precision, float(hidden[detector.flag(others)].mean())
