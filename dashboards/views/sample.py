"""One sample: its image, map and pseudo-mask, what is found about it, and what reviewers decide."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from audit.drawing.targets import Picture
from audit.errors import AuditError
from audit.scores import iou_curve
from audit.store.layout import LEVELS
from audit.store.verdicts import DECISIONS, Verdict
from audit.wording import plain, shorten
from dashboards.state import (
    SENTENCE,
    Context,
    choice,
    chosen_filters,
    decision_badge,
    kept,
    show_notices,
    target_picture,
)
from dashboards.tables import Filters, Place
from dashboards.views.labels import show_labels

_LABELS = {"agree": "Agree: off the object", "disagree": "Disagree", "unsure": "Unsure"}
_HALF = 0.5
_FIGURES = ("probability", "area", "energy", "lift", "best_iou", "p_low", "p_high")


def show(context: Context) -> None:
    """Draw the page."""
    show_notices(context)
    number, slot = _asked_for(context)
    sample = None if number is None else context.tables.sample(number)
    targets = [] if number is None else context.tables.targets(number)
    if sample is None:
        st.info(plain(context.tables.why_unknown(number)))
    elif sample["status"] != "processed" or not targets:
        _show_unseen(sample)
    else:
        target = next((row for row in targets if row["slot"] == slot), _first(targets))
        _show_target(context, sample, targets, target)
    _show_search(context)


def _show_target(
    context: Context, sample: Mapping[str, Any], targets: list[dict[str, Any]], target: Mapping[str, Any]
) -> None:
    _show_heading(context, sample, target)
    if target["finding"]:
        st.text(shorten(target["finding"]["says"], SENTENCE))
    if len(targets) > 1:
        _show_choice(targets, target)
    _show_pictures(context, sample, target)
    _show_review(context, target)
    _show_targets(targets)
    show_labels(context, sample["sample"], target_picture(context, sample, target["slot"], target["class_id"]))


def _asked_for(context: Context) -> tuple[int | None, int | None]:
    """Sample and slot that the address asks for; the first finding, or sample, if it asks for none."""
    query = st.query_params
    text = query.get("finding") or query.get("sample")
    if text is None:
        first = context.tables.findings(chosen_filters(context.log.latest()), choice("sort", "suspicion"))
        return (first[0]["sample"], first[0]["slot"]) if first else (context.tables.first_sample() or 0, None)
    numbers = [int(part) for part in text.split(":")[:2] if part.isascii() and part.isdigit() and len(part) < 16]
    slot = query.get("slot", "")
    if len(numbers) < 2 and slot.isascii() and slot.isdigit():
        numbers.append(int(slot[:9]))
    return (numbers[0] if numbers else None), (numbers[1] if len(numbers) > 1 else None)


def _show_search(context: Context) -> None:
    wanted = st.text_input("Open a sample by its id", key="wanted sample", on_change=_find, args=(context,), width=420)
    if wanted and context.tables.sample_number(wanted) is None:
        st.caption("No sample with this id among those that the run has reached.")


def _find(context: Context) -> None:
    # This runs before the page, which says what cannot be read.
    with suppress(AuditError):
        number = context.tables.sample_number(st.session_state["wanted sample"])
        if number is not None:
            _open(sample=str(number))


def _open(**query: str) -> None:
    st.query_params.from_dict(query)


def _show_unseen(sample: Mapping[str, Any]) -> None:
    st.subheader(plain(sample["id"], 60))
    st.text(f"{sample['status']}: {shorten(sample['reason'] or 'it has no targets', 400)}")


def _first(targets: list[dict[str, Any]]) -> dict[str, Any]:
    return next((row for row in targets if row["finding"]), targets[0])


def _show_heading(context: Context, sample: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    finding = target["finding"]["finding_id"] if target["finding"] else None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(plain(f"{shorten(target['class'])} in {shorten(sample['id'], 60)}", 110), width="stretch")
        if finding is None:
            st.badge(_why_none(context, target), color="gray")
            return
        place = _place(context, finding)
        st.text(f"{place.number:,} of {place.total:,}" if place else "", width="content")
        for label, neighbour in (("Previous", place and place.previous), ("Next", place and place.next)):
            opened = {"finding": neighbour} if neighbour else {}
            st.button(label, disabled=not neighbour, on_click=_open, kwargs=opened)


def _why_none(context: Context, target: Mapping[str, Any]) -> str:
    """Why there is no finding about a target."""
    tables, number = context.tables, target["sample"]
    if not tables.is_judged(number):
        return "not judged yet"
    if tables.is_lost("findings", number):
        return "its findings cannot be read"
    return "no finding" if target["score"] == "scored" else f"not judged: {_score_of(context, target)}"


def _score_of(context: Context, target: Mapping[str, Any]) -> str:
    """The status of a target's score in words."""
    if target["score"] is None:
        return "its scores cannot be read" if context.tables.is_lost("scores", target["sample"]) else "not scored"
    return str(target["score"]).replace("_", " ")


def _place(context: Context, finding: str) -> Place | None:
    """Among the findings as they are filtered; among all if it is not one of those, as after a verdict."""
    sort, filters = choice("sort", "suspicion"), chosen_filters(context.log.latest())
    return context.tables.place(filters, sort, finding) or context.tables.place(Filters(), sort, finding)


