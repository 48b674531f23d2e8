"""One target after another: look, decide with a key, go on by itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import streamlit as st

from audit.errors import AuditError
from audit.scores import iou_curve
from audit.store.verdicts.decided import Standing
from audit.store.verdicts.log import DECISIONS, Verdict, target_of, target_subject
from audit.wording import number, percent, plain, shorten
from dashboards.browsing.queues import AT, CLAIM, Queue, Targets, asked_queue, targets_of, title_of
from dashboards.components.viewer import NOTE, picture_data, show_viewer
from dashboards.header import ask_name, others
from dashboards.state import SENTENCE, Context, Shown, fragment, go, load_ahead, picture_of, show_notices, shown
from dashboards.views.details import show_details
from dashboards.words import LABELS, decision_badge, html_facts, show_verdict, why_none

_KEYS = dict(zip(DECISIONS, ("1", "2", "3"), strict=True))
_AHEAD = 3
_GLANCE_S = 0.2
_SHOWN = "shown since"
_VIEWER = "viewer"


def show(context: Context) -> None:
    """Draw the page."""
    show_notices(context)
    queue = asked_queue(st.query_params, context.log.last(), context.tables.findings_count() > 0)
    targets = targets_of(context, queue)
    if not targets:
        _show_empty(context, queue)
        return
    _pin(queue)
    _show_place(context, queue, targets)


def _pin(queue: Queue) -> None:
    """Put the queue into the address, so that a reload finds the same."""
    for name, value in queue.query().items():
        if value and st.query_params.get(name) != value:
            st.query_params[name] = value


def _show_empty(context: Context, queue: Queue) -> None:
    st.subheader(plain(title_of(context, queue), 200))
    st.text("No target is in this queue.")
    if st.button("Browse all targets"):
        go("browse")


@fragment
def _show_place(context: Context, queue: Queue, targets: Targets) -> None:
    """Draw the place that the address names, and whatever moves from it."""
    standing, subjects = context.standing, targets.subjects
    place = targets.place_of(st.query_params.get(AT), standing, context.reviewer)
    _show_way(context, queue, targets, place, standing)
    subject = subjects[place]
    if st.query_params.get(AT) != subject:
        st.query_params[AT] = subject
    target = _target(context, subject)
    if target is None:
        st.info(plain(_why_unseen(context, subject)))
        return
    verdicts = standing.get(subject, {})
    # Before the picture, so that a key pressed on it is about it.
    _show_keys(context, subjects, place, verdicts.get(context.reviewer))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _show_picture(context, target)
    with right:
        _show_case(context, target)
        _show_verdicts(context, verdicts)
    show_details(context, target)
    _load_next(context, subjects[place + 1 : place + 1 + _AHEAD])


def _why_unseen(context: Context, subject: str) -> str:
    """Why there is nothing to see of a target."""
    found = target_of(subject)
    sample = context.tables.sample(found[0]) if found else None
    if sample is None:
        return context.tables.why_unknown(found[0] if found else None)
    return f"{sample['id']}: {sample['status']}, {shorten(sample['reason'] or 'it has no such target', 400)}"


def _target(context: Context, subject: str) -> dict[str, Any] | None:
    found = target_of(subject)
    return context.tables.target(*found) if found else None


def _show_way(context: Context, queue: Queue, targets: Targets, place: int, standing: Standing) -> None:
    """The queue, where one is in it, and the ways back and on."""
    subjects, done = targets.subjects, targets.decided_by(context.reviewer, standing)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{plain(title_of(context, queue), 200)}**", width="stretch")
        st.text(f"{number(place + 1)} of {number(len(subjects))}, {number(done)} by you", width="content")
        for label, icon, step, key in (("Back", "arrow_back", -1, "Left"), ("On", "arrow_forward", 1, "Right")):
            there = 0 <= place + step < len(subjects)
            at = subjects[place + step] if there else ""
            icon = f":material/{icon}:"
            st.button(label, icon=icon, shortcut=key, disabled=not there, on_click=_open, args=(at,), width="content")
    if queue.kind == CLAIM:
        _show_claim(context, queue.of, standing.get(queue.of, {}))


def _show_claim(context: Context, claim_id: str, verdicts: Mapping[str, Verdict]) -> None:
    """What verdicts on its images say of a claim, and the verdict on the claim itself."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(plain(context.precision(claim_id).says), width="stretch")
        mine = verdicts.get(context.reviewer)
        with st.popover(f"The claim: {mine.decision}" if mine else "Decide on the claim", type="tertiary"):
            note = f"note {claim_id}"
            st.markdown("**Does the claim hold?**")
            st.text_input("Note", key=note, persist_state="session")
            with st.container(horizontal=True, gap="small"):
                for decision in DECISIONS:
                    given = (context, claim_id, decision, note)
                    st.button(LABELS[decision], key=f"claim {decision}", on_click=_decide, args=given)
            for verdict in others(verdicts, context):
                show_verdict(verdict)


def _open(subject: str) -> None:
    st.query_params[AT] = subject


def _show_picture(context: Context, target: Mapping[str, Any]) -> None:
    key = shown(context, target)
    picture = picture_of(key)
    for line in picture.notices[:2]:
        st.warning(plain(line))
    if picture.image is None:
        return
    scored = target["inside"] is not None and target["outside"] is not None
    curve = iou_curve(np.array(target["inside"]), np.array(target["outside"])) if scored else None
    show_viewer(
        _VIEWER,
        target_subject(target["sample"], target["slot"]),
        _data(key),
        _name(target),
        context.tables.threshold(),
        None if curve is None else np.nan_to_num(curve).round(4).tolist(),
        f"No IoU: {_why_unscored(target)}",
        picture.target is None and not picture.on_grey,
        partial(_keep_box, context),
    )


