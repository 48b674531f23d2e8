"""Findings about targets: filter, sort, leaf through, open one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from audit.store.verdicts import DECISIONS, Verdict
from audit.wording import plain, shorten
from dashboards.state import ALL, Context, chosen_filters, decision_badge, go, kept, show_notices, small_picture
from dashboards.tables import PAGE, SORTS, Filters

COLUMNS = 4
_PAGE = "page of findings"
_CHANCE = "Share of random places at which the same heat would do as well on the object: what indifferent is judged by."
_Q_LOW = "Small when the heat lies on the object less than at random places: what avoids is judged by."


def show(context: Context) -> None:
    """Draw the page."""
    show_notices(context)
    if not context.tables.count(Filters()):
        _show_none(context)
        return
    verdicts = context.log.latest()
    sort = _choose(context)
    filters = chosen_filters(verdicts)
    total = context.tables.count(filters)
    page = _page(filters, sort, total)
    rows = context.tables.findings(filters, sort, page)
    _show_heading(page, len(rows), total)
    if "detected" in context.tables.values("kind"):
        st.caption("A detector's guesses, where no object is known, come after all findings.")
    above, amiss = st.container(), []
    for begin in range(0, len(rows), COLUMNS):
        for column, row in zip(st.columns(COLUMNS), rows[begin : begin + COLUMNS], strict=False):
            with column.container(border=True, height="stretch"):
                amiss += _show_card(context, row, verdicts.get(row["finding_id"]))[:1]
    if amiss:
        count = f"{len(amiss)} of the {len(rows)} images on this page cannot be shown in full."
        above.warning(plain(f"{count} The first: {amiss[0]}", 2000))


def _show_none(context: Context) -> None:
    """No cards; the lines above say why, where the run is not finished and judged."""
    st.subheader("Findings")
    whole = context.tables.flagged and context.tables.means()["energy"] is not None
    st.text("There are none: no target was flagged." if whole else "There are none to show.")


def _choose(context: Context) -> str:
    """Draw the filters, and return the order."""
    with st.sidebar:
        for name in ("class", "role", "kind"):
            options = [ALL, *context.tables.values(name)]
            st.selectbox(name.title(), options, key=kept(name, ALL, options), format_func=_label)
        st.slider("Least probability", 0.0, 1.0, key=kept("probability", 0.0), step=0.01)
        st.slider("Least chance", 0.0, 1.0, key=kept("chance", 0.0), step=0.01, help=_CHANCE)
        st.slider("Greatest q_low", 0.0, 1.0, key=kept("q_low", 1.0), step=0.01, help=_Q_LOW)
        decisions = [ALL, "none", *DECISIONS]
        st.selectbox("Verdict", decisions, key=kept("verdict", ALL, decisions), format_func=_label)
        order: str = st.selectbox("Sort by", list(SORTS), key=kept("sort", "suspicion", list(SORTS)))
    return order


def _evidence(row: Mapping[str, Any]) -> str:
    if row["kind"] == "detected":
        return "a guess: no mask, judged by a detector"
    judged_by = "q_low" if row["kind"] == "avoids" else "chance"
    quick = "" if row["quick_reliance"] is None else f", quick {row['quick_reliance']:.2f}"
    return f"energy {row['energy']:.2f}, {judged_by} {row[judged_by]:.2g}{quick}"


def _label(option: str) -> str:
    return shorten(option or "all")


def _page(filters: Filters, sort: str, total: int) -> int:
    """Number of the page, from 0; the first when anything else was chosen."""
    chosen = filters, sort
    if st.session_state.get(_PAGE, (None, 0))[0] != chosen:
        st.session_state[_PAGE] = chosen, 0
    last = max(-(-total // PAGE) - 1, 0)
    return min(int(st.session_state[_PAGE][1]), last)


def _turn(page: int) -> None:
    st.session_state[_PAGE] = st.session_state[_PAGE][0], page


def _show_heading(page: int, shown: int, total: int) -> None:
    first, last = page * PAGE + 1, page * PAGE + shown
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Findings", width="content")
        st.text(f"{first} to {last} of {total:,}" if total else "none with these filters", width="stretch")
        st.button("Previous page", disabled=page == 0, on_click=_turn, args=(page - 1,))
        st.button("Next page", disabled=last >= total, on_click=_turn, args=(page + 1,))


def _show_card(context: Context, row: Mapping[str, Any], verdict: Verdict | None) -> list[str]:
    """Draw a finding's card, and return what is amiss with its picture."""
    data, notices = small_picture(context, row)
    st.image(data, width="stretch")
    with st.container(gap=None):
        st.text(f"{shorten(row['class'], 18)}   {shorten(row['id'], 22)}")
        st.caption(f"suspicion {row['suspicion']:.2f}, probability {row['probability']:.2f}")
        st.caption(_evidence(row))
        if notices:
            st.caption(plain(notices[0], 60))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        decision_badge(verdict)
        if st.button("Open", key=f"open {row['finding_id']}"):
            go("sample", finding=row["finding_id"])
    return notices
