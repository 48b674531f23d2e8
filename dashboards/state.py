"""What the pages share: the run that is open, its notices, links between pages, choices that outlive a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from audit.datasets.reach import BELOW_ROOT, Reach
from audit.drawing.targets import Picture, blank_jpeg, read_picture, thumbnail_jpeg
from audit.store import Run, layout
from audit.store.verdicts import Verdict, VerdictLog
from audit.wording import plain
from dashboards.condition import conditions
from dashboards.tables import Filters, RunTables, stamp

DECIDED = {"agree": "red", "disagree": "green", "unsure": "orange"}
"""Colours of decisions."""
ALL = ""
"""The choice that leaves a filter open."""
SENTENCE = 600
"""Characters of a sentence that are shown."""
_LONGEST_LINE = 2000
_KEPT = "kept "
_PAGES = "pages"


@dataclass(frozen=True)
class Context:
    """What a page needs to know.

    Attributes:
        reviewer: name offered for verdicts.
        stamp: changes with the run; what was read before is then read again.
        reach: which images and masks may be read.
    """

    tables: RunTables
    log: VerdictLog
    reviewer: str
    stamp: tuple[int, ...]
    reach: Reach = BELOW_ROOT

    @property
    def run(self) -> Run:
        """The run that is open."""
        return self.tables.run


def open_context(path: Path, reviewer: str, reach: Reach = BELOW_ROOT) -> Context:
    """Open a run for the pages.

    Raises:
        RunError: there is no run.
    """
    run = Run.open(path)
    now = stamp(run)
    return Context(_tables(str(path), now), VerdictLog(run.path / layout.VERDICTS), reviewer, now, reach)


def why_not(path: Path, error: Exception) -> str:
    """Why a page cannot be drawn, in a line: a run that is gone explains every other failure."""
    if (path / layout.RUN_JSON).exists():
        return str(error)
    return f"No run at {path} any more: it was moved or deleted; start camaudit dashboard where it is now"


def show_notices(context: Context) -> None:
    """Say what state the run is in, and what of it is missing or damaged."""
    for line in conditions(context.tables):
        st.info(plain(line, _LONGEST_LINE))
    for line in context.tables.notices:
        st.warning(plain(line, _LONGEST_LINE))


def set_pages(pages: Mapping[str, Any]) -> None:
    """Tell the pages of one another."""
    st.session_state[_PAGES] = pages


def go(page: str, **query: str) -> None:
    """Leave for another page."""
    st.switch_page(st.session_state[_PAGES][page], query_params=query)


def kept(name: str, default: Any, options: Sequence[Any] | None = None) -> str:
    """Key of a widget whose value outlives a visit to another page; back to the default if it is no option any more."""
    key = _KEPT + name
    if key not in st.session_state or (options is not None and st.session_state[key] not in options):
        st.session_state[key] = default
    return key


def choice(name: str, default: Any) -> Any:
    """Value of a kept widget, whether or not it is on this page."""
    return st.session_state.get(_KEPT + name, default)


def choose(name: str, value: Any) -> None:
    """Set a kept widget before it is drawn."""
    st.session_state[_KEPT + name] = value


def keep_choices() -> None:
    """Streamlit forgets widgets that a page does not draw, unless their values are set again."""
    for key in [str(key) for key in st.session_state if str(key).startswith(_KEPT)]:
        st.session_state[key] = st.session_state[key]


def chosen_filters(verdicts: Mapping[str, Verdict]) -> Filters:
    """The filters as they stand on the page of findings."""
    class_name, role, kind = (choice(name, ALL) or None for name in ("class", "role", "kind"))
    filters = Filters(class_name, role, kind, choice("chance", 0.0), choice("q_low", 1.0), choice("probability", 0.0))
    decision = choice("verdict", ALL)
    if decision == ALL:
        return filters
    if decision == "none":
        return replace(filters, without=tuple(verdicts))
    return replace(filters, only=tuple(name for name, given in verdicts.items() if given.decision == decision))


def decision_badge(verdict: Verdict | None) -> None:
    """The decision as a badge, or that there is none."""
    if verdict is None:
        st.badge("no verdict", color="gray")
    else:
        st.badge(verdict.decision, color=DECIDED[verdict.decision])  # type: ignore[arg-type]


@st.cache_resource(max_entries=2, show_spinner="Opening the run …")
def _tables(path: str, stamp: tuple[int, ...]) -> RunTables:
    return RunTables(Run.open(path))


def target_picture(context: Context, sample: Mapping[str, Any], slot: int, class_id: int) -> Picture:
    """A target to look at."""
    key = str(context.run.path), context.stamp, sample["sample"], slot, class_id, context.reach
    return _picture(*key, context.run, sample)


def small_picture(context: Context, finding: Mapping[str, Any]) -> tuple[bytes, list[str]]:
    """A finding's thumbnail as JPEG, and what is amiss with it."""
    key = str(context.run.path), context.stamp, finding["sample"], finding["slot"], finding["class_id"], context.reach
    return _small_picture(*key, context.tables)


# A file may change under the page, so what was read is not trusted for long.
@st.cache_resource(max_entries=8, ttl=60, show_spinner=False)
def _picture(
    path: str,
    stamp: tuple[int, ...],
    sample: int,
    slot: int,
    class_id: int,
    reach: Reach,
    _run: Run,
    _row: Mapping[str, Any],
) -> Picture:
    return read_picture(_run, _row, slot, class_id, reach=reach)


@st.cache_data(max_entries=1000, ttl=600, show_spinner=False)
def _small_picture(
    path: str, stamp: tuple[int, ...], sample: int, slot: int, class_id: int, reach: Reach, _tables: RunTables
) -> tuple[bytes, list[str]]:
    row = _tables.sample(sample)
    if row is None:
        return blank_jpeg(), ["What the run knows of this sample cannot be read."]
    return thumbnail_jpeg(_tables.run, row, slot, class_id, reach)
