"""Many targets at once: their pictures side by side, and one decision about all that were chosen, a row for each."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import streamlit as st

from audit.store.verdicts.decided import Standing, together
from audit.store.verdicts.log import DECISIONS, Verdict
from audit.wording import number, plain, shorten
from dashboards.components.grid import Action, Asked, Card, show_grid
from dashboards.header import ask_name
from dashboards.state import Context, small_picture
from dashboards.words import LABELS, why_none

ALIKE = "alike"
"""The action that asks for targets that are like the chosen one."""
_THREADS = 2
_DONE, _DRAWN = "bulk verdicts", "drawn "


def visible_verdicts(context: Context) -> Standing:
    """The verdicts that stand, as far as this reviewer may see them."""
    standing = context.log.standing()
    if not context.blind:
        return standing
    return {subject: of for subject, of in standing.items() if context.reviewer in of}


def show_targets(context: Context, key: str, rows: Sequence[Mapping[str, Any]], standing: Standing) -> Asked:
    """Draw targets as a grid in which some may be chosen; asks before a decision about them is stored.

    Returns:
        What was pressed beside that: a target to open, or `ALIKE`.
    """
    asked_for = tuple(sorted(st.query_params.to_dict().items())), tuple(row["subject"] for row in rows)
    page = f"{st.session_state.get(_DONE, 0)} {hash(asked_for)}"
    cards = [_card(context, row, standing.get(row["subject"], {})) for row in rows]
    decisions = [Action(name, LABELS[name]) for name in DECISIONS]
    actions = [*decisions, Action(ALIKE, "More like this", single=True)]
    place = st.empty()
    if st.session_state.get(_DRAWN + key) != page:
        # Pictures take longer than all else, so the words come first.
        with place:
            show_grid(f"{key}, words", page, cards, actions)
    with ThreadPoolExecutor(_THREADS) as pool:
        pictures = list(pool.map(lambda row: small_picture(context, row), rows))
    cards = [replace(card, image=_address(data)) for card, (data, _) in zip(cards, pictures, strict=True)]
    with place:
        asked = show_grid(key, page, cards, actions)
    st.session_state[_DRAWN + key] = page
    if asked.action in DECISIONS:
        ask_about(context, lambda: asked.subjects, len(asked.subjects), asked.action)
    amiss = [notices[0] for _, notices in pictures if notices]
    if amiss:
        st.caption(plain(f"{len(amiss)} of these {len(rows)} images cannot be shown in full. The first: {amiss[0]}"))
    return asked


def ask_about(context: Context, subjects: Callable[[], Sequence[str]], count: int, decision: str) -> None:
    """Ask before one decision about many targets is stored.

    Args:
        subjects: gives them, where it comes to that.
    """
    if not context.reviewer:
        ask_name()
    else:
        _confirm(context, subjects, count, decision)


@st.dialog("One decision about many")
def _confirm(context: Context, subjects: Callable[[], Sequence[str]], count: int, decision: str) -> None:
    of = f"{number(count)} target{'' if count == 1 else 's'}"
    st.markdown(f"**{LABELS[decision]}: {of}.** Does the model look off the object there?")
    st.text(
        f"A row for each is written under the name {shorten(context.reviewer, 40)}. "
        "Undo takes all of them back at once; what was decided before then stands again."
    )
    note = st.text_input("Note, kept with each", key="note of many")
    with st.container(horizontal=True):
        if st.button(f"{LABELS[decision]} with {of}" if decision != "unsure" else f"Unsure about {of}", type="primary"):
            written = context.log.add_all(subjects(), decision, context.reviewer, note)
            st.session_state[_DONE] = st.session_state.get(_DONE, 0) + 1
            st.toast(f"{number(len(written))} verdicts stored.")
            st.rerun()
        if st.button("Cancel"):
            st.rerun()


def show_undo(context: Context) -> None:
    """A button that takes back the reviewer's last act, once one was done here."""
    if not st.session_state.get(_DONE) or not context.reviewer:
        return
    if st.button("Undo", icon=":material/undo:", help="Take back your last act, one verdict or many."):
        back = context.log.undo(context.reviewer)
        st.toast(f"{number(len(back))} verdicts taken back." if back else "Nothing is left to take back.")
        st.session_state[_DONE] += 1
        st.rerun()


def _card(context: Context, row: Mapping[str, Any], verdicts: Mapping[str, Verdict]) -> Card:
    """A card without its picture."""
    name = f"{shorten(row['class'], 40)} in {shorten(row['id'], 60)}"
    tag = together(verdict.decision for verdict in verdicts.values()) or ""
    return Card(
        subject=row["subject"],
        alt=f"{name}: the heat over the image",
        title=f"{shorten(row['class'], 24)} · {shorten(row['id'], 40)}",
        about=(_figures(row), _found(context, row)),
        tag=tag,
        tone=tag,
    )


def _address(picture: bytes) -> str:
    return f"data:image/webp;base64,{b64encode(picture).decode()}"


def _figures(row: Mapping[str, Any]) -> str:
    energy = "" if row["energy"] is None else f" · heat on object {row['energy']:.2f}"
    return f"p {row['probability']:.2f}{energy}"


def _found(context: Context, row: Mapping[str, Any]) -> str:
    if row["kind"] is None:
        return why_none(context, row)
    return f"{row['kind']} · suspicion {row['suspicion']:.2f}"
