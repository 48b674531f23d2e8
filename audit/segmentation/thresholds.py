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
    winner, highest = winning_class(maps, class_ids, view, size)
    mask[view.inside(*size)] = np.where(highest >= threshold, winner, 0)
    return mask


def winning_class(
    maps: NDArray[np.floating], class_ids: NDArray[np.integer], view: View, size: tuple[int, int]
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The class with the highest map, as i + 1, and that map's value: [h', w'] at the pixels inside the view.

    Args:
        maps: [K, h, w], K at least 1.
        class_ids, view, size: as of `pseudo_mask`.
    """
    heat = upsample(maps, view, *size)
    return np.asarray(class_ids, np.int16)[heat.argmax(axis=0)] + np.int16(1), heat.max(axis=0)