def _why_unscored(target: Mapping[str, Any]) -> str:
    return "its scores cannot be read" if target["status"] == "scored" else str(target["status"]).replace("_", " ")


def _keep_box(context: Context) -> None:
    """Store a box with a verdict that leaves the question open, where none was given yet."""
    drawn = st.session_state[_VIEWER].get("box")
    if not drawn:
        return
    if not context.reviewer:
        ask_name()
        return
    subject = str(drawn["subject"])
    given = context.standing.get(subject, {}).get(context.reviewer)
    decision, note = (given.decision, given.note) if given else ("unsure", "")
    x0, y0, x1, y1 = (float(side) for side in drawn["corners"])
    context.log.add(subject, decision, context.reviewer, note, (x0, y0, x1, y1))


def _show_case(context: Context, target: Mapping[str, Any]) -> None:
    """Why one should look, label against prediction, and the numbers that matter."""
    st.markdown(f"**{_name(target)}**")
    st.text(shorten(target["says"] or f"No finding: {why_none(context, target)}.", SENTENCE))
    st.html(html_facts(_facts(context, target)))


def _name(target: Mapping[str, Any]) -> str:
    return plain(f"{shorten(target['class'])} in {shorten(target['id'], 60)}", 120)


def _facts(context: Context, target: Mapping[str, Any]) -> dict[str, str]:
    facts = {"this map is of": f"{target['class']} ({target['role'].replace('_', ' ')}), p {target['probability']:.2f}"}
    if target["error"] is not None:
        facts["the box"] = "is right" if target["right"] else f"is wrong: {target['error']}"
    elif target["right"] is not None:
        answer = "a label of the image" if target["right"] else "no label of the image"
        facts["the model says"] = f"{target['predicted'] or 'another class'}, {answer}"
    if target["energy"] is not None:
        facts["on the object"] = f"{percent(target['energy'])} of the heat; it covers {percent(target['area'])}"
        facts["by chance"] = f"{percent(target['chance'])} of random places do as well"
    if target["suspicion"] is not None:
        facts["suspicion"] = f"{target['suspicion']:.2f}"
    if target["quick_reliance"] is not None:
        left = target["probability"] * (1 - target["quick_reliance"])
        facts["without background"] = f"p {target['probability']:.2f} to {left:.2f} (quick check)"
    effect = context.tables.effect(target["sample"], target["slot"])
    if effect is not None:
        facts["interventions"] = f"{effect.outcome}; {_share(effect.reliance)} of p hangs on the background"
    if target["attributes"]:
        facts["image"] = ", ".join(f"{name} {value}" for name, value in target["attributes"].items())
    return facts


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else percent(value)


def _show_keys(context: Context, subjects: Sequence[str], place: int, mine: Verdict | None) -> None:
    """The keys and the note, always in view."""
    subject, then = subjects[place], subjects[min(place + 1, len(subjects) - 1)]
    note = f"note {subject}"
    if st.session_state.get(_SHOWN, ("", 0.0))[0] != subject:
        st.session_state[_SHOWN] = subject, time.monotonic()
    with st.bottom, st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Off the object here?**", width="content")
        for decision in DECISIONS:
            given = mine is not None and mine.decision == decision
            st.button(
                LABELS[decision],
                key=f"decide {decision}",
                shortcut=_KEYS[decision],
                type="primary" if given else "secondary",
                on_click=_decide,
                args=(context, subject, decision, note, then),
            )
        st.button("Undo", key="undo", shortcut="U", on_click=_undo, args=(context,), type="tertiary")
        st.text_input("Note", key=note, persist_state="session", placeholder=NOTE, label_visibility="collapsed")


def _show_verdicts(context: Context, verdicts: Mapping[str, Verdict]) -> None:
    """Who decided what, as far as this reviewer may see it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        decision_badge(verdicts.get(context.reviewer))
        for verdict in others(verdicts, context):
            st.caption(plain(f"{shorten(verdict.reviewer, 24)}: {verdict.decision}"), width="content")


def _decide(context: Context, subject: str, decision: str, note: str, then: str | None = None) -> None:
    """Store a verdict and go on."""
    if not context.reviewer:
        ask_name()
        return
    if then is not None and _is_amiss(subject):
        return
    try:
        context.log.add(subject, decision, context.reviewer, st.session_state.get(note, ""))
    except AuditError as error:
        st.toast(plain(str(error)), icon=":material/error:")
        return
    if then is not None:
        st.query_params[AT] = then


def _is_amiss(subject: str) -> bool:
    """Whether a key was not meant for this target: the page has gone on, or has shown it for less than a glance."""
    last, since = st.session_state.get(_SHOWN, ("", 0.0))
    return st.query_params.get(AT) != subject or (last == subject and time.monotonic() - since < _GLANCE_S)


def _undo(context: Context) -> None:
    """Take the last verdict back, and return to it."""
    withdrawn = context.log.undo(context.reviewer) if context.reviewer else []
    if not withdrawn:
        st.toast("There is nothing to undo.")
        return
    if target_of(withdrawn[0].subject):
        st.query_params[AT] = withdrawn[0].subject


@lru_cache(maxsize=24)
def _data(key: Shown) -> dict[str, Any]:
    return picture_data(picture_of(key))


def _load_next(context: Context, subjects: Sequence[str]) -> None:
    targets = [target for subject in subjects if (target := _target(context, subject)) is not None]
    load_ahead(_data, [shown(context, target) for target in targets])
