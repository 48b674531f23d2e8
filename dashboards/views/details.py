"""What else there is to know of a target: one part at a time, drawn when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from audit.errors import AuditError
from audit.store.verdicts.log import target_subject
from audit.wording import plain, shorten
from dashboards.browsing.queues import AT
from dashboards.header import BLIND, REVIEWER
from dashboards.methods import METHODS, can_draw, draw
from dashboards.state import Context, fragment, picture_of, shown, small_picture
from dashboards.views.before_after import show_before_and_after
from dashboards.views.labels import show_labels
from dashboards.words import show_verdict

Target = Mapping[str, Any]
_FIGURES = ("probability", "area", "energy", "lift", "best_iou", "p_low", "p_high", "peak_distance")
_TARGETS = "Targets"
_ALIKE = 6


def show_details(context: Context, target: Target) -> None:
    """Draw the part that was chosen."""
    part = st.segmented_control(
        "More", list(_PARTS), default=_TARGETS, key="part", persist_state="session", label_visibility="collapsed"
    )
    if part:
        _PARTS[part](context, target)


def _targets(context: Context, target: Target) -> None:
    """All targets of the image with their maps."""
    others = context.tables.targets_of(target["sample"])
    grid = st.grid("auto", min_column_width=170, gap="small")
    for other in others:
        with grid.cell():
            data, _ = small_picture(context, other)
            about = f"{shorten(other['class'], 40)} ({other['role'].replace('_', ' ')}, p {other['probability']:.2f})"
            st.image(data, alt=plain(f"{about}: the heat over the image"), width="stretch")
            here = other["slot"] == target["slot"]
            subject = target_subject(other["sample"], other["slot"])
            if here:
                st.caption(plain(f"{about}: shown above"))
            else:
                st.button(plain(about, 80), key=f"to {subject}", type="tertiary", on_click=_open, args=(subject,))


def _open(subject: str) -> None:
    """Leave the queue for one target."""
    for name in set(st.query_params) - {REVIEWER, BLIND}:
        del st.query_params[name]
    st.query_params[AT] = subject


def _alike(context: Context, target: Target) -> None:
    """The nearest in what lies under the heat."""
    subject = target_subject(target["sample"], target["slot"])
    near = context.tables.neighbours(subject, _ALIKE)
    if not near:
        st.caption("No neighbours: the run kept no features of this target.")
        return
    grid = st.grid("auto", min_column_width=170, gap="small")
    for other in near:
        row = context.tables.target(*map(int, other.split(":")))
        if row is None:
            continue
        with grid.cell():
            data, _ = small_picture(context, row)
            about = f"{shorten(row['class'], 40)} in {shorten(row['id'], 40)}"
            st.image(data, alt=plain(f"{about}: the heat over the image"), width="stretch")
            st.button(plain(about, 80), key=f"alike {other}", type="tertiary", on_click=_open, args=(other,))


@fragment
def _methods(context: Context, target: Target) -> None:
    """The image under other methods, drawn by a process of its own when it is asked for."""
    if not can_draw():
        st.caption("Other methods need torch, which is not installed here.")
        return
    asked = f"methods of {target_subject(target['sample'], target['slot'])}"
    if not st.session_state.get(asked):
        st.button("Draw it under other methods", key=f"draw {asked}", on_click=_ask, args=(asked,))
        return
    _show_drawing(context, target)


def _ask(asked: str) -> None:
    st.session_state[asked] = True


def _show_drawing(context: Context, target: Target) -> None:
    drawing = draw(context, target)
    waiting = drawing.running

    @st.fragment(run_every=1 if waiting else None)
    def look() -> None:
        if drawing.running:
            st.caption(f"Drawing under {', '.join(METHODS)}; it takes some seconds.")
            return
        if waiting:
            st.rerun()  # and look no more every second
        try:
            alt = plain(f"{shorten(target['class'])} in {shorten(target['id'], 60)} under {', '.join(METHODS)}")
            st.image(drawing.result(), alt=alt, width="stretch")
        except AuditError as error:
            st.warning(plain(str(error)))

    look()


def _labels(context: Context, target: Target) -> None:
    show_labels(context, target["sample"], picture_of(shown(context, target)))


def _numbers(context: Context, target: Target) -> None:
    """All targets of the image in numbers."""
    rows = context.tables.targets_of(target["sample"])
    frame = pd.DataFrame(
        [{name: row.get(name) for name in ("class", "role", "status", "kind", *_FIGURES)} for row in rows]
    )
    number = st.column_config.NumberColumn
    figures = {name: number(name.replace("_", " ").replace("iou", "IoU"), format="%.3f") for name in _FIGURES}
    st.dataframe(frame.dropna(axis="columns", how="all"), hide_index=True, column_config=figures)


def _verdicts(context: Context, target: Target) -> None:
    """Who decided what, and when; others' only where this reviewer may see them."""
    subject = target_subject(target["sample"], target["slot"])
    history = context.log.history(subject)
    hidden = context.blind and context.reviewer not in context.standing.get(subject, {})
    visible = [verdict for verdict in history if verdict.reviewer == context.reviewer or not hidden]
    for verdict in reversed(visible):
        show_verdict(verdict)
    if not visible:
        st.caption("None yet." if not history else "Hidden until you have decided.")


_PARTS: dict[str, Callable[[Context, Target], None]] = {
    _TARGETS: _targets,
    "Before and after": show_before_and_after,
    "More like this": _alike,
    "Other methods": _methods,
    "Weak labels": _labels,
    "Numbers": _numbers,
    "Verdicts": _verdicts,
}
