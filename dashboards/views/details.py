"""What else there is to know of a target: one part at a time, drawn when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from audit.drawing.targets import Picture
from audit.errors import AuditError
from audit.interventions.quick import without_background
from audit.store.verdicts import target_subject
from audit.wording import plain, shorten
from dashboards.header import BLIND, REVIEWER
from dashboards.methods import METHODS, can_draw, draw
from dashboards.queues import AT
from dashboards.state import Context, fragment, picture_of, shown, small_picture
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


def _before_and_after(context: Context, target: Target) -> None:
    """What the quick check laid over the background, and what interventions did to the answer."""
    picture, effect = picture_of(shown(context, target)), context.tables.effect(target["sample"], target["slot"])
    left, right = st.columns(2, gap="medium")
    with left:
        changed = _without_background(picture, target)
        if changed is None:
            st.caption("The quick check cannot be drawn: it needs the image and its object.")
        else:
            st.image(changed, alt="The object alone, its background scattered", width=320)
            st.caption(plain(_quick(target)))
    with right:
        if effect is None:
            st.caption(plain(f"Nothing was changed in this image yet: camaudit verify {context.run.path}"))
            return
        rows = [(_CHANGES[name], getattr(effect, name)) for name in _CHANGES]
        told = [{"without": what, "p falls by": fall} for what, fall in rows if fall is not None]
        st.dataframe(
            pd.DataFrame(told),
            hide_index=True,
            column_config={"p falls by": st.column_config.NumberColumn(format="%.2f")},
        )
        st.caption(plain(f"From p {effect.probability:.2f}; {effect.outcome}."))


_CHANGES = {
    "hot": "the hot region off the object",
    "random": "a region elsewhere",
    "object": "the object",
    "background": "the background",
    "colour": "the background's colour",
}


def _without_background(picture: Picture, target: Target) -> Any:
    """The picture as the quick check draws it, at this size and with other chances."""
    if picture.image is None or picture.target is None or picture.on_grey:
        return None
    mask = np.where(picture.target, target["class_id"] + 1, 0).astype(np.int16)
    image = (picture.image.transpose(2, 0, 1) / 255).astype(np.float32)
    changed = without_background(image, mask, target["class_id"], np.random.default_rng(0))
    return None if changed is None else np.rint(np.clip(changed, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def _quick(target: Target) -> str:
    reliance = target["quick_reliance"]
    if reliance is None:
        return "So the quick check sees it; this target was not asked."
    return f"Quick check: p {target['probability']:.2f} falls to {target['probability'] * (1 - reliance):.2f} so."


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
    "Before and after": _before_and_after,
    "More like this": _alike,
    "Other methods": _methods,
    "Weak labels": _labels,
    "Numbers": _numbers,
    "Verdicts": _verdicts,
}
