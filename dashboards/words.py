"""Words and small parts that several pages use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from markupsafe import Markup

from audit.store.verdicts.log import Verdict
from audit.wording import plain, shorten
from dashboards.state import Context

LABELS = {"agree": "Agree", "disagree": "Disagree", "unsure": "Unsure"}
"""Of decisions, on buttons."""
DECIDED = {"agree": "red", "disagree": "green", "unsure": "orange"}
"""Colours of decisions."""


def decision_badge(verdict: Verdict | None) -> None:
    """The decision as a badge, or that there is none."""
    if verdict is None:
        st.badge("no verdict of yours", color="gray")
    else:
        st.badge(verdict.decision, color=DECIDED[verdict.decision])  # type: ignore[arg-type]


def html_facts(facts: Mapping[str, str]) -> str:
    """Names and values side by side, as HTML."""
    rows = Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(name, value) for name, value in facts.items())
    return str(Markup('<dl class="facts">{}</dl>').format(rows))


def html_figures(figures: Mapping[str, tuple[str, str]]) -> str:
    """Numbers to see at a glance, each with its name and what it is of, as HTML."""
    cell = Markup("<div><dt>{}</dt><dd>{} <small>{}</small></dd></div>")
    return str(
        Markup('<dl class="figures">{}</dl>').format(Markup("").join(cell.format(n, *of) for n, of in figures.items()))
    )


def why_none(context: Context, target: Mapping[str, Any]) -> str:
    """Why there is no finding about a target."""
    if not context.tables.flagged:
        return "the run was not flagged yet"
    return "nothing stands out" if target["status"] == "scored" else str(target["status"]).replace("_", " ")


def show_verdict(verdict: Verdict) -> None:
    """A verdict with who gave it, when, and the note."""
    with st.container(gap=None):
        when = verdict.time[:16].replace("T", " ")
        st.text(f"{verdict.decision}: {shorten(verdict.reviewer)}, {when} UTC")
        if verdict.note:
            st.caption(plain(verdict.note, 2000))