def _show_choice(targets: list[dict[str, Any]], target: Mapping[str, Any]) -> None:
    number = target["sample"]
    key = f"target of {number} {target['slot']}"
    slots = [row["slot"] for row in targets]
    names = {row["slot"]: f"{shorten(row['class'])} ({row['role']}, {row['probability']:.2f})" for row in targets}

    def change() -> None:
        _open(sample=str(number), slot=str(st.session_state[key]))

    place = slots.index(target["slot"])
    st.selectbox("Target", slots, place, names.__getitem__, key, on_change=change, width=320)


@st.fragment
def _show_pictures(context: Context, sample: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    picture = target_picture(context, sample, target["slot"], target["class_id"])
    for line in picture.notices:
        st.warning(plain(line))
    panels = st.columns(3)
    above = [panel.container() for panel in panels]
    with panels[0]:
        contour = st.toggle("Contour of the object", key=kept("contour", True), disabled=picture.target is None)
    with panels[1]:
        opacity = st.slider("Opacity of the map", 0.0, 1.0, key=kept("opacity", 0.5), step=0.05)
    with panels[2]:
        key = f"threshold of {target['sample']} {target['slot']}"
        known = context.tables.threshold()
        start = _HALF if known is None else known
        threshold = st.slider("Threshold of the pseudo-mask", 0.0, 1.0, start, 1 / LEVELS, "%.3f", key)
        st.text(_overlap(context, target, threshold))
        if known is None:
            st.caption("No threshold was chosen for this run; half the peak is a place to begin.")
    pictures = {"Image": picture.image, "Map": picture.overlay(opacity), "Pseudo-mask": picture.tinted(threshold)}
    for place, (title, pixels) in zip(above, pictures.items(), strict=True):
        with place:
            st.markdown(f"**{title}**")
            _show_array(pixels, picture, contour)


def _show_array(pixels: NDArray[np.uint8] | None, picture: Picture, contour: bool) -> None:
    if pixels is None:
        st.caption("nothing to show")
    else:
        st.image(picture.with_contour(pixels, contour), width="stretch")


def _overlap(context: Context, target: Mapping[str, Any], threshold: float) -> str:
    """The pseudo-mask's IoU, from the counts that scoring left."""
    if target["score"] != "scored":
        return f"No IoU: {_score_of(context, target)}"
    curve = iou_curve(np.array(target["inside"]), np.array(target["outside"]))
    level = min(round(threshold * LEVELS), LEVELS - 1)
    best = int(np.nan_to_num(curve).argmax())
    return f"IoU {curve[level]:.3f} at threshold {threshold:.3f}; best {curve[best]:.3f} at {best / LEVELS:.3f}"


def _show_targets(targets: list[dict[str, Any]]) -> None:
    st.markdown("**Targets of this sample**")
    rows = [{name: row[name] for name in ("class", "role", *_FIGURES, "hit")} for row in targets]
    frame = pd.DataFrame(rows).assign(
        status=[_status(row) for row in targets],
        finding=[row["finding"]["kind"] if row["finding"] else "" for row in targets],
    )
    number = st.column_config.NumberColumn
    figures = {name: number(name.replace("_", " ").replace("iou", "IoU"), format="%.3f") for name in _FIGURES}
    st.dataframe(frame.dropna(axis="columns", how="all"), hide_index=True, column_config=figures)


def _status(target: Mapping[str, Any]) -> str:
    """What became of a target: of its score where it has a map."""
    status = target["score"] if target["status"] == "ok" and target["score"] else target["status"]
    return str(status).replace("_", " ")


def _show_review(context: Context, target: Mapping[str, Any]) -> None:
    if not target["finding"]:
        st.text(f"There is nothing to decide about this target ({_why_none(context, target)}).")
        return
    finding = target["finding"]["finding_id"]
    history = context.log.history(finding)
    form, before = st.columns([2, 1], gap="large")
    with form:
        _show_form(context, finding)
    with before:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("**Verdict**", width="content")
            decision_badge(history[-1] if history else None)
        for verdict in reversed(history):
            _show_verdict(verdict)


def _show_form(context: Context, finding: str) -> None:
    with st.form(f"verdict {finding}", enter_to_submit=False):
        who, why = st.columns([1, 3])
        reviewer = who.text_input("Reviewer", key=kept("reviewer", context.reviewer))
        note = why.text_input("Note", key=f"note {finding} {len(context.log.history(finding))}")
        with st.container(horizontal=True):
            pressed = {name: st.form_submit_button(_LABELS[name]) for name in DECISIONS}
    for decision in (name for name, given in pressed.items() if given):
        _decide(context, finding, decision, reviewer, note)


def _show_verdict(verdict: Verdict) -> None:
    with st.container(gap=None):
        st.text(f"{verdict.decision}: {shorten(verdict.reviewer)}, {verdict.time[:16].replace('T', ' ')} UTC")
        if verdict.note:
            st.caption(plain(verdict.note, 2000))


def _decide(context: Context, finding: str, decision: str, reviewer: str, note: str) -> None:
    if not reviewer.strip():
        st.error("Say who decides: fill in the reviewer.")
        return
    context.log.add(finding, decision, reviewer, note)
    st.rerun()
