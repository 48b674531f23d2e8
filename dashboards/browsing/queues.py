"""What a reviewer goes through: a list of targets that is fixed on entry and named in the address.

A queue is a pure function of the run, its definition and `as_of`, the log's last row on entry. So it is the same after
verdicts, a reload, or Back, and in the browser of whoever is sent the address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from audit.review import decided, most_informative
from audit.store.verdicts.decided import Standing
from audit.wording import shorten
from dashboards.browsing.filters import ANY, TELLING, Filters
from dashboards.state import Context

CLAIM, NEXT, ONE = "claim", "next", "one"
_QUEUE, _AS_OF, AT = "queue", "as_of", "at"
_SPLIT = ":"


@dataclass(frozen=True)
class Queue:
    """Its definition.

    Attributes:
        kind: CLAIM, the images of a claim in an order of chance; NEXT, whichever verdict would teach most about
            claims; ONE, a single target; or "", those that the filters leave, most telling first: all findings where
            the address has none.
        of: the claim's id, or the one target's subject.
        filters: of a queue of filters.
        sort: their order.
        as_of: number of the last row of the log that counts.
    """

    kind: str = ""
    of: str = ""
    filters: Filters = field(default_factory=Filters)
    sort: str = ""
    as_of: int = 0

    def query(self) -> dict[str, str]:
        """As the address has it."""
        if not self.kind:
            return {**self.filters.to_query(), **({"sort": self.sort} if self.sort else {}), _AS_OF: str(self.as_of)}
        name = _SPLIT.join(filter(None, (self.kind, self.of)))
        return {_QUEUE: name, _AS_OF: str(self.as_of)}


def asked_queue(query: Mapping[str, str], last: int, found: bool = True) -> Queue:
    """The queue that an address asks for; without any, all findings, or where there are none all targets.

    Args:
        last: number of the log's last row, for an address without one.
        found: whether there are findings.
    """
    told = query.get(_AS_OF, "")
    as_of = int(told) if told.isascii() and told.isdigit() and len(told) < 16 else last
    kind, _, of = query.get(_QUEUE, "").partition(_SPLIT)
    if kind in (CLAIM, NEXT):
        return Queue(kind, of, as_of=as_of)
    filters = Filters.from_query(query)
    if query.get(AT) and filters == Filters() and "sort" not in query:
        return Queue(ONE, query[AT], as_of=as_of)
    if filters == Filters() and "sort" not in query and found:
        filters = Filters(kind=ANY)
    return Queue("", "", filters, query.get("sort", ""), as_of)


class Targets:
    """The targets of a queue in their order, and the place of each."""

    def __init__(self, subjects: Sequence[str]) -> None:
        self.subjects = subjects
        self._places = {subject: place for place, subject in enumerate(subjects)}

    def __len__(self) -> int:
        return len(self.subjects)

    def place_of(self, asked: str | None, standing: Standing, reviewer: str) -> int:
        """Where a reviewer stands: at what the address asks for, else before the first without their verdict."""
        if asked in self._places:
            return self._places[asked]
        undecided = (place for place, name in enumerate(self.subjects) if reviewer not in standing.get(name, {}))
        return next(undecided, 0)

    def decided_by(self, reviewer: str, standing: Standing) -> int:
        """How many of them a reviewer has decided."""
        return sum(reviewer in given for subject, given in standing.items() if subject in self._places)


def targets_of(context: Context, queue: Queue) -> Targets:
    """The targets of a queue; made once for all sessions."""
    return _targets(str(context.run.path), context.stamp, queue, context)


def title_of(context: Context, queue: Queue) -> str:
    """What a queue is, in a few words."""
    if queue.kind == NEXT:
        return "Whatever teaches most about claims"
    if queue.kind == ONE:
        return "One target"
    if queue.kind == CLAIM:
        claim = context.claim(queue.of)
        return shorten(claim.says if claim else f"Claim {queue.of}, which is none any more", 160)
    return f"Targets, {queue.filters.says() or 'all'}"


@st.cache_resource(max_entries=8, show_spinner="Making the queue …")
def _targets(path: str, stamp: tuple[str, ...], queue: Queue, _context: Context) -> Targets:
    return Targets(_subjects(queue, _context))


def _subjects(queue: Queue, context: Context) -> Sequence[str]:
    if queue.kind == ONE:
        return [queue.of]
    if queue.kind == CLAIM:
        return context.turn(queue.of)
    standing = context.log.standing(queue.as_of)
    if queue.kind == NEXT:
        turns = {claim.claim_id: context.turn(claim.claim_id) for claim in context.tables.claims()}
        return most_informative(turns, decided(standing))
    return context.tables.subjects(queue.filters, queue.sort or TELLING, standing)
