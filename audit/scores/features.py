"""What a part of a map comes from: the class's relevance there by channel, small enough to keep for every target.

SpRAy (Lapuschkin et al., Nature Communications 2019) clusters where the heat lies; its relevance by channel says what
is there, wherever it lies. A map is the sum of w^k A^k over the layer's channels, w^k the method's weight of the
channel for the class. So the heat of a part of it is the sum of r_k = sum_ij s_ij w_ij^k A_ij^k, s the share of each
position that belongs to the part. For a linear head that is what the part adds to the class's logit, channel by
channel. The activation alone would tell what else is there too: the background that the class does not go by. And
weighted with the heat, r would tell of the hottest position alone.

For Grad-CAM w is alpha_k^c; where a method asks for no class (Eigen-CAM) it is 1, and r the activation. More than 128
channels are carried to 128 numbers by one fixed Gaussian projection, which keeps angles up to about 0.1 (Johnson and
Lindenstrauss 1984).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WIDTH = 128


def relevance_by_channel(
    part: NDArray[np.floating], weights: NDArray[np.floating], activation: NDArray[np.floating]
) -> NDArray[np.floating]:
    """The class's relevance in a part of each map, [K, C].

    Args:
        part: [K, h, w] share of each position that belongs to it.
        weights: [K, C, h, w], or [K, C, 1, 1] where they are the same at all positions.
        activation: [C, h, w].
    """
    if weights.shape[2:] == (1, 1):  # one matrix product, and nothing of the size of weights at each position
        there: NDArray[np.floating] = part.reshape(len(part), -1) @ activation.reshape(len(activation), -1).T
        return there * weights[:, :, 0, 0]
    return np.asarray(np.einsum("khw,kchw,chw->kc", part, weights, activation))


def features_of(relevance: NDArray[np.floating]) -> list[NDArray[np.float32] | None]:
    """Relevance [K, C] as K vectors of min(C, 128) numbers, at unit length; None where it is 0 or not finite."""
    channels = relevance.shape[1]
    kept = relevance if channels <= WIDTH else relevance @ _projection(channels)
    lengths = np.linalg.norm(kept, axis=1)
    return [
        (row / length).astype(np.float32) if np.isfinite(length) and length > 0 else None
        for row, length in zip(kept, lengths, strict=True)
    ]


@lru_cache(maxsize=4)
def _projection(channels: int) -> NDArray[np.float32]:
    return np.random.default_rng(channels).standard_normal((channels, WIDTH), np.float32)
