"""What the pages share: the run that is open, who reviews, links between pages, pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import streamlit as st

from audit.datasets.reach import BELOW_ROOT, Reach
from audit.drawing.targets import Picture, blank_webp, read_picture, thumbnail_webp
from audit.errors import AuditError
from audit.findings import Claim
from audit.review import ClaimPrecision, decided, in_turn, precision_of
from audit.store import Run, layout
from audit.store.storage.objects import Place, location
from audit.store.verdicts.decided import Standing
from audit.store.verdicts.log import VerdictLog
from audit.wording import plain
from dashboards.condition import conditions
from dashboards.tables import RunTables, stamp

SENTENCE = 600
"""Characters of a sentence that are shown."""
_LONGEST_LINE = 2000
_PAGES = "pages"
_TRUSTED_S = 60
_Given = ParamSpec("_Given")


@dataclass(frozen=True)
class Context:
    """What a page needs to know.

    Attributes:
        reviewer: under which verdicts are stored; empty while nobody has given a name.
        stamp: changes with the run; what was read before is then read again.
        reach: which images and masks may be read.
        blind: whether others' verdicts are hidden until the reviewer has decided.
        model: the run's model as the server was told it, which allows code to be run; None for no such leave.
    """

    tables: RunTables
    log: VerdictLog
    reviewer: str
    stamp: tuple[str, ...]
    reach: Reach = BELOW_ROOT
    blind: bool = False
    model: str | None = None

    @property
    def run(self) -> Run:
        """The run that is open."""
        return self.tables.run

    @property
    def standing(self) -> Standing:
        """The verdicts that stand, by subject and reviewer, as they are now."""
        return _standing(self.log.path, self.log.last())

    def turn(self, claim_id: str) -> list[str]:
        """A claim's targets in the order of chance that its precision is judged by."""
        return _turn(str(self.run.path), self.stamp, claim_id, self.tables)

    def precision(self, claim_id: str) -> ClaimPrecision:
        """How precise a claim's flags are, by what reviewers decided so far."""
        decisions = _decisions(self.log.path, self.log.last())
        return precision_of(claim_id, [decisions.get(subject) for subject in self.turn(claim_id)])

    def image_of(self, sample: int) -> str:
        """Where the image of a sample is, as far as it may be read.

        Raises:
            AuditError: it lies where nothing may be read.
        """
        manifest = self.run.manifest(sample, sample + 1)
        return self.reach.locate(next(iter(manifest)).image, manifest.root)

    def claim(self, claim_id: str) -> Claim | None:
        """The standing claim of this id."""
        return next((claim for claim in self.tables.claims() if claim.claim_id == claim_id), None)


def open_context(
    path: Place, reviewer: str = "", reach: Reach = BELOW_ROOT, blind: bool = False, model: str | None = None
) -> Context:
    """Open a run for the pages.

    Raises:
        RunError: there is no run.
    """
    run = Run.open(path)
    now = stamp(run)
    return Context(_tables(str(path), now), VerdictLog.of(run), reviewer, now, reach, blind, model)


def why_not(path: Place, error: Exception) -> str:
    """Why a page cannot be drawn, in a line: a run that is gone explains every other failure."""
    if (location(path) / layout.RUN_JSON).exists():
        return str(error)
    return f"No run at {path} any more: it was moved or deleted; start camaudit dashboard where it is now"


def fragment(draw: Callable[Concatenate[Context, _Given], None]) -> Callable[Concatenate[Context, _Given], None]:
    """A part of a page that is drawn anew by itself; what fails is said in a line, as for a whole page."""

    def drawn(context: Context, /, *args: _Given.args, **kwargs: _Given.kwargs) -> None:
        try:
            draw(context, *args, **kwargs)
        except (AuditError, OSError) as error:
            st.error(plain(why_not(context.run.path, error)))

    # Streamlit tells fragments apart by their names.
    update_wrapper(drawn, draw)
    return st.fragment(drawn)


