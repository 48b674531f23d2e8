"""What silence is worth: how common a shortcut must be to be found, and what stands out without being proved.

A test of n images lets a claim through from some count of them on. A shortcut reaches that count with probability 0.95
where the share of the images that it comes in is the 0.95 quantile of Beta(count, n - count + 1): the upper limit of
Clopper & Pearson (1934), read backwards. The level is the strictest that the family can ask for, that of its first
discovery, so where more is found less is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.findings.claims.contrasts import LEAST_IN_A_PLACE
from audit.findings.claims.votes import FEWEST
from audit.findings.records import TOLERATED, Claim, ClassFinding
from audit.findings.rules import Rules

MARGINS = ({"least": LEAST_IN_A_PLACE, "times": 1.0}, {"least": 0.0, "times": 2.0})
"""Both of which the share of a class must exceed, beside that of the other classes."""
SURE = 0.95
"""How likely what is called detectable would have been found."""
FEWEST_OFF = 3
"""Images off the object from which a class stands out."""
_FARTHEST = 1000
"""Images beyond which it is not said how many more there must be."""


@dataclass(frozen=True)
class Detectable:
    """The smallest share of some images in which a shortcut, or a fault, would have been found.

    Attributes:
        class_name: of the images; None for those of a group over all classes.
        kind: of claim.
        subject: the other class, the group; empty where the kind says all.
        how: what the shortcut does, as a sentence goes on after "found in 20 % of the images or more".
        share: None where there are too few images for any.
    """

    class_name: str | None
    kind: str
    subject: str
    how: str
    share: float | None


@dataclass(frozen=True)
class StandsOut:
    """A class that looks off the object more often than is tolerated, and may do so by chance.

    Attributes:
        off_object, confident: images.
        more: how many more like them would settle it; None for very many.
    """

    class_name: str
    off_object: int
    confident: int
    more: int | None


def least_counts(
    of: NDArray[np.integer], p: Callable[[NDArray[np.int64]], NDArray[np.floating]], level: float
) -> NDArray[np.int64]:
    """Smallest counts 0..of whose p is at or below the level, of + 1 without; [k].

    Args:
        p: of counts [k]; each falls with its count.
    """
    low, high = np.zeros_like(of, np.int64), np.asarray(of, np.int64) + 1
    while np.any(open_ := low < high):
        middle = (low + high) // 2
        enough = p(np.minimum(middle, of)) <= level
        low, high = np.where(open_ & ~enough, middle + 1, low), np.where(open_ & enough, middle, high)
    return low


def least_shares(of: NDArray[np.integer], count: NDArray[np.integer]) -> list[float | None]:
    """Shares [k] in which something must come to be seen `count` times in so many images with probability `SURE`.

    >>> [share and round(share, 3) for share in least_shares(np.array([20, 4]), np.array([15, 5]))]
    [0.86, None]
    """
    reached = np.asarray(count) <= of
    shares = np.asarray(scipy.stats.beta.ppf(SURE, np.where(reached, count, 1), np.where(reached, of - count, 0) + 1))
    return [share if enough else None for share, enough in zip(shares.tolist(), reached, strict=True)]


def found_from(
    of: NDArray[np.integer], p: Callable[[NDArray[np.int64]], NDArray[np.floating]], level: float
) -> list[float | None]:
    """Shares [k] of so many images at which a test finds what comes in them; p and level as of `least_counts`."""
    return least_shares(of, least_counts(of, p, level))


def standing_out(classes: Sequence[ClassFinding], rules: Rules) -> list[StandsOut]:
    """Classes beyond what they are held against that are no findings, the largest share first."""
    tested = max(sum(row.needed is not None for row in classes), 1)
    rows = [
        StandsOut(row.class_name, row.off_object, row.confident, _more(row, rules.fdr / tested, _most(row, rules)))
        for row in classes
        if not row.is_finding and row.off_object >= FEWEST_OFF and row.off_object > _most(row, rules) * row.confident
    ]
    return sorted(rows, key=lambda row: (-row.off_object / row.confident, row.class_name))


def _most(row: ClassFinding, rules: Rules) -> float:
    """Share of its images that may look off the object."""
    return (
        rules.tolerated
        if row.expected is None or row.against == TOLERATED
        else float(most_beside(np.array(row.expected)))
    )


def most_beside(others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share up to which a class may look off the object where the other classes do in these."""
    return np.asarray(np.max([margin["times"] * others + margin["least"] for margin in MARGINS], axis=0), np.float64)


def _more(row: ClassFinding, level: float, most: float) -> int | None:
    """As if the other classes' share were known for certain."""
    images = np.arange(max(row.confident, FEWEST), _FARTHEST)
    off = np.floor(images * row.off_object / row.confident + 1e-9)
    enough: NDArray[np.intp] = np.flatnonzero(scipy.stats.binom.sf(off - 1, images, most) <= level)
    return max(int(images[enough[0]]) - row.confident, 1) if len(enough) else None


def silence(
    detectable: Sequence[Detectable], claims: Sequence[Claim], classes: Sequence[ClassFinding], rules: Rules
) -> dict[str, list[dict[str, Any]]]:
    """What the summary keeps of it; what would have been found only of classes and groups that no claim is about."""
    accused = {_about(claim) for claim in claims if claim.found}
    return {
        "detectable": [asdict(row) for row in detectable if _about(row) not in accused],
        "stands_out": [asdict(row) for row in standing_out(classes, rules)],
    }


def _about(row: Claim | Detectable) -> str:
    """The class; of all classes the group."""
    return row.class_name if row.class_name is not None else f"={row.subject}"
