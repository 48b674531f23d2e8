"""What lies under the heat, in two dimensions: draw a line around some targets, look at them, decide about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st
from numpy.typing import NDArray

from audit.errors import RunError
from audit.store.verdicts.decided import Standing, decided
from audit.store.verdicts.log import DECISIONS, target_subject
from audit.wording import number, percent, plain, shorten
from dashboards.browsing.bulk import ALIKE, ask_about, show_targets, show_undo, visible_verdicts
from dashboards.browsing.filtering import LIKE, choose_filters
from dashboards.browsing.filters import Filters
from dashboards.browsing.queues import AT
from dashboards.components.scatter import Colouring, show_scatter
from dashboards.state import Context, go, show_notices
from dashboards.tables import PAGE
from dashboards.words import LABELS

_CHOSEN = "chosen on the map"
_COLOUR = "colour"
_MOST_NAMES = 10
_METHODS = {"pca": "two principal components", "tsne": "t-SNE", "umap": "UMAP"}
_STEPS = 5
_REST = "#8a867c"
"""Colour of what has no name of its own."""
_NAMED = (
    "#2a7fc0", "#d55e00", "#0a9070", "#c4659b", "#9a7b00", "#3c97c8", "#9b59b6", "#cc4440", "#5a8f3a", "#a8705f",
)  # fmt: skip
"""Of categories (after Okabe & Ito 2008); they stand out on light and on dark cards, 3 to 1."""
_RISING = ("#a8852a", "#cc7a33", "#e0604f", "#b8456f", "#9b59b6")
"""From little to much."""
_DECIDED = {"agree": "#d55e00", "disagree": "#0a9070", "unsure": "#9a7b00", "conflict": "#9b59b6"}


def show(context: Context) -> None:
    """Draw the page."""
    show_notices(context)
    with st.sidebar:
        filters = choose_filters(context.tables)
    try:
        made, points = context.tables.embedding.made, context.tables.points
    except RunError as error:
        st.warning(plain(str(error)))
        return
    if made is None or points is None:
        st.text("There is no map yet. It is made from what lies under the heat, by this command:")
        st.code(f"camaudit embed {context.run.path}", language=None)
        return
    st.caption(
        plain(
            f"{number(made.placed)} of {number(made.targets)} targets by what lies under their heat; by "
            f"{_METHODS[made.method]}. The components hold {percent(made.variance)} of its variance. Near is alike; "
            "far tells little."
        )
    )
    _show_map(context, filters, points)


def _show_map(context: Context, filters: Filters, points: pa.Table) -> None:
    standing = visible_verdicts(context)
    colour = _choose_colour(context)
    colouring = _COLOURINGS[colour](context, standing)
    kept = context.tables.on_map(filters, standing)
    places = show_scatter(
        "map",
        str(context.stamp),
        points["x"].to_numpy(),
        points["y"].to_numpy(),
        kept,
        colouring,
        f"{number(len(points))} targets placed by what lies under their heat, coloured by {colour}",
    )
    if places:
        keys = (points[name].take(pa.array(places)).to_pylist() for name in ("sample", "slot"))
        st.session_state[_CHOSEN] = [target_subject(*key) for key in zip(*keys, strict=True)]
    _show_chosen(context, st.session_state.get(_CHOSEN, []), standing)


def _choose_colour(context: Context) -> str:
    """What colours say, which stands in the address."""
    asked = st.query_params.get(_COLOUR, "class")
    st.session_state[_COLOUR] = asked if asked in _COLOURINGS else "class"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.text("Coloured by", width="content")
        choice: Any = {"key": _COLOUR, "required": True, "label_visibility": "collapsed", "on_change": _put_colour}
        st.segmented_control("Coloured by", list(_COLOURINGS), **choice)
    return str(st.session_state[_COLOUR])


def _put_colour() -> None:
    st.query_params[_COLOUR] = st.session_state[_COLOUR]


def _show_chosen(context: Context, subjects: Sequence[str], standing: Standing) -> None:
    """The targets within the line, a page at a time, and one decision about all."""
    if not subjects:
        st.text("Nothing is chosen yet.")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{number(len(subjects))} chosen**", width="stretch")
        decision = st.menu_button(
            f"All {number(len(subjects))}", list(DECISIONS), format_func=lambda name: f"{LABELS[name]} with all"
        )
        st.button("Choose none", on_click=st.session_state.update, args=({_CHOSEN: []},))
        show_undo(context)
    if decision:
        ask_about(context, lambda: subjects, len(subjects), decision)
    pages = -(-len(subjects) // PAGE)
    page = st.pagination(pages, key=f"page of {hash(tuple(subjects))}") if pages > 1 else 1
    rows = context.tables.rows(subjects[(page - 1) * PAGE : page * PAGE])
    asked = show_targets(context, "grid of map", rows, standing)
    if asked.open is not None:
        go("review", {AT: asked.open})
    if asked.action == ALIKE:
        go("browse", {LIKE: asked.subjects[0]})


def _by_class(context: Context, standing: Standing) -> Colouring:
    return _named(context.tables.known_of_points["class"])


def _by_cluster(context: Context, standing: Standing) -> Colouring:
    pairs = zip(context.tables.known_of_points["class"], context.tables.known_of_points["cluster"], strict=True)
    return _named([None if cluster is None else f"{name}, cluster {cluster}" for name, cluster in pairs], "no cluster")


def _by_claim(context: Context, standing: Standing) -> Colouring:
    """Of the surest claim that each counts for."""
    says = [shorten(claim.says, 60) for claim in context.tables.claims()]
    return _named([says[own[0]] if own else None for own in context.tables.known_of_points["claims"]], "no claim")


def _by_verdict(context: Context, standing: Standing) -> Colouring:
    names = list(_DECIDED)
    codes_of = {subject: names.index(decision) for subject, decision in decided(standing).items()}
    points = context.tables.points
    assert points is not None
    keys = zip(points["sample"].to_pylist(), points["slot"].to_pylist(), strict=True)
    codes = np.array([codes_of.get(target_subject(*key), len(names)) for key in keys])
    return Colouring(codes, [*names, "no verdict"], [*_DECIDED.values(), _REST])


def _by_severity(context: Context, standing: Standing) -> Colouring:
    return _in_steps(np.array(context.tables.known_of_points["severity"], np.float64))


def _in_steps(severity: NDArray[np.float64]) -> Colouring:
    """Equal ones, up to the highest there is."""
    known = ~np.isnan(severity)
    most = max(float(np.max(severity, where=known, initial=0)), 1e-9)
    steps = np.minimum(np.floor(np.nan_to_num(severity) / most * _STEPS), _STEPS - 1)
    codes = np.where(known, steps, _STEPS).astype(int)
    ends = [f"{most * step / _STEPS:.2f} to {most * (step + 1) / _STEPS:.2f}" for step in range(_STEPS)]
    return Colouring(codes, [*ends, "not judged"], [*_RISING, _REST])


_COLOURINGS: dict[str, Callable[[Context, Standing], Colouring]] = {
    "class": _by_class,
    "claim": _by_claim,
    "cluster": _by_cluster,
    "verdict": _by_verdict,
    "severity": _by_severity,
}


def _named(names: Sequence[str | None], without: str = "none") -> Colouring:
    """The most frequent names in colours of their own; the others, and those without, in grey."""
    found, counts = np.unique([name for name in names if name is not None], return_counts=True)
    most = [str(found[place]) for place in np.argsort(-counts, kind="stable")[:_MOST_NAMES]]
    codes: dict[Any, int] = {name: place for place, name in enumerate(most)}
    rest = len(most)
    code: NDArray[np.integer] = np.array([codes.get(n, rest + (n is None)) for n in names], np.int64)
    return Colouring(code, [*map(shorten, most), "others", without], [*_NAMED[:rest], _REST, _REST])
