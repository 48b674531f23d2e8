"""Pseudo-masks: maps upsampled onto the upright image and thresholded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audit.images import View, upsample


def pseudo_mask(
    maps: NDArray[np.floating], class_ids: NDArray[np.integer], view: View, size: tuple[int, int], threshold: float
) -> NDArray[np.int16]:
    """The class with the highest map where that is at least `threshold`, else background.

    Args:
        maps: [K, h, w], each 1 at its peak; a map without evidence is left out by the caller.
        class_ids: [K].
        view: where the maps lie; pixels it does not reach are background.
        size: (height, width) of the upright image.
        threshold: 0..1.

    Returns:
        [H, W] 0 background, i + 1 class i.
    """
    mask = np.zeros(size, np.int16)
    if not len(maps):
        return mask
    heat = upsample(maps, view, *size)
    winner = np.asarray(class_ids, np.int16)[heat.argmax(axis=0)] + np.int16(1)
    mask[view.inside(*size)] = np.where(heat.max(axis=0) >= threshold, winner, 0)
    return mask
