"""Principal components of vectors that come in parts: their moments are added up, the vectors need not be kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 16
"""Components kept at most."""
SHARE = 0.95
"""Share of the variance that is enough."""


@dataclass(frozen=True)
class Components:
    """A projection onto principal components.

    Attributes:
        mean: [D] float64.
        axes: [d, D] float64, orthonormal, most variance first; each one's largest entry is positive.
        variance: [d] along each axis, n - 1 in the denominator.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variance: NDArray[np.float64]

    def project(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors [n, D] as components [n, d]."""
        return ((vectors - self.mean) @ self.axes.T).astype(np.float32)


class Moments:
    """Count, mean and scatter of vectors, exact however they are divided into parts (Chan et al. 1983, eq. 2.1)."""

    def __init__(self, length: int) -> None:
        self.count = 0
        self.mean = np.zeros(length)
        self._scatter = np.zeros((length, length))

    def add(self, vectors: NDArray[np.floating]) -> None:
        """Take in vectors [n, D]."""
        if not len(vectors):
            return
        part = np.asarray(vectors, np.float64)
        middle = part.mean(axis=0)
        spread = part - middle
        step = middle - self.mean
        total = self.count + len(part)
        self._scatter += spread.T @ spread + np.outer(step, step) * (self.count * len(part) / total)
        self.mean = self.mean + step * (len(part) / total)
        self.count = total

    def covariance(self) -> NDArray[np.float64]:
        """[D, D], n - 1 in the denominator; zero while there are fewer than two vectors."""
        return self._scatter / max(self.count - 1, 1)

    def components(self, most: int = MOST, share: float = SHARE) -> Components:
        """The fewest components that hold `share` of the variance, `most` of them at most and one at least."""
        variance, axes = np.linalg.eigh(self.covariance())
        variance, axes = variance[::-1].clip(min=0), axes.T[::-1]
        held = np.cumsum(variance) / (variance.sum() or 1.0)
        kept = min(int(np.searchsorted(held, share)) + 1, most, len(variance))
        axes, variance = axes[:kept], variance[:kept]
        # An axis may point either way: its sign is fixed, so that a run repeats.
        signs = np.sign(axes[np.arange(kept), np.abs(axes).argmax(axis=1)])
        return Components(self.mean.copy(), axes * signs[:, None], variance)


def unit_length(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors [n, D] divided by their length: what they hold counts, not how strong it is. Zeros stay zeros."""
    wide = np.asarray(vectors, np.float32)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(length > 0, length, 1))
