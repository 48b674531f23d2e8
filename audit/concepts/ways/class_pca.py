"""Class-wise neural principal components (Neuhaus et al., ICCV 2023, "Spurious features everywhere").

With phi [D] what the layer holds of an image and w [D] the class's weights, psi = w * phi, channel by channel, sums up
to what the image adds to the class's logit. Its principal components over the class's images are v_l; what component l
adds to the logit of an image is

    alpha_l = <1, v_l> <psi - mean psi, v_l>,

and all of them together psi less its mean. The sign of v_l does not matter to it. Here phi is the mean over the cells
under the heat, and alpha_l is asked of single cells too: how much of a component is at a cell is how far alpha_l
exceeds 0 there, against the mean of the class's images. In the layer it is the direction u_l with w * u_l = v_l.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.concepts.ways.way import Factors, Held, Way

_LEAST = 1e-7
"""Share of the largest activation times the largest weight, below which images do not differ."""


@dataclass(frozen=True)
class Components(Factors):
    """Principal components of a class, the largest variance first.

    Attributes:
        mean: [D] of the images' activations under the heat.
        readings: [K, D]; a row's reading of an activation less the mean is how much of the direction is in it.
    """

    mean: NDArray[np.float64]
    readings: NDArray[np.float64]

    def amounts(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """How far each is above the mean, on the side that adds to the class."""
        return np.asarray(np.maximum((np.asarray(rows, np.float64) - self.mean) @ self.readings.T, 0))


class ClassPCA(Way):
    """Class-wise neural PCA."""

    name = "pca"
    says = "principal components of activations times the class's weights (class-wise neural PCA, Neuhaus et al. 2023)"
    weighted = True

    def most(self, held: Held) -> int:
        """In as many ways as the images differ in what the class goes by."""
        lengths = np.linalg.svd(_centred(held)[1] * _weights(held), compute_uv=False)
        return int((lengths > _LEAST * max(float(np.abs(_weights(held)).max() * np.abs(held.rows).max()), 1e-30)).sum())

    def factorise(self, held: Held, count: int, seed: int = 0) -> Components:
        """Components of the images' means; nothing is drawn, so the seed does not matter.

        Raises:
            ValueError: the images do not differ in so many ways.
        """
        self.checked(held, count)
        mean, off_mean = _centred(held)
        sides, lengths, components = np.linalg.svd(off_mean * _weights(held), full_matrices=False)
        # u_l is the same sum over images of activations as v_l is of psi, so nothing is divided by a weight.
        towards = (sides[:, :count] / lengths[:count]).T @ off_mean
        components = components[:count]
        size = np.linalg.norm(towards, axis=1, keepdims=True)
        sign = np.where(components.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
        rest = 1 - np.square(lengths[:count]).sum() / np.square(lengths).sum()
        return Components(sign * towards / size, float(rest), mean, sign * size * components * _weights(held))


def _weights(held: Held) -> NDArray[np.float64]:
    assert held.weights is not None
    return np.asarray(held.weights, np.float64)


def _centred(held: Held) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean [D] of the images' means, and those less it, [n, D]."""
    means = _means(np.asarray(held.rows, np.float64), held.image)
    mean = means.mean(axis=0)
    return mean, means - mean


def _means(rows: NDArray[np.float64], image: NDArray[np.integer]) -> NDArray[np.float64]:
    """The mean [n, D] of the rows [m, D] of each image."""
    _, place, count = np.unique(image, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), rows.shape[1]))
    np.add.at(total, place, rows)
    return np.asarray(total / count[:, None])
