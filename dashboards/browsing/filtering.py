"""The widgets of the filters. The address is the truth: each widget shows what stands there, and writes it there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from audit.findings.records import OUTCOMES, UNTESTED
from audit.store.verdicts.log import DECISIONS
from audit.wording import shorten
from dashboards.browsing.filters import ANY, NONE, RIGHT, WRONG, Filters
from dashboards.tables import RunTables

PAGE_NUMBER, LIKE = "page", "like"
"""In an address: the number of the page, from 1; the target whose neighbours are shown."""
_KEY = "filter "
_STEP = 0.05
_FINDING = {ANY: "any finding", NONE: "no finding"}
_VERDICT = {ANY: "any", NONE: "none yet", "conflict": "reviewers disagree"}
_ANSWER = {RIGHT: "the answer is right", WRONG: "the answer is wrong"}


def choose_filters(tables: RunTables) -> Filters:
    """Draw the widgets for what the run has, and return the filters that stand in the address."""
    filters = Filters.from_query(st.query_params)
    _text("text", "Text in id or attributes", filters.text)
    _select("class_name", "Class", tables.values("class"), filters)
    _select("kind", "Finding", [ANY, NONE, *tables.values("kind")], filters, _FINDING)
    claims = {claim.claim_id: f"{place + 1}. {claim.says}" for place, claim in enumerate(tables.claims())}
    _select("claim", "Claim", list(claims), filters, claims)
    if filters.class_name is not None:
        clusters = tables.values("cluster", Filters(class_name=filters.class_name))
        _select("cluster", "Cluster of the class", clusters, filters)
    _select("attribute", "Attribute", [f"{n}={v}" for n, values in tables.attributes.items() for v in values], filters)
    _select("verdict", "Verdict", [ANY, NONE, *DECISIONS, "conflict"], filters, _VERDICT)
    _select("answer", "Label against answer", [RIGHT, WRONG], filters, _ANSWER)
    if tables.findings.has_effects:
        _select("outcome", "Interventions", [*OUTCOMES, UNTESTED], filters)
    _share("probability", "Least probability", filters.probability)
    if tables.scored:
        _share("severity", "Least severity", filters.severity)
        _range("Area of the object", filters)
    for name, label in (("role", "Role"), ("status", "Score")):
        options = tables.values(name)
        if len(options) > 1 or getattr(filters, name) is not None:
            _select(name, label, options, filters)
    st.button("Clear all filters", on_click=put, args=(Filters(),), disabled=filters == Filters(), width="stretch")
    return filters


def put(filters: Filters) -> None:
    """Write filters into the address, whose first page is then shown."""
    query = filters.to_query()
    every = {"class" if name == "class_name" else name for name in Filters.__slots__}
    for name in (every | {PAGE_NUMBER, LIKE}) - query.keys():
        st.query_params.pop(name, None)
    for name, value in query.items():
        st.query_params[name] = value


def _take(name: str, read: Callable[[Any], Any]) -> None:
    """What a widget was set to goes into the address; a cluster is of one class alone."""
    before = Filters.from_query(st.query_params)
    value = read(st.session_state[_KEY + name])
    after = (
        replace(before, **{name: value}) if name != "area" else replace(before, area_from=value[0], area_to=value[1])
    )
    put(replace(after, cluster=None) if name == "class_name" else after)


def _set(name: str, value: Any) -> str:
    """The key of a widget that shows a value."""
    st.session_state[_KEY + name] = value
    return _KEY + name


def _text(name: str, label: str, value: str | None) -> None:
    st.text_input(label, key=_set(name, value or ""), on_change=_take, args=(name, lambda text: text.strip() or None))


def _select(
    name: str, label: str, options: Sequence[Any], filters: Filters, names: Mapping[Any, str] | None = None
) -> None:
    """A choice of one or none; what the address asks for is offered though the run has it not."""
    value = getattr(filters, name)
    if not options and value is None:
        return
    offered = list(options) if value is None or value in options else [*options, value]
    st.selectbox(
        label,
        offered,
        key=_set(name, value),
        index=None,
        placeholder="all",
        format_func=lambda option: shorten((names or {}).get(option, option), 90),
        on_change=_take,
        args=(name, lambda chosen: chosen),
    )


def _share(name: str, label: str, value: float | None) -> None:
    st.slider(
        label, 0.0, 1.0, step=_STEP, key=_set(name, value or 0.0), on_change=_take, args=(name, lambda v: v or None)
    )


def _range(label: str, filters: Filters) -> None:
    ends = (filters.area_from or 0.0, 1.0 if filters.area_to is None else filters.area_to)
    read: Callable[[tuple[float, float]], Any] = lambda pair: (pair[0] or None, pair[1] if pair[1] < 1 else None)  # noqa: E731
    st.slider(label, 0.0, 1.0, step=_STEP, key=_set("area", ends), on_change=_take, args=("area", read))