def show_notices(context: Context) -> None:
    """Say what state the run is in, and what of it is missing or damaged."""
    for line in conditions(context.tables):
        st.info(plain(line, _LONGEST_LINE))
    for line in context.tables.notices:
        st.warning(plain(line, _LONGEST_LINE))


def set_pages(pages: Mapping[str, Any]) -> None:
    """Tell the pages of one another."""
    st.session_state[_PAGES] = pages


def go(page: str, query: Mapping[str, str] | None = None) -> None:
    """Leave for another page; who reviews goes along."""
    carried = {name: st.query_params[name] for name in ("reviewer", "blind") if name in st.query_params}
    st.switch_page(st.session_state[_PAGES][page], query_params={**carried, **(query or {})})


@st.cache_resource(max_entries=2, show_spinner="Opening the run …")
def _tables(path: str, stamp: tuple[str, ...]) -> RunTables:
    return RunTables(Run.open(path))


_STOOD: dict[Path, tuple[int, Standing]] = {}
"""What stood in each log as of the last row that was read, so that a verdict does not cost what all before it do."""


@lru_cache(maxsize=2)
def _standing(path: Path, last: int) -> Standing:
    log, (first, before) = VerdictLog(path), _STOOD.get(path, (0, {}))
    # A log that was replaced may be shorter.
    standing = log.standing_after(before, first, last) if 0 < first <= last else log.standing(last)
    _STOOD[path] = last, standing
    return standing


@lru_cache(maxsize=2)
def _decisions(path: Path, last: int) -> dict[str, str]:
    return decided(_standing(path, last))


@st.cache_resource(max_entries=200, show_spinner=False)
def _turn(path: str, stamp: tuple[str, ...], claim_id: str, _tables: RunTables) -> list[str]:
    return in_turn(_tables.claim_subjects(claim_id))


# Pictures


@dataclass(frozen=True)
class Shown:
    """Which picture: of a target, as the run and its files are now."""

    path: str
    stamp: tuple[str, ...]
    sample: int
    slot: int
    class_id: int
    reach: Reach
    until: int


def shown(context: Context, target: Mapping[str, Any]) -> Shown:
    """The key of a target's picture. A file may change under the page, so what was read is not trusted for long."""
    sample, slot, class_id = (int(target[name]) for name in ("sample", "slot", "class_id"))
    until = int(time.time()) // _TRUSTED_S
    return Shown(str(context.run.path), context.stamp, sample, slot, class_id, context.reach, until)


def target_picture(context: Context, target: Mapping[str, Any]) -> Picture:
    """A target to look at."""
    return picture_of(shown(context, target))


def small_picture(context: Context, target: Mapping[str, Any]) -> tuple[bytes, list[str]]:
    """A target's thumbnail as WebP, and what is amiss with it."""
    return _small_picture(shown(context, target))


def load_ahead(make: Any, keys: list[Any]) -> None:
    """Begin what will be asked for next, in the background; what fails will fail again where it is shown."""
    for key in keys:
        _ahead().submit(make, key)


@st.cache_resource
def _ahead() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="ahead")


@lru_cache(maxsize=24)
def picture_of(key: Shown) -> Picture:
    """The picture of a key."""
    tables = _tables(key.path, key.stamp)
    row = tables.sample(key.sample)
    if row is None:
        return Picture(None, None, None, None, [tables.why_unknown(key.sample)])  # type: ignore[arg-type]
    return read_picture(tables.run, row, key.slot, key.class_id, reach=key.reach)


@lru_cache(maxsize=2000)
def _small_picture(key: Shown) -> tuple[bytes, list[str]]:
    try:
        tables = _tables(key.path, key.stamp)
        row = tables.sample(key.sample)
    except AuditError as error:
        return blank_webp(), [str(error)]
    if row is None:
        return blank_webp(), ["What the run knows of this sample cannot be read."]
    return thumbnail_webp(tables.run, row, key.slot, key.class_id, key.reach)
