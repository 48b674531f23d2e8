"""Is B worse? Whatever could make it so is a paired difference, and all of them are tested together.

That a claim stands in B and not in A is no difference: of two evaluations of the same model each finds what happens to
lie beyond the line. So the claim's own event is asked of the same images in both runs. By chance as many change to it
as from it (McNemar 1947, exact, one-sided; images and their near-duplicates with one vote). The off-object share is
tested in the same way, over all targets and by class.

Which claims are asked is settled without looking at which run is which: `audit.compare.claims`. So each p is exact, and
Benjamini-Hochberg goes over all. A rise counts however small it is, if it is beyond chance; its size is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.compare.pairs import Difference, Flips, count_flips, paired_difference
from audit.stats.multiplicity import benjamini_hochberg


@dataclass(frozen=True)
class Asked:
    """What both runs are asked of the same targets.

    Attributes:
        about: `all`, `class` or `claim`.
        name: the class; the claim's `claim_id`; empty for all targets.
        says: of a claim, its sentence.
        event: [2, n] 1 where it is so in A and in B, 0 where not, NaN where nothing is known.
        image: [n] the same number for targets of one image and its near-duplicates.
    """

    about: str
    name: str
    says: str
    event: NDArray[np.floating]
    image: NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Change:
    """What came of it: q is that of `p`, the flips' one-sided p, among all that was tested together."""

    about: str
    name: str
    says: str
    difference: Difference
    flips: Flips
    q: float

    @property
    def p(self) -> float:
        """How often chance alone would make as many images worse."""
        return self.flips.p_worse

    def plain(self) -> dict[str, Any]:
        """As a record that is JSON."""
        counts = {"worse": self.flips.worse, "better": self.flips.better, "p": self.p, "q": self.q}
        return {"about": self.about, "name": self.name, "says": self.says, **counts, **asdict(self.difference)}

    def reason(self) -> str:
        """Why B is worse, with its numbers."""
        change, flips = self.difference, self.flips
        what = "off-object share" if self.about != "claim" else f"share of images that show {self.name}"
        of = f"{self.name}: " if self.about == "class" else ""
        return (
            f"{of}{what} rose by {change.difference:.3f} [{change.low:.3f}, {change.high:.3f}]; "
            f"{flips.worse} images more, {flips.better} fewer, p {self.p:.2g}, q {self.q:.2g}"
        )


def paired_changes(asked: Sequence[Asked], seed: int = 0) -> list[Change]:
    """Every difference with its q, the surest first; where no image changed there is none."""
    changed = [(one, flips) for one, flips in _flips(asked) if flips.images]
    q = benjamini_hochberg(np.array([flips.p_worse for _, flips in changed])).tolist()
    changes = [_change(*row, own, seed) for row, own in zip(changed, q, strict=True)]
    return sorted(changes, key=lambda change: (change.q, change.p))


def _flips(asked: Sequence[Asked]) -> Iterator[tuple[Asked, Flips]]:
    for one in asked:
        yield one, count_flips(one.event, one.image)


def _change(asked: Asked, flips: Flips, q: float, seed: int) -> Change:
    difference = paired_difference(asked.event, asked.image, seed)
    return Change(asked.about, asked.name, asked.says, difference, flips, q)
