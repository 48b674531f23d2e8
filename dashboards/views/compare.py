"""This run beside another over the same images, by what changed: claims, then the targets that changed most."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st
from markupsafe import Markup

from audit.compare import CHANGES, compare_runs, most_moved, moved_targets
from audit.errors import AuditError, RunError
from audit.store import Run, layout
from audit.store.storage.objects import Location
from audit.wording import number, percent, plain, shorten
from dashboards.state import SENTENCE, Context, go, open_context, show_notices, small_picture
from dashboards.words import html_facts, html_figures

OTHER, ORDER, PAGE = "other", "by", "page"
"""Names in the address: directory of the other run beside this one; what targets are ordered by; which page of them."""
PAIRS = 8
"""Targets on a page."""
_MOST_CLAIMS = 12
_TITLES = {"heat": "heat moved", "energy": "energy", "severity": "severity", "probability": "probability"}
_MEASURES = {"energy": "energy on the object", "off_object": "off the object", "accuracy": "named rightly"}


@dataclass(frozen=True)
class Comparison:
    """What changed from the other run to this one.

    Attributes:
        record: see `audit.compare.compare_runs`; A is the other run.
        moved: see `audit.compare.moved_targets`.
    """

    record: Mapping[str, Any]
    moved: pd.DataFrame


def show(context: Context) -> None:
    """Draw the page."""
    show_notices(context)
    siblings = sibling_runs(context.run.path)
    other = _choose(siblings)
    if not siblings:
        folder = context.run.path.resolve().parent
        st.info(plain(f"There is no other run in {folder}. Audit the same images with another model or method there."))
    if other is None:
        return
    try:
        beside = open_context(siblings[other], context.reviewer, context.reach)
        found = compared(context, beside)
    except (AuditError, OSError) as error:
        st.warning(plain(f"{other} cannot be held beside this run: {error}", 1000))
        return
    _show_change(found.record, other)
    _show_claims(found.record, other)
    _show_moved(context, beside, found.moved, other)


def sibling_runs(path: Location) -> dict[str, Location]:
    """Other runs in the folder of a run, by the names of their directories. No address reaches any other folder."""
    own = path.resolve()
    places = sorted(place for place in own.parent.iterdir() if (place / layout.RUN_JSON).is_file())
    return {place.name: place for place in places if place.resolve() != own}


def compared(context: Context, beside: Context) -> Comparison:
    """What changed from the run beside to this one.

    Raises:
        RunError: they are over other images, or cannot be compared.
    """
    return _compared(*((str(one.run.path), one.stamp) for one in (context, beside)))


@st.cache_resource(max_entries=2, show_spinner="Comparing the runs …")
def _compared(own: tuple[str, tuple[str, ...]], beside: tuple[str, tuple[str, ...]]) -> Comparison:
    run, other = (Run.open(path) for path, _ in (own, beside))
    record = compare_runs(other, run)
    samples = record["samples"]
    if samples["changed"] == samples["both"]:
        raise RunError(f"not one of {number(samples['both'])} images of the same name is the same file")
    return Comparison(record, moved_targets(other, run))


def _choose(siblings: Mapping[str, Location]) -> str | None:
    """The other run: the one in the address, or chosen."""
    asked = st.query_params.get(OTHER)
    if asked is not None and asked not in siblings:
        st.warning(plain(f"There is no run {shorten(asked)} beside this one."))
        del st.query_params[OTHER]
        return None
    if not siblings:
        return None
    return st.selectbox(
        "The other run",
        list(siblings),
        index=None,
        placeholder="Choose a run over the same images",
        key=OTHER,
        bind="query-params",
    )


def _show_change(record: Mapping[str, Any], other: str) -> None:
    """What differs, and the measures of both."""
    samples, targets = record["samples"], record["targets"]
    changed = f", {number(samples['changed'])} of them with another file" if samples["changed"] else ""
    differs = "; ".join(shorten(text, 120) for text in record["differs"]) or "nothing"
    st.caption(
        plain(
            f"{number(samples['both'])} images{changed}, {number(targets['both'])} targets in both. "
            f"From {other} to this run differs: {differs}",
            SENTENCE,
        )
    )
    figures = {title: _measured(record["measures"][name]) for name, title in _MEASURES.items()}
    st.html(html_figures({title: figure for title, figure in figures.items() if figure is not None}))
    for reason in record["worse"]:
        st.text(f"Worse than in {other}: {shorten(reason, SENTENCE)}")


def _measured(measure: Mapping[str, Any]) -> tuple[str, str] | None:
    """This run's mean, and the other's with the interval of the difference; nothing where neither knows it."""
    if measure["difference"] is None:
        return None
    interval = f"{measure['low']:+.3f} to {measure['high']:+.3f}"
    return f"{measure['b']:.3f}", f"was {measure['a']:.3f}; change {interval}"


def _show_claims(record: Mapping[str, Any], other: str) -> None:
    claims = record["claims"]
    if claims is None:
        return
    came, went = st.columns(2, gap="large")
    with came:
        _list_claims("Claims of this run alone", claims["new"])
    with went:
        _list_claims(f"Claims of {shorten(other, 40)} alone", claims["gone"])


def _list_claims(title: str, claims: Sequence[Mapping[str, Any]]) -> None:
    st.subheader(plain(f"{title}: {len(claims)}"))
    for claim in claims[:_MOST_CLAIMS]:
        st.text(shorten(claim["says"] or claim["claim_id"], SENTENCE))
    if len(claims) > _MOST_CLAIMS:
        st.caption(f"and {number(len(claims) - _MOST_CLAIMS)} more: camaudit compare")


def _show_moved(context: Context, beside: Context, moved: pd.DataFrame, other: str) -> None:
    """The targets that changed most, both maps beside one another."""
    known = [name for name in CHANGES if moved[name].notna().any()]
    st.subheader("Targets that changed most")
    with st.container(horizontal=True, vertical_alignment="center"):
        order = st.segmented_control(
            "Ordered by",
            known,
            default=known[0] if known else None,
            format_func=_TITLES.__getitem__,
            key=ORDER,
            bind="query-params",
            label_visibility="collapsed",
        )
    least = context.tables.findings.rules().confident
    named = moved[(moved["probability_a"] >= least) | (moved["probability_b"] >= least)]
    rows = most_moved(named, order or CHANGES[0])
    st.caption(plain(f"Of {number(len(named))} targets that a run names with {percent(least)} or more."))
    if rows.empty:
        st.text("No target changed.")
        return
    pages = -(-len(rows) // PAIRS)
    page = st.pagination(pages, key=PAGE, bind="query-params") if pages > 1 else 1
    for row in rows.iloc[(page - 1) * PAIRS : page * PAIRS].to_dict("records"):
        _show_pair(context, beside, row, other)


def _show_pair(context: Context, beside: Context, row: Mapping[Any, Any], other: str) -> None:
    subject = f"{row['sample_b']}:{row['slot_b']}"
    with st.container(border=True):
        pictures, facts = st.columns([3, 2], vertical_alignment="center")
        shown = [_pictured(beside, row, "a", other), _pictured(context, row, "b", "this run")]
        pictures.html(Markup('<div class="strip">{}</div>').format(Markup("").join(shown)))
        with facts:
            st.text(f"{shorten(row['class'], 40)} in {shorten(row['id'], 60)}")
            st.html(html_facts(_changes(row)))
            if st.button("Review", key=f"review {subject}"):
                go("review", {"at": subject})


def _pictured(context: Context, row: Mapping[Any, Any], side: str, name: str) -> Markup:
    """A run's heat over the image, with the run's name below."""
    target = {part: row[f"{part}_{side}"] for part in ("sample", "slot", "class_id")}
    data, _ = small_picture(context, target)
    alt = f"{shorten(row['class'], 40)} in {shorten(row['id'], 60)}: the heat of {shorten(name, 40)} over the image"
    image = Markup('<img src="data:image/webp;base64,{}" alt="{}">').format(b64encode(data).decode(), alt)
    return Markup('<div>{}<p class="tags">{}</p></div>').format(image, shorten(name, 40))


def _changes(row: Mapping[Any, Any]) -> dict[str, str]:
    """What changed, from the other run to this one."""
    facts = {"heat elsewhere": "-" if pd.isna(row["heat"]) else f"{100 * row['heat']:.0f} %"}
    for name in CHANGES[1:]:
        before, after = row[f"{name}_a"], row[f"{name}_b"]
        if not (pd.isna(before) and pd.isna(after)):
            facts[name] = f"{_figure(before)} → {_figure(after)}"
    before, after = ("none" if pd.isna(kind := row[f"kind_{side}"]) else kind for side in "ab")
    return facts | {"finding": f"{before} → {after}"}


def _figure(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.2f}"
