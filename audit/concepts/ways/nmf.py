"""Parts that only add up.

The activation at each cell under the heat is a vector of as many numbers as the layer has channels. Non-negative matrix
factorisation writes all of them as A = U W: W [K, channels] the concepts, U how much of each is in each cell, nothing
negative (Lee & Seung, Nature 1999; of a class's activations, CRAFT: Fel et al., CVPR 2023). Parts that only add up are
what people can look at one by one. Where a layer goes below 0, what is above and what is below are parts of their own.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from audit.concepts.ways.way import Factors, Held, Way

_ITERATIONS = 400
_LEAST = 1e-9
"""Share of the length of all activations, below which a part is none."""


class Parts(Factors):
    """Non-negative factors."""

    def amounts(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """The non-negative least squares."""
        return _amounts(np.asarray(rows, np.float64), self.directions)


class NonNegative(Way):
    """Non-negative matrix factorisation."""

    name = "nmf"
    says = "parts that only add up (Lee & Seung 1999; CRAFT, Fel et al. 2023)"

    def prepared(self, activation: NDArray[np.floating]) -> NDArray[np.floating]:
        """Split by sign, so that nothing is negative."""
        return split_signs(activation)

    def restored(self, parts: NDArray[np.floating], channels: int) -> NDArray[np.floating]:
        """Joined again."""
        return joined_signs(parts, channels)

    def most(self, held: Held) -> int:
        """As many as there are activations, or channels; none where all of them are 0."""
        return int(min(held.rows.shape)) if np.any(held.rows) else 0

    def factorise(self, held: Held, count: int, seed: int = 0) -> Parts:
        """Non-negative factors of all cells; fewer than asked for where some come to nothing.

        Raises:
            ValueError: there are fewer activations, or channels, than concepts asked for; or some are negative.
        """
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning

        rows = np.asarray(held.rows, np.float64)
        self.checked(held, count)
        if (rows < 0).any():
            raise ValueError("Expected activations that are not negative")
        # Begun from the singular vectors, what is 0 there filled with small random numbers.
        model = NMF(count, init="nndsvdar", random_state=seed, max_iter=_ITERATIONS, tol=1e-4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            amounts = model.fit_transform(rows)
        rest = np.square(rows - amounts @ model.components_).sum() / max(float(np.square(rows).sum()), 1e-30)
        lengths = np.linalg.norm(model.components_, axis=1)
        there = lengths * np.linalg.norm(amounts, axis=0) > _LEAST * np.linalg.norm(rows)
        return Parts(model.components_[there] / lengths[there, None], float(rest))


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


def _amounts(rows: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative least squares for all rows at once, by coordinate descent (Cichocki & Phan 2009, HALS)."""
    gram, target = directions @ directions.T, rows @ directions.T
    squares = np.maximum(np.diag(gram), 1e-30)  # of a direction of no length there is nothing
    amounts = np.maximum(target / squares, 0)
    for _ in range(_ITERATIONS):
        before = amounts.copy()
        for k in range(len(directions)):
            rest = target[:, k] - amounts @ gram[:, k] + amounts[:, k] * gram[k, k]
            amounts[:, k] = np.maximum(rest / squares[k], 0)
        if np.abs(amounts - before).max(initial=0) <= 1e-6 * max(float(amounts.max(initial=0)), 1e-30):
            break
    return amounts
