"""What a way to find concepts is: from what a layer holds under a class's heat to a few of its directions.

No way has a single answer. So each is gone again with random parts of the images: a concept that comes back whichever
part it is, by the cosine of its direction, is one of the class and not of the draw. Of fewer than `FEWEST` images
parts are too much alike to say so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

DRAWS = 5
"""Draws of the images that are compared."""
DRAWN = 0.8
"""Share of the images in each."""
FEWEST = 5
"""Images from which draws are compared."""
ALIKE = 0.9
"""Cosine from which two directions are the same concept."""


@dataclass(frozen=True)
class Held:
    """What a layer holds at the cells under the heat.

    Attributes:
        rows: [m, D] activations of cells, as the way has prepared them.
        image: [m] which image each is of.
        weights: [D] what a channel adds to the class's logit, to first order; None for a way that takes none.
    """

    rows: NDArray[np.floating]
    image: NDArray[np.integer]
    weights: NDArray[np.floating] | None = None

    def part(self, seed: int) -> Held:
        """Of a random `DRAWN` share of the images, at least one less than all."""
        images = np.unique(self.image)
        kept = np.random.default_rng(seed).permutation(images)[: min(round(DRAWN * len(images)), len(images) - 1)]
        chosen = np.isin(self.image, kept)
        return Held(self.rows[chosen], self.image[chosen], self.weights)


@dataclass(frozen=True)
class Factors(ABC):
    """Concepts of some activations.

    Attributes:
        directions: [K, D] at unit length, each the way that adds to the class.
        error: share of the square of what was factorised that they leave out.
    """

    directions: NDArray[np.float64]
    error: float

    @abstractmethod
    def amounts(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """How much of each direction is in activations [n, D], [n, K], nothing negative: what taking it out takes."""


class Way(ABC):
    """A way to find concepts.

    Attributes:
        name: as the command line has it.
        says: what it does, with its source.
        weighted: whether it takes the class's weights.
    """

    name: ClassVar[str]
    says: ClassVar[str]
    weighted: ClassVar[bool] = False

    def prepared(self, activation: NDArray[np.floating]) -> NDArray[np.floating]:
        """Activations [..., C] as it takes them, [..., D]."""
        return activation

    def restored(self, parts: NDArray[np.floating], channels: int) -> NDArray[np.floating]:
        """Parts [..., D] of what was prepared, as the layer has them, [..., channels]."""
        return parts

    @abstractmethod
    def most(self, held: Held) -> int:
        """How many concepts there can be."""

    @abstractmethod
    def factorise(self, held: Held, count: int, seed: int = 0) -> Factors:
        """Concepts of what a layer holds.

        Raises:
            ValueError: there cannot be so many.
        """

    def again(self, held: Held, count: int, seeds: Iterable[int]) -> list[Factors]:
        """Concepts of a part of the images a seed; none where the images, or those of a part, are too few."""
        found: list[Factors] = []
        if len(np.unique(held.image)) < FEWEST:
            return found
        for seed in seeds:
            part = held.part(seed)
            if self.most(part) < count:
                return []
            found.append(self.factorise(part, count, seed))
        return found

    def checked(self, held: Held, count: int) -> None:
        """See that there can be so many.

        Raises:
            ValueError: there cannot.
        """
        most = self.most(held)
        if not 1 <= count <= most:
            raise ValueError(f"Expected at most {most} concepts of {len(held.rows)} activations, got {count}")


def nearest_cosine(direction: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """The highest cosine of a direction [D] with any of others [K, D], all at unit length."""
    return float((others @ direction).max())
