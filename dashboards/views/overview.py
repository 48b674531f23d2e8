"""The run as a whole: what was found about classes, how many of everything, how good the maps are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from audit.findings import Claim, ClassFinding
from audit.findings.claims.registry import kind_of
from audit.findings.dependence import units_said
from audit.findings.power import explain_silence
from audit.store import layout
from audit.wording import percent, plain, shorten
from dashboards.state import SENTENCE, Context, choose, go, show_notices

MOST_CLASSES = 30
MOST_CLAIMS = 40
_SILENT = 20
_OFF, _ON, _LINE = "#c2413b", "#9aa5b1", "#3b6ea5"


def show(context: Context) -> None:
    """Draw the page."""
    tables = context.tables
    summary, classes, claims = tables.summary(), tables.classes(), tables.claims()
    st.title(plain(context.run.path.resolve().name, 60))
    st.caption(plain(_provenance(context)))
    show_notices(context)
    _show_units(summary)
    _show_class_claims([claim for claim in claims if kind_of(claim).whole], classes)
    _show_claims([claim for claim in claims if not kind_of(claim).whole])
    _show_silence(summary)
    _show_counts(context)
    _show_means(tables.means(), tables.statuses("scores"))
    left, right = st.columns(2, gap="large")
    with left:
        _show_curve(summary)
    with right:
        _show_shares(classes, summary)
    _show_table(classes)
    _show_failures(context)


def _provenance(context: Context) -> str:
    record = context.run.record
    config = record["config"]
    parts = {
        "model": Path(record["source"]["model"]).name,
        "layer": record["model"]["layer"],
        "method": config["method"],
        "targets": ", ".join(config["roles"]),
        "begun": record["created"][:16].replace("T", " ") + " UTC",
    }
    return " · ".join(f"{name} {value}" for name, value in parts.items() if value)


def _show_units(summary: Mapping[str, Any] | None) -> None:
    """What counted as one witness, or why images may not be independent."""
    said = units_said(summary or {})
    if said:
        st.info(plain(f"{said}."))


def _show_silence(summary: Mapping[str, Any] | None) -> None:
    """How common a shortcut must be to have been found, and what stands out without being proved."""
    said = explain_silence(summary or {}, most=_SILENT)
    if said:
        with st.expander("What silence means here", icon=":material/hearing:"):
            st.markdown("\n".join(f"- {plain(text)}" for text in said))


def _show_class_claims(claims: list[Claim], classes: list[ClassFinding]) -> None:
    """What was found of whole classes, each with a way to its findings; nothing where no class was judged."""
    if not any(row.confident for row in classes):
        return
    st.subheader("What looks off the object")
    if not claims:
        st.text("No class looks off the object more often than is tolerated, nor than other classes allow.")
    for claim in claims[:MOST_CLASSES]:
        told, more = st.columns([7, 1], vertical_alignment="center")
        with told.container(gap=None):
            st.text(shorten(claim.says, SENTENCE))
            st.caption(plain(_standing(claim)))
        if more.button("Show findings", key=f"class {claim.class_id}", width="stretch"):
            choose("class", claim.class_name)
            go("findings")


def _show_claims(claims: list[Claim]) -> None:
    """What was found of zones, contexts, spots, groups and clusters."""
    if not claims:
        return
    st.subheader("Where, beside what, and for whom")
    for claim in claims[:MOST_CLAIMS]:
        with st.container(gap=None):
            st.text(shorten(claim.says, SENTENCE))
            st.caption(plain(_standing(claim)))
    if len(claims) > MOST_CLAIMS:
        st.caption(f"The surest {MOST_CLAIMS} of {len(claims)}; camaudit report draws them.")


def _standing(claim: Claim) -> str:
    """How sure a claim is and what it rests on, in a line."""
    q = "" if claim.q is None else f" · q {claim.q:.2g}"
    return f"{claim.kind}{q} · interventions: {claim.outcome} · rests on {claim.rests_on}"


def _show_counts(context: Context) -> None:
    account = context.tables.account()
    samples = {} if account is None else {n: getattr(account, n) for n in ("processed", "failed", "pending")}
    counts = {"Samples": samples, "Targets": context.tables.statuses("targets")}
    counts["Scores"] = context.tables.statuses("scores")
    for column, (title, numbers) in zip(st.columns(3), counts.items(), strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{title}**")
            with st.container(horizontal=True, gap="large"):
                for name, number in numbers.items():
                    st.metric(plain(name.replace("_", " ")), f"{number:,}", width="content")
            if not numbers:
                st.caption("none")


def _show_means(means: Mapping[str, float | None], scores: Mapping[str, int]) -> None:
    if means.get("energy") is None:
        return
    columns = st.columns(4)
    with columns[0].container(border=True, height="stretch"):
        _against_centre("Pointing hit", means["hit"], means["centre_hit"])
    with columns[1].container(border=True, height="stretch"):
        _against_centre("Pointing hit within 15 px", means["hit_15px"], means["centre_hit_15px"])
    with columns[2].container(border=True, height="stretch"):
        st.metric("Mean energy on the object", _share(means["energy"]))
        st.caption(f"the object covers {_share(means['area'])} of the view")
    with columns[3].container(border=True, height="stretch"):
        st.metric("Mean lift (energy / area)", "unknown" if means["lift"] is None else f"{means['lift']:.2f}")
        st.caption("1 is heat spread evenly")
    st.caption(f"Means over {scores.get('scored', 0):,} scored targets")


def _against_centre(name: str, hit: float | None, centre: float | None) -> None:
    st.metric(name, _share(hit))
    st.caption(f"the centre of the view: {_share(centre)}")


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _show_curve(summary: Mapping[str, Any] | None) -> None:
    curve = (summary or {}).get("mean_iou_curve")
    if not summary or not curve:
        return
    chosen, value = summary["threshold"], summary["mean_iou"]
    st.subheader("Pseudo-masks")
    st.caption(f"Mean IoU {value:.3f} at the run's threshold {chosen:.3f}, pooled over all labelled pixels")
    rows = pd.DataFrame({"threshold": [level / layout.LEVELS for level in range(len(curve))], "iou": curve})
    x = alt.X("threshold:Q", title="Threshold (share of the map's peak)", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("iou:Q", title="Mean IoU", axis=alt.Axis(format=".2f"))
    tip = [alt.Tooltip("threshold:Q", format=".3f"), alt.Tooltip("iou:Q", format=".3f", title="mean IoU")]
    line = alt.Chart(rows).mark_line(color=_LINE).encode(x, y, tooltip=tip)
    mark = pd.DataFrame({"threshold": [chosen], "iou": [value]})
    rule = alt.Chart(mark).mark_rule(color=_OFF, strokeDash=[4, 4]).encode(x)
    dot = alt.Chart(mark).mark_point(color=_OFF, filled=True, size=80).encode(x, y, tooltip=tip)
    st.altair_chart((line + rule + dot).properties(height=396))


def _show_shares(classes: list[ClassFinding], summary: Mapping[str, Any] | None) -> None:
    rows = [_bar(row) for row in classes if row.confident]
    if not rows:
        return
    total, rows = len(rows), sorted(rows, key=lambda row: -row["share"])[:MOST_CLASSES]
    tolerated = (summary or {}).get("rules", {}).get("tolerated")
    st.subheader("Off the object, by class")
    st.caption(_legend(total, tolerated))
    names = alt.Axis(labelLimit=160, labelOverlap=False)
    y = alt.Y("class:N", sort=[row["class"] for row in rows], title=None, axis=names)
    scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(format=".0%")
    x = alt.X("share:Q", title="Share of confidently named targets that look off the object", scale=scale, axis=axis)
    fill = alt.Color("state:N", scale=alt.Scale(domain=["finding", "none"], range=[_OFF, _ON]), legend=None)
    rounded = [alt.Tooltip(f"{name}:Q", format=".2g") for name in ("share", "q")]
    tip = ["class:N", "off_object:Q", "confident:Q", *rounded]
    base = alt.Chart(pd.DataFrame(rows))
    bars = base.mark_bar(height={"band": 0.65}).encode(x, y, fill, tooltip=tip)
    spread = base.mark_rule(color="#2f3b47").encode(alt.X("share_low:Q"), alt.X2("share_high:Q"), y)
    chart = bars + spread
    if tolerated is not None:
        line = alt.Chart(pd.DataFrame({"share": [tolerated]})).mark_rule(strokeDash=[4, 4], color="#6b7280").encode(x)
        chart = chart + line
    st.altair_chart(chart.properties(height=max(22 * len(rows), 120)))


def _bar(row: ClassFinding) -> dict[str, Any]:
    names = ("off_object", "confident", "share", "share_low", "share_high", "q")
    state = "finding" if row.is_finding else "none"
    return {"class": shorten(row.class_name, 30), "state": state} | {name: getattr(row, name) for name in names}


def _legend(total: int, tolerated: float | None) -> str:
    parts = ["Red: a finding. Thin line: 95 % Wilson interval."]
    if tolerated is not None:
        parts.append(f"Dashed: the {percent(tolerated)} that are tolerated, however few it is in other classes.")
    if total > MOST_CLASSES:
        parts.append(f"The first {MOST_CLASSES} of {total} classes.")
    return " ".join(parts)


def _show_table(classes: list[ClassFinding]) -> None:
    if not classes:
        return
    st.subheader("Classes")
    frame = pd.DataFrame([row.plain() for row in classes]).drop(columns=["class_id", "p"])
    frame[[*_SHARES]] = frame[[*_SHARES]].astype(float) * 100
    number = st.column_config.NumberColumn
    share = {name: number(title, format="%.1f %%") for name, title in _SHARES.items()}
    figures = {"lift": number(format="%.2f"), "q": number(format="%.3g"), "off_object": number("off the object")}
    figures["is_finding"] = st.column_config.CheckboxColumn("finding")
    st.dataframe(frame, hide_index=True, column_config={**share, **figures}, height=min(38 + 35 * len(frame), 780))


_SHARES = {
    "share": "share",
    "share_low": "95 % from",
    "share_high": "to",
    "expected": "held against",
    "energy": "mean energy",
    "area": "mean area",
}


def _show_failures(context: Context) -> None:
    failures = context.tables.failures()
    if failures:
        st.subheader("Failed samples")
        st.dataframe(pd.DataFrame(failures), hide_index=True)
