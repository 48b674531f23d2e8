"""In which order targets are looked at, so that what was decided tells of the rest.

One random order of all targets, the same for everybody and at all times, holds for every claim: its own targets as they
come in it. So they are in a random order too, and a target that several claims flag is in turn for all of them.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence, Set

from audit.review.precision import ENOUGH, precision_interval
from audit.store.verdicts.decided import AGREE, DISAGREE


def in_turn(subjects: Iterable[str]) -> list[str]:
    """Targets in the random order that is fixed for all: by the sha256 of their names.

    Targets that come or go later leave the order of the others as it was.

    >>> in_turn(["1:0", "2:0", "3:0", "4:0"])
    ['4:0', '1:0', '2:0', '3:0']
    """
    return sorted(subjects, key=lambda subject: hashlib.sha256(subject.encode()).digest())


def most_informative(orders: Mapping[str, Sequence[str]], decisions: Mapping[str, str], most: int = 100) -> list[str]:
    """Targets to look at next: of the claim whose precision is least known, always the next in turn.

    After each the interval is formed again, as if it were decided as those before. Claims whose precision is known well
    enough are left. It is the width that chooses, not what one verdict would take off it: at first that is nothing.

    Args:
        orders: the targets of each claim in turn, by claim, the more important first.
        decisions: what reviewers together say, by subject.
    """
    known, queue = set(decisions), list[str]()
    courses = [_Course(place, order, decisions) for place, order in enumerate(orders.values())]
    waiting = [course.rank(known) for course in courses]
    heapq.heapify(waiting)
    while waiting and len(queue) < most:
        rank = heapq.heappop(waiting)
        course = courses[rank[1]]
        if course.rank(known) != rank:  # another claim took what was its next
            heapq.heappush(waiting, course.rank(known))
        elif -rank[0] > ENOUGH:
            queue.append(course.next)
            known.add(course.next)
            heapq.heappush(waiting, course.rank(known))
    return queue


class _Course:
    """A claim on its way through its order."""

    def __init__(self, place: int, order: Sequence[str], decisions: Mapping[str, str]) -> None:
        self._place, self._order, self._decisions = place, order, decisions
        self._taken = self._open = 0
        self._agreed = 0.0

    @property
    def next(self) -> str:
        """The next target in turn."""
        return self._order[self._taken]

    def rank(self, known: Set[str]) -> tuple[float, int]:
        """The widest interval comes first, then the more important claim. What is known counts as decided."""
        while self._taken < len(self._order) and self.next in known:
            self._count(self._decisions.get(self.next))
        agreed = round(self._agreed)
        low, high = precision_interval(len(self._order), self._taken, agreed, min(self._open, self._taken - agreed))
        return low - high if self._taken < len(self._order) else 0.0, self._place

    def _count(self, decision: str | None) -> None:
        """One more is taken; of one that is not decided yet the share so far is expected."""
        if decision is None:
            self._agreed += (self._agreed + 0.5) / (self._taken + 1)
        self._agreed += decision == AGREE
        self._open += decision not in (AGREE, DISAGREE, None)
        self._taken += 1
