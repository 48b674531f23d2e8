"""Every target, found or not: filter, sort, look, choose many, decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from audit.errors import RunError
from audit.store.verdicts.decided import Standing, decided
from audit.store.verdicts.log import DECISIONS, target_of
from audit.wording import number, plain, shorten
from dashboards.browsing.bulk import ALIKE, ask_about, show_targets, show_undo, visible_verdicts
from dashboards.browsing.filtering import LIKE, PAGE_NUMBER, choose_filters, put
from dashboards.browsing.filters import SORTS, TELLING, Filters
from dashboards.browsing.queues import AT, Queue
from dashboards.browsing.saved_views import LONGEST, SavedViews
from dashboards.components.grid import Asked
from dashboards.state import Context, go, load_ahead, show_notices, small_picture
from dashboards.tables import PAGE
from dashboards.words import LABELS

GRID, TABLE = "grid", "table"
_SORT, _AS = "sort", "as"
_ROWS = 100
"""Rows of a page of the table."""
_AHEAD = PAGE
_TITLES = {TELLING: "most telling", "quick_reliance": "quick reliance", "best_iou": "best IoU", "q_low": "q_low"}
_COLUMNS = (
    "id", "class", "predicted", "role", "probability", "kind", "suspicion", "severity", "oddness", "quick_reliance",
    "energy", "area", "lift", "chance", "status", "cluster",
)  # fmt: skip


def show(context: Context) -> None:
    """Draw the page."""
    show_notices(context)
    with st.sidebar:
        filters = choose_filters(context.tables)
    like = st.query_params.get(LIKE)
    if like is not None and target_of(like):
        _show_like(context, like)
    else:
        _show_chosen(context, filters)


def _show_chosen(context: Context, filters: Filters) -> None:
    """The targets that the filters leave, a page at a time."""
    standing = visible_verdicts(context)
    total = context.tables.count(filters, standing)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{_counted(context, total)}**", width="stretch")
        sort, form = _choose_order(context), _choose_form()
        _show_acts(context, filters, sort, standing, total)
    if filters != Filters():
        st.caption(plain(shorten(filters.says(), 300)))
    size = PAGE if form == GRID else _ROWS
    page = _choose_page(total, size)
    read = context.tables.page(filters, sort, page, size, standing, ahead=_AHEAD if form == GRID else 0)
    rows, following = read[:size], read[size:]
    if not rows:
        st.text("No target is left by these filters." if filters != Filters() else "There is no target yet.")
    elif form == GRID:
        _follow(context, show_targets(context, "grid of browse", rows, standing), filters, sort)
        load_ahead(lambda row: small_picture(context, row), following)
    else:
        _show_table(context, rows, standing, filters, sort)


def _counted(context: Context, total: int) -> str:
    every = context.tables.count()
    return plain(f"{number(total)} targets" if total == every else f"{number(total)} of {number(every)} targets")


def _choose_order(context: Context) -> str:
    """The order, which stands in the address; a minus before its name turns it round."""
    asked = st.query_params.get(_SORT, TELLING)
    name, back = asked.removeprefix("-"), asked.startswith("-")
    options = [option for option in SORTS if context.tables.scored or option in ("", "probability", "id", "class")]
    st.session_state.update({"sort by": name if name in options else TELLING, "turned": back})
    st.selectbox(
        "Sort by",
        options,
        key="sort by",
        format_func=lambda option: f"by {_TITLES.get(option, option)}",
        label_visibility="collapsed",
        width=190,
        on_change=_put_order,
    )
    st.toggle("Reversed", key="turned", on_change=_put_order, width="content")
    return asked


def _put_order() -> None:
    sort = f"{'-' if st.session_state['turned'] else ''}{st.session_state['sort by']}"
    st.query_params.pop(PAGE_NUMBER, None)
    _put(_SORT, sort)


def _put(name: str, value: str) -> None:
    """Write into the address; what is empty does not stand there."""
    if value:
        st.query_params[name] = value
    else:
        st.query_params.pop(name, None)


def _choose_form() -> str:
    st.session_state["form"] = TABLE if st.query_params.get(_AS) == TABLE else GRID
    st.segmented_control(
        "Show as", [GRID, TABLE], key="form", label_visibility="collapsed", required=True, on_change=_put_form
    )
    return str(st.session_state["form"])


def _put_form() -> None:
    st.query_params.pop(PAGE_NUMBER, None)
    _put(_AS, TABLE if st.session_state["form"] == TABLE else "")


def _choose_page(total: int, size: int) -> int:
    """The page, from 0, as the address has it."""
    pages = max(-(-total // size), 1)
    asked = st.query_params.get(PAGE_NUMBER, "1")
    page = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1
    page = min(max(page, 1), pages)
    if pages > 1:
        key = f"page {page} of {pages}"  # another widget for each page, so that the address alone says which it is
        st.pagination(pages, default=page, key=key, on_change=_put_page, args=(key,))
    return page - 1


def _put_page(key: str) -> None:
    _put(PAGE_NUMBER, str(st.session_state[key]))


def _show_acts(context: Context, filters: Filters, sort: str, standing: Standing, total: int) -> None:
    """What can be done with all that the filters leave: review, decide, keep the view."""
    if st.button("Review these", disabled=not total, type="primary"):
        go("review", Queue("", "", filters, sort, context.log.last()).query())
    options = list(DECISIONS)
    label = f"All {number(total)}"
    decision = st.menu_button(label, options, format_func=lambda name: f"{LABELS[name]} with all", disabled=not total)
    if decision:
        ask_about(context, lambda: context.tables.subjects(filters, sort, standing), total, decision)
    with st.popover("Views", icon=":material/bookmark:"):
        _show_views(context)
    show_undo(context)


def _show_views(context: Context) -> None:
    """Views that were given a name, and a name for this one."""
    views = SavedViews(context.run)
    try:
        for name, query in views.all().items():
            opened, gone = st.columns([5, 1], vertical_alignment="center")
            opened.button(plain(name), key=f"view {name}", on_click=_open_view, args=(query,), width="stretch")
            gone.button(
                "", icon=":material/delete:", key=f"forget {name}", help="Forget", on_click=views.forget, args=(name,)
            )
        with st.form("save view", border=False, clear_on_submit=True):
            name = st.text_input("Name this view", max_chars=LONGEST)
            if st.form_submit_button("Save") and name.strip():
                views.save(name, _view())
                st.rerun()
    except RunError as error:
        st.warning(plain(str(error)))


def _view() -> dict[str, str]:
    """What stands in the address and makes the view."""
    kept = {name: st.query_params[name] for name in (_SORT, _AS) if name in st.query_params}
    return {**Filters.from_query(st.query_params).to_query(), **kept}


def _open_view(query: Mapping[str, str]) -> None:
    put(Filters.from_query(query))
    for name in (_SORT, _AS):
        _put(name, query.get(name, ""))


def _follow(context: Context, asked: Asked, filters: Filters, sort: str) -> None:
    """Open a target within what is shown, or show what is like it."""
    if asked.action == ALIKE:
        st.query_params[LIKE] = asked.subjects[0]
        st.rerun()
    if asked.open is not None:
        # Without a filter the queue would be the whole run.
        queue = {} if filters == Filters() else Queue("", "", filters, sort, context.log.last()).query()
        go("review", {**queue, AT: asked.open})


def _show_table(
    context: Context, rows: Sequence[Mapping[str, Any]], standing: Standing, filters: Filters, sort: str
) -> None:
    """A page of rows, of which some may be chosen."""
    frame = pd.DataFrame([{name: row[name] for name in _COLUMNS} for row in rows])
    decisions = decided({row["subject"]: standing.get(row["subject"], {}) for row in rows})
    frame["verdict"] = [decisions.get(row["subject"], "") for row in rows]
    shares = {name: st.column_config.NumberColumn(format="%.3f") for name in _COLUMNS[4:14] if name not in ("kind",)}
    event = st.dataframe(
        frame.dropna(axis="columns", how="all"),
        hide_index=True,
        key=f"table {hash(tuple(row['subject'] for row in rows))}",
        on_select="rerun",
        selection_mode="multi-row",
        column_config=shares,
        height=470,
        alt="The chosen targets in numbers",
    )
    chosen = [rows[place]["subject"] for place in event["selection"]["rows"]]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"{len(chosen)} chosen" if chosen else "Choose rows to decide about them.", width="content")
        for name in DECISIONS:
            if st.button(LABELS[name], key=f"chosen {name}", disabled=not chosen):
                ask_about(context, lambda: chosen, len(chosen), name)
        if st.button("Open", disabled=len(chosen) != 1):
            _follow(context, Asked(chosen[0], None, ()), filters, sort)


def _show_like(context: Context, subject: str) -> None:
    """The targets that are most like one in what lies under their heat."""
    row = next(iter(context.tables.rows([subject])), None)
    near = context.tables.neighbours(subject, 2 * PAGE - 1) if row else []
    about = f"Most like {shorten(row['class'])} in {shorten(row['id'], 60)}" if row else f"No target {subject}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(about)}**", width="stretch")
        st.button("Back to all", on_click=_put, args=(LIKE, ""))
        show_undo(context)
    if not near:
        st.text("The run kept nothing of what lies under the heat of this target, so nothing is like it.")
        return
    rows = context.tables.rows([subject, *near])
    _follow(context, show_targets(context, "grid of alike", rows, visible_verdicts(context)), Filters(), TELLING)
