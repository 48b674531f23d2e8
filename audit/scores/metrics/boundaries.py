"""How well outlines agree: boundary IoU (Cheng et al., CVPR 2021) and boundary F (Csurka et al., BMVC 2013)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, minimum_filter

_WIDTH = 0.02
_TOLERANCE = 0.008


def boundary_region(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels [H, W] of a mask that are within d of its outline, d = 2 % of the image's diagonal, at least a pixel.

    What is beyond the image counts as outside the mask. Distances go in squares, as Cheng et al. have them.
    """
    reach = max(round(_WIDTH * math.hypot(*mask.shape)), 1)
    inner = minimum_filter(mask.view(np.uint8), 2 * reach + 1, mode="constant", cval=0)
    region: NDArray[np.bool_] = mask & (inner == 0)
    return region


def boundary_overlap(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> tuple[int, int]:
    """Pixels that both boundary regions share, and that either has (Cheng et al. 2021, equation 4).

    Args:
        said, true: masks [H, W].
    """
    one, other = boundary_region(said), boundary_region(true)
    return int((one & other).sum()), int((one | other).sum())


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels [H, W] that differ from their neighbour to the right, below, or both ways: an outline one pixel wide.

    The image's rim is no outline (Martin, Fowlkes & Malik 2004, as DAVIS has it).
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    pixels: NDArray[np.bool_] = (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])
    return pixels


def boundary_f(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """F measure of two outlines (Perazzi et al., CVPR 2016, section 4): 2 P R / (P + R).

    P is the share of the outline said that lies within 0.8 % of the diagonal, rounded up, of the true one; R the share
    of the true one that lies so near the other. Without both outlines it is 1, with one alone 0.

    Args:
        said, true: masks [H, W].
    """
    reach = math.ceil(_TOLERANCE * math.hypot(*true.shape))
    one, other = outline(said), outline(true)
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    precision = (distance_transform_edt(~other)[one] <= reach).mean()
    recall = (distance_transform_edt(~one)[other] <= reach).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
