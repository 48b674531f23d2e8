"""Concepts: the few directions of a layer that the activations under a class's heat are sums of.

The activation at each cell under the heat is a vector of as many numbers as the layer has channels. Non-negative matrix
factorisation writes all of them as A = U W: W [K, channels] the concepts, U how much of each is in each cell, nothing
negative (Lee & Seung, Nature 1999; of a class's activations, CRAFT: Fel et al., CVPR 2023). Parts that only add up are
what people can look at one by one.

Factorisations have no single answer. So each is made anew from a random part of the images: a concept that comes back
whichever part it is, by the cosine of its direction, is one of the class and not of the draw.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ITERATIONS = 400
SEEDS = 5
"""Factorisations that are compared."""
DRAWN = 0.8
"""Share of the images that each is made from."""
ALIKE = 0.9
"""Cosine from which two directions are the same concept."""


@dataclass(frozen=True)
class Factors:
    """Concepts of some activations.

    Attributes:
        directions: [K, D] at unit length.
        error: share of the activations' square that is not accounted for.
    """

    directions: NDArray[np.float64]
    error: float

    def amounts(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """How much of each concept is in activations [n, D], [n, K]: the non-negative least squares."""
        return _amounts(np.asarray(rows, np.float64), self.directions)


def split_signs(activation: NDArray[np.floating]) -> NDArray[np.floating]:
    """Activations [..., D] that may be negative as what is above and what is below 0, [..., 2 D]; else as they are.

    >>> split_signs(np.array([[1.0, -2.0]])).tolist()
    [[1.0, 0.0, 0.0, 2.0]]
    """
    if (activation >= 0).all():
        return activation
    return np.concatenate([np.maximum(activation, 0), np.maximum(-activation, 0)], axis=-1)


def joined_signs(parts: NDArray[np.floating], channels: int) -> NDArray[np.floating]:
    """What `split_signs` took apart, [..., channels]."""
    return parts if parts.shape[-1] == channels else parts[..., :channels] - parts[..., channels:]


def factorise(rows: NDArray[np.floating], count: int, seed: int = 0) -> Factors:
    """Non-negative factors of activations [n, D].

    Raises:
        ValueError: there are fewer activations, or channels, than concepts asked for; or some are negative.
    """
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    if not 1 <= count <= min(rows.shape):
        raise ValueError(f"Expected 1 to {min(rows.shape)} concepts of {len(rows)} activations, got {count}")
    if (rows < 0).any():
        raise ValueError("Expected activations that are not negative")
    # Begun from the singular vectors, what is 0 there filled with small random numbers.
    model = NMF(count, init="nndsvdar", random_state=seed, max_iter=_ITERATIONS, tol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        amounts = model.fit_transform(np.asarray(rows, np.float64))
    rest = np.square(rows - amounts @ model.components_).sum() / max(float(np.square(rows).sum()), 1e-30)
    lengths = np.linalg.norm(model.components_, axis=1, keepdims=True)
    return Factors(model.components_ / np.maximum(lengths, 1e-30), float(rest))


def part_of_images(image: NDArray[np.integer], seed: int) -> NDArray[np.bool_]:
    """Which rows belong to a random `DRAWN` share of the images that rows [n] are of."""
    images = np.unique(image)
    kept = np.random.default_rng(seed).permutation(images)[: max(round(DRAWN * len(images)), 1)]
    return np.isin(image, kept)


def nearest_cosine(direction: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """The highest cosine of a direction [D] with any of others [K, D], all at unit length."""
    return float((others @ direction).max())


def _amounts(rows: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative least squares for all rows at once, by coordinate descent (Cichocki & Phan 2009, HALS)."""
    gram, target = directions @ directions.T, rows @ directions.T
    amounts = np.maximum(target / np.diag(gram), 0)
    for _ in range(_ITERATIONS):
        before = amounts.copy()
        for k in range(len(directions)):
            rest = target[:, k] - amounts @ gram[:, k] + amounts[:, k] * gram[k, k]
            amounts[:, k] = np.maximum(rest / gram[k, k], 0)
        if np.abs(amounts - before).max(initial=0) <= 1e-6 * max(float(amounts.max(initial=0)), 1e-30):
            break
    return amounts
