"""Many shares, each beside the one it is compared with: tested together, and told as claims.

What is tested is that the share exceeds the other by more than `least`: with many images a difference may be beyond
chance and still be too small to matter. A claim stands when its q is at or below the false discovery rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.findings.records import Claim
from audit.stats.intervals import wilson_interval
from audit.stats.margins import exceeds
from audit.stats.multiplicity import benjamini_hochberg

LEAST = 0.1
"""How far a share must exceed the one it is compared with, unless a kind says otherwise."""
LEAST_IN_A_PLACE = 0.05
"""The same of heat in a part of the frame, where the maps of other classes hardly ever put it."""
ALL_CLASSES = -1


@dataclass(frozen=True)
class Contrasts:
    """Shares of images that show something, each beside what it is compared with; arrays [m].

    Attributes:
        class_id: `ALL_CLASSES` for all.
        shows, of: images that show it, and how many there are.
        expected: the share that they are compared with.
        p: how often chance alone would give as many.
        q: of p, over all that was tested together.
        low, high: 95 % interval of the share, or of its difference from the expected.
    """

    class_id: NDArray[np.integer]
    shows: NDArray[np.integer]
    of: NDArray[np.integer]
    expected: NDArray[np.float64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @cached_property
    def share(self) -> NDArray[np.float64]:
        """Of the images, [m]."""
        return np.asarray(self.shows / self.of, np.float64)


def tested_together(
    class_id: NDArray[np.integer],
    shows: NDArray[np.integer],
    of: NDArray[np.integer],
    expected: NDArray[np.float64],
    p: NDArray[np.float64],
) -> Contrasts:
    """Contrasts with q by Benjamini-Hochberg over them all and Wilson's intervals of the shares."""
    low, high = wilson_interval(shows, of)
    return Contrasts(class_id, shows, of, expected, p, benjamini_hochberg(p), low, high)


def against_others(
    class_id: NDArray[np.integer],
    shows: NDArray[np.integer],
    of: NDArray[np.integer],
    all_shows: NDArray[np.integer],
    all_of: NDArray[np.integer],
    least: float,
) -> Contrasts:
    """Contrasts with the share of all others, tested together; counts [m], `all_` those of this one and the others."""
    other_shows, other_of = all_shows - shows, all_of - of
    p = exceeds(shows, of, other_shows, other_of, least)
    return tested_together(class_id, shows, of, other_shows / other_of, p)


class Told(NamedTuple):
    """What is said of one contrast.

    Attributes:
        subject: the zone, the other class, the spot, ATTRIBUTE=VALUE.
        rests_on: what tells the object from its background.
        says: a sentence for someone who knows no statistics.
        details: numbers, by kind.
        measure: what tells apart claims of one kind, class and subject.
    """

    subject: str
    rests_on: str
    says: str
    details: Mapping[str, Any]
    measure: str = ""


@dataclass(frozen=True)
class Family:
    """What is tested together, and when it stands.

    Attributes:
        kind: of claim.
        name: what was tested together, as `class x zone`.
        fdr: false discovery rate.
        least: how far a share must exceed the one it is compared with.
    """

    kind: str
    name: str
    fdr: float
    least: float

    def stand(self, contrasts: Contrasts) -> NDArray[np.bool_]:
        """Which contrasts are claims that stand, [m]."""
        return (contrasts.q <= self.fdr) & (contrasts.share - contrasts.expected >= self.least)

    def claims(
        self,
        contrasts: Contrasts,
        classes: tuple[str, ...],
        tell: Callable[[int], Told],
        tested: int,
        more: NDArray[np.bool_] | None = None,
    ) -> list[Claim]:
        """Claims of those with p at or below the false discovery rate, standing ones first, then by q.

        The others would fill the table and say nothing; `tested` counts them.

        Args:
            tell: what to say of the contrast at a place 0..m-1.
            tested: how many there were in all.
            more: [m] what else a claim needs: heat beyond what area or objects account for.
        """
        stands = self.stand(contrasts) & (True if more is None else more)
        kept = np.flatnonzero((contrasts.p <= self.fdr) | stands)
        excess = contrasts.share - contrasts.expected
        order = kept[np.lexsort((-excess[kept], contrasts.q[kept], ~stands[kept]))]
        return [self._claim(contrasts, classes, int(i), tell(int(i)), bool(stands[i]), tested) for i in order]

    def _claim(
        self, contrasts: Contrasts, classes: tuple[str, ...], i: int, told: Told, stands: bool, tested: int
    ) -> Claim:
        class_id = int(contrasts.class_id[i])
        name = None if class_id == ALL_CLASSES else classes[class_id]
        return Claim(
            claim_id=claim_id(self.kind, name or "", told.subject, *((told.measure,) if told.measure else ())),
            kind=self.kind,
            class_id=None if name is None else class_id,
            class_name=name,
            subject=told.subject,
            targets=int(contrasts.of[i]),
            share=float(contrasts.share[i]),
            low=float(contrasts.low[i]),
            high=float(contrasts.high[i]),
            expected=float(contrasts.expected[i]),
            p=float(contrasts.p[i]),
            q=float(contrasts.q[i]),
            fdr=self.fdr,
            family=self.name,
            tested=tested,
            found=stands,
            rests_on=told.rests_on,
            says=told.says if stands else f"{told.says} {self._doubt(contrasts, i)}",
            details=told.details,
        )

    def _doubt(self, contrasts: Contrasts, i: int) -> str:
        if contrasts.q[i] > self.fdr:
            return "With so many comparisons that may be chance."
        if contrasts.share[i] - contrasts.expected[i] < self.least:
            return "That is too small a difference to matter."
        return "But it is no more than the area accounts for, or where objects of the class are known to be."


def claim_id(*parts: str) -> str:
    """What a claim is known by: its kind, class, subject and measure, of those that it has.

    Example:
        >>> claim_id("zone", "cat", "border"), claim_id("class", "n01: 50 %")
        ('zone:cat:border', 'class:n01%3A 50 %25')
    """
    return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in parts)
