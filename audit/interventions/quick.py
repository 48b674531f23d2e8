"""The quick check: what does p(c) lose without the background? Asked within a run, while the image is at hand.

All but the object, with its rim, is laid over itself at random places, until no mark, frame or thing is to be seen:
`audit.interventions.removals.on_scattered`. The share of p(c) that is lost is the *quick reliance*. It takes one pass
and no other image, where `camaudit verify` takes up to 19. It cannot tell a class that needs its natural context from
one that has learnt a shortcut, and sees neither a tint nor a mark on the object. So it puts findings in order, and
accuses and acquits nobody.

Asked are the flagged targets of a shard and others of the same classes, those nearest to being flagged first: as many
as are flagged, or in a large run as many as keep the whole below a tenth of the shard's samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.findings.rules import Rules, misplacement
from audit.interventions.removals import Region, mask_at_input, object_with_rim, on_scattered, widened
from audit.scores.faithfulness import Image
from audit.scores.scorer import Explained

RULES = Rules()
"""A run is asked by the rules as they come: others may be tried on it later, with `camaudit flag`."""
_KEPT = 16
"""Unflagged candidates of a class that are kept at least."""
_FLAGGED_AN_OTHER = 8
"""Flagged targets for each that is not, where there is room for no more."""


@dataclass(frozen=True)
class Candidate:
    """A target that was named with confidence, whose object is known.

    Attributes:
        sample, slot: which.
        misplaced: misplacement of its heat; see `audit.findings.rules`.
        pixels: [S, S, 3] uint8 as the network sees the image.
        mask: [S, S] int16, what was known of the objects there.
        given: rows and columns of them, from the top left, that the network is given.
        object_id: class of the target's object in it.
        asked: what the network is asked again by about what it gave; None of a classifier's target.
    """

    sample: int
    slot: int
    class_id: int
    probability: float
    misplaced: float
    pixels: NDArray[np.uint8]
    mask: NDArray[np.int16]
    given: tuple[int, int]
    object_id: int
    asked: Sequence[float] | NDArray[np.integer] | str | None = None


class Suspect(NamedTuple):
    """A target that was named with confidence and whose object was found; see `Candidate`."""

    row: int
    slot: int
    class_id: int
    probability: float
    misplaced: float
    mask: NDArray[np.int16]
    object_id: int


def suspects(
    sample: Explained, probability: NDArray[np.floating], scores: Mapping[str, NDArray[Any]], side: int
) -> list[Suspect]:
    """The targets of a sample about which the network may be asked again.

    Args:
        sample: with K targets.
        probability: [K].
        scores: columns of the table `scores`, [K] each.
        side: of the network's input, pixels.
    """
    misplaced = misplacement(*(scores[name] for name in ("p_high", "energy", "attainable")))
    chosen = (scores["status"] == "scored") & (probability >= RULES.confident)
    found: list[Suspect] = []
    start = 0
    for part in sample.parts():
        stop = start + len(part.targets.slots)
        own = np.flatnonzero(chosen[start:stop])
        if len(own) and part.objects.mask is not None:
            seen = mask_at_input(part.objects.mask, sample.view, side)
            found += [
                Suspect(
                    sample.row,
                    int(part.targets.slots[k]),
                    int(part.targets.class_ids[k]),
                    float(probability[start + k]),
                    float(misplaced[start + k]),
                    seen,
                    int(part.object_ids[k]),
                )
                for k in own.tolist()
            ]
        start = stop
    return found


@dataclass
class Candidates:
    """Those of a shard, as far as they may be asked.

    Attributes:
        least: misplacement from which a target is flagged.
    """

    least: float
    _flagged: list[Candidate] = field(default_factory=list)
    _others: dict[int, list[Candidate]] = field(default_factory=dict)

    def add(self, candidate: Candidate) -> None:
        """Take one, and let go of those that are too far from being flagged."""
        if candidate.misplaced >= self.least:
            self._flagged.append(candidate)
            return
        others = self._others.setdefault(candidate.class_id, [])
        others.append(candidate)
        if len(others) >= 2 * _KEPT:
            self._others[candidate.class_id] = _nearest(others, _KEPT)

    def chosen(self, most: int) -> list[Candidate]:
        """The flagged ones, and of each class as many others, as far as there are; in the order of samples.

        Args:
            most: of both together. The flagged ones are chosen all the same, and of others one for eight of them.
        """
        classes = Counter(candidate.class_id for candidate in self._flagged)
        others = [
            candidate
            for class_id, count in classes.items()
            for candidate in _nearest(self._others.get(class_id, []), count)
        ]
        room = max(most - len(self._flagged), -(-len(self._flagged) // _FLAGGED_AN_OTHER))
        both = [*self._flagged, *_nearest(others, room)]
        return sorted(both, key=lambda candidate: (candidate.sample, candidate.slot))


def _nearest(candidates: list[Candidate], count: int) -> list[Candidate]:
    return sorted(candidates, key=lambda candidate: -candidate.misplaced)[:count]


def without_background(image: Image, mask: NDArray[np.int16], class_id: int, rng: np.random.Generator) -> Image | None:
    """The object of a class, with its rim, on its own background scattered.

    Args:
        image: [3, S, S] as the network takes it.
        mask: [S, S].

    Returns:
        None where nothing of the object is seen, or nothing else.
    """
    kept: Region = widened(object_with_rim(mask, class_id))
    return None if not kept.any() or kept.all() else on_scattered(image, kept, rng)
