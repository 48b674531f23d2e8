"""Classes whose objects, probabilities and targets off the object are as in ordinary collections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings import Rules
from audit.findings.claims.whole_class import class_findings
from audit.findings.records import ClassFinding

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, NDArray[np.integer]], Values]
"""A value for each target, from a generator and classes [n]."""


def areas_of_all_sizes(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Values:
    """From 0.4 % of the image to 60 %."""
    return np.exp(rng.uniform(np.log(0.004), np.log(0.6), len(class_id)))


def first_is_small(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Values:
    """Objects of class 0 are smaller than 1 %, those of the others of all sizes."""
    small = np.exp(rng.uniform(np.log(0.004), np.log(0.01), len(class_id)))
    return np.where(class_id == 0, small, areas_of_all_sizes(rng, class_id))


def mostly_sure(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Values:
    """Most are named with 0.9 or more."""
    return 1 - 0.5 * rng.random(len(class_id)) ** 3


def first_is_unsure(rng: np.random.Generator, class_id: NDArray[np.integer]) -> Values:
    """Class 0 is named with 0.5 to 0.65, the others mostly with 0.9 or more."""
    return np.where(class_id == 0, rng.uniform(0.5, 0.65, len(class_id)), mostly_sure(rng, class_id))


@dataclass(frozen=True)
class Classes:
    """How classes are drawn.

    Attributes:
        off: chance that a target looks off the object, from its class, area and probability, each [n].
    """

    off: Callable[[NDArray[np.integer], Values, Values], Values]
    area: Draw = areas_of_all_sizes
    probability: Draw = mostly_sure
    classes: int = 20
    images: int = 40

    def findings(self, seed: int, rules: Rules | None = None) -> list[ClassFinding]:
        """Findings about the classes of one draw, named `class 0` and on."""
        rng = np.random.default_rng(seed)
        class_id = np.repeat(np.arange(self.classes), self.images)
        area, probability = self.area(rng, class_id), self.probability(rng, class_id)
        off = rng.random(len(class_id)) < self.off(class_id, area, probability)
        ones = np.ones(len(class_id))
        columns = {"class_id": class_id, "area": area, "probability": probability, "energy": ones, "lift": ones}
        names = [f"class {i}" for i in range(self.classes)]
        return class_findings(columns | {"vote": ones > 0}, off, names, rules or Rules())

    def accused(self, seed: int) -> set[int]:
        """Classes that are findings."""
        return {row.class_id for row in self.findings(seed) if row.is_finding}


def alike(share: float, **changes: Any) -> Classes:
    """All classes look off the object in the same share of their images."""
    return Classes(lambda class_id, area, probability: np.full(len(class_id), share), **changes)


def share_by_class(of_first: float, of_others: float, **changes: Any) -> Classes:
    """Class 0 looks off the object in one share of its images, the others in another."""
    return Classes(lambda class_id, area, probability: np.where(class_id == 0, of_first, of_others), **changes)


SMALL = Classes(lambda class_id, area, probability: 0.4 * (0.004 / area), first_is_small, images=100)
"""One class of small objects; small ones are missed more often, in every class."""
UNSURE = Classes(
    lambda class_id, area, probability: 0.03 + 0.9 * (1 - probability), probability=first_is_unsure, images=100
)
"""One class that is named less surely, and a model that then looks about, in every class."""
ORDINARY = {
    "all at 2 %": alike(0.02),
    "all at 30 %": alike(0.3),
    "all at 50 %": alike(0.5),
    "8 images a class, at 15 %": alike(0.15, images=8),
    "two classes of 40 images, at 40 %": alike(0.4, classes=2),
    "two classes of 8 images, at 10 %": alike(0.1, classes=2, images=8),
    "one class of small objects": SMALL,
    "one class that is named less surely": UNSURE,
    "labels wrong in 10 %, of some classes in 15 %": Classes(
        lambda class_id, area, probability: np.where(class_id % 4 == 0, 0.17, 0.1), images=100
    ),
    "one class at the margin, 7 % beside 2 %": share_by_class(0.07, 0.02, images=100),
    "one class at the margin, 30 % beside 15 %": share_by_class(0.3, 0.15, images=100),
    "one of two classes at both margins, 50 % beside 25 %": share_by_class(0.5, 0.25, classes=2),
}
"""Conditions under which no class is to be accused: the hypothesis is true of each."""
