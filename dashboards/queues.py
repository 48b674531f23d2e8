"""What a reviewer goes through: a list of targets that is fixed on entry and named in the address.

A queue is a pure function of the run, its definition and `as_of`, the log's last row on entry. So it is the same after
verdicts, a reload, or Back, and in the browser of whoever is sent the address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from audit.review import decided, most_informative
from audit.store.decided import Standing
from audit.wording import shorten
from dashboards.filters import ANY, TELLING, Filters
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


def subjects_of(context: Context, queue: Queue) -> Sequence[str]:
    """The targets of a queue, in their order; made once for all sessions."""
    return _subjects(str(context.run.path), context.stamp, queue, context)


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


def place_of(subjects: Sequence[str], asked: str | None, standing: Standing, who: str) -> int:
    """Where a reviewer stands in a queue: at what the address asks for, else before the first without their verdict."""
    if asked is not None and asked in subjects:
        return subjects.index(asked)
    undecided = (place for place, subject in enumerate(subjects) if who not in standing.get(subject, {}))
    return next(undecided, 0)


@st.cache_data(max_entries=16, show_spinner="Making the queue …")
def _subjects(path: str, stamp: tuple[int, ...], queue: Queue, _context: Context) -> list[str]:
    if queue.kind == ONE:
        return [queue.of]
    if queue.kind == CLAIM:
        return _context.turn(queue.of)
    standing = _context.log.standing(queue.as_of)
    if queue.kind == NEXT:
        turns = {claim.claim_id: _context.turn(claim.claim_id) for claim in _context.tables.claims()}
        return most_informative(turns, decided(standing))
    return _context.tables.subjects(queue.filters, queue.sort or TELLING, standing)
