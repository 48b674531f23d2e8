"""What lies under a part of a map: the layer's activation there, small enough to keep for every target.

SpRAy (Lapuschkin et al., Nature Communications 2019) clusters where the heat lies; the activation under it says what is
there, wherever it lies. More than 128 channels are carried to 128 numbers by one fixed Gaussian projection, which keeps
angles up to about 0.1 (Johnson and Lindenstrauss 1984).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WIDTH = 128


def activation_under(
    activation: NDArray[np.floating], weights: NDArray[np.floating]
) -> list[NDArray[np.float32] | None]:
    """Mean activation [C, h, w] under each of the weights [K, h, w], not negative, at unit length.

    Returns:
        K vectors of min(C, 128) numbers; None where the weights, or the activation under them, are 0 or not finite.
    """
    channels = len(activation)
    sums = weights.reshape(len(weights), -1) @ activation.reshape(channels, -1).T
    kept = sums if channels <= WIDTH else sums @ _projection(channels)
    lengths = np.linalg.norm(kept, axis=1)
    return [
        (row / length).astype(np.float32) if np.isfinite(length) and length > 0 else None
        for row, length in zip(kept, lengths, strict=True)
    ]


@lru_cache(maxsize=4)
def _projection(channels: int) -> NDArray[np.float32]:
    return np.random.default_rng(channels).standard_normal((channels, WIDTH), np.float32)
