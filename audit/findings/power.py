"""What silence is worth: how common a shortcut must be to be found, and what stands out without being proved.

A test of n images lets a claim through from some count of them on. A shortcut reaches that count with probability 0.95
where the share of the images that it comes in is the 0.95 quantile of Beta(count, n - count + 1): the upper limit of
Clopper & Pearson (1934), read backwards. The level is the strictest that the family can ask for, that of its first
discovery, so where more is found less is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from audit.findings.claims.votes import FEWEST
from audit.findings.records import Claim, ClassFinding
from audit.findings.rules import Rules
from audit.wording import number, percent, shorten

SURE = 0.95
"""How likely what is called detectable would have been found."""
FEWEST_OFF = 3
"""Images off the object from which a class stands out."""
_FARTHEST = 1000
"""Images beyond which it is not said how many more there must be."""


@dataclass(frozen=True)
class Detectable:
    """The smallest share of a class's images in which a shortcut would have been found.

    Attributes:
        kind: of claim.
        share: None where there are too few images for any.
    """

    class_name: str
    kind: str
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


def least_count(of: int, p: Callable[[int], float], level: float) -> int:
    """Smallest count 0..of whose p is at or below the level, of + 1 without; p falls with the count."""
    low, high = 0, of + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if p(middle) <= level else (middle + 1, high)
    return low


def least_share(of: int, count: int) -> float | None:
    """Share in which something must come to be seen `count` times in so many images with probability `SURE`.

    >>> round(least_share(20, 15), 3)
    0.896
    """
    return float(beta.ppf(SURE, count, of - count + 1)) if count <= of else None


def in_whole_classes(classes: Sequence[ClassFinding], rules: Rules) -> list[Detectable]:
    """What would have been found by the test of whole classes, of those that were tested."""
    tested = [row for row in classes if row.confident >= FEWEST]
    level = rules.fdr / max(len(tested), 1)
    counts = (int(binom.isf(level, row.confident, rules.tolerated)) + 1 for row in tested)
    return [
        Detectable(row.class_name, "class", least_share(row.confident, count))
        for row, count in zip(tested, counts, strict=True)
    ]


def standing_out(classes: Sequence[ClassFinding], rules: Rules) -> list[StandsOut]:
    """Classes beyond the tolerated share that are no findings, the largest share first."""
    tested = max(sum(row.confident >= FEWEST for row in classes), 1)
    rows = [
        StandsOut(row.class_name, row.off_object, row.confident, _more(row, rules.fdr / tested, rules.tolerated))
        for row in classes
        if not row.is_finding and row.off_object >= FEWEST_OFF and row.off_object > rules.tolerated * row.confident
    ]
    return sorted(rows, key=lambda row: (-row.off_object / row.confident, row.class_name))


def _more(row: ClassFinding, level: float, tolerated: float) -> int | None:
    images = np.arange(max(row.confident, FEWEST), _FARTHEST)
    off = np.floor(images * row.off_object / row.confident + 1e-9)
    enough: NDArray[np.intp] = np.flatnonzero(binom.sf(off - 1, images, tolerated) <= level)
    return int(images[enough[0]]) - row.confident if len(enough) else None


def silence(
    detectable: Sequence[Detectable], claims: Sequence[Claim], classes: Sequence[ClassFinding], rules: Rules
) -> dict[str, list[dict[str, Any]]]:
    """What the summary keeps of it; what would have been found only of classes that no claim is about."""
    accused = {claim.class_name for claim in claims if claim.found}
    return {
        "detectable": [asdict(row) for row in detectable if row.class_name not in accused],
        "stands_out": [asdict(row) for row in standing_out(classes, rules)],
    }


_DRAWS_HEAT = {
    "class": "if it draws the heat off the object",
    "spot": "if it draws the heat to a place that most leave free",
}
_NEARLY_ALL = 0.99


def explain_silence(summary: Mapping[str, Any], most: int = 5) -> list[str]:
    """Sentences on what would have been found, the classes known least about first, and what stands out."""
    shares: dict[str, dict[str, float | None]] = {}
    for row in summary.get("detectable", []):
        shares.setdefault(row["class_name"], {})[row["kind"]] = row["share"]
    order = sorted(shares, key=lambda name: -min((s for s in shares[name].values() if s), default=2.0))
    said = [_explain(name, shares[name]) for name in order[:most]]
    if len(order) > most:
        said.append(f"{number(len(order) - most)} more classes without a claim: in summary.json")
    return said + [_stands_out(row) for row in summary.get("stands_out", [])[:most]]


def _explain(name: str, shares: dict[str, float | None]) -> str:
    seen = [f"in {_or_more(share)} {_DRAWS_HEAT[kind]}" for kind, share in shares.items() if share]
    if not seen:
        return f"{shorten(name)}: too few images to find any shortcut"
    return f"{shorten(name)}: a shortcut would have been found {', '.join(seen)}; rarer ones may be there"


def _or_more(share: float) -> str:
    return "nearly every image" if share > _NEARLY_ALL else f"{percent(share)} of the images or more"


def _stands_out(row: dict[str, Any]) -> str:
    more = "very many more images like these" if row["more"] is None else f"{row['more']} more images like these"
    looks_off = f"{row['off_object']} of {row['confident']} images look off the object"
    return f"{shorten(row['class_name'])} stands out: {looks_off}, too few to be sure; {more} would settle it"
