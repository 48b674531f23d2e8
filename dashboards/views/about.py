"""What stands behind the findings: checks of the maps, what was audited, its figures, and files to take along."""

from __future__ import annotations

import json
import mimetypes
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from audit.drawing.palette import LIGHT
from audit.errors import RunError
from audit.findings import ClassFinding
from audit.findings.dependence import units_said
from audit.findings.pages.basis import basis_of
from audit.store import layout
from audit.store.storage.objects import Location
from audit.wording import number, percent, plain, shorten
from dashboards.state import Context, show_notices
from dashboards.words import html_facts, html_figures

MOST_CLASSES = 30
"""Classes drawn as bars; the table has all."""
_PICTURES = {
    "sanity.png": "Rank correlation of maps with those of the trained network, by how much of it is random",
    "faithfulness.png": "How far the answer falls as the hottest pixels are taken away, and rises as they come back",
}
"""Pictures of checks that RUN/report may hold, and what they show."""


def show(context: Context) -> None:
    """Draw the page."""
    show_notices(context)
    _show_basis(context)
    _show_checks(context)
    _show_provenance(context)
    _show_figures(context)
    _show_classes(context)
    _show_curve(context.tables.summary() or {})
    _show_failures(context)
    _show_downloads(context)


def _show_basis(context: Context) -> None:
    """What the findings rest on, and what counted as one witness."""
    tables, summary = context.tables, context.tables.summary() or {}
    basis = basis_of(tables.findings) if summary else None
    lines = basis.lines() if basis else []
    units = units_said(summary)
    lines += [f"{units}."] if units else []
    if lines:
        st.subheader("What it rests on")
        st.markdown("\n".join(f"- {plain(line, 1000)}" for line in lines))


def _show_checks(context: Context) -> None:
    """Whether the maps show what the model has learnt."""
    from audit.report.limits import checks_of

    st.subheader("Can the maps be trusted?")
    try:
        notes = checks_of(context.run)
    except (RunError, KeyError, TypeError) as error:
        st.warning(plain(f"The checks of {context.run.path} cannot be read: {error}"))
        return
    for note in notes:
        st.text(note.text)
        if note.command:
            st.code(note.command, language=None)
    pictures = {name: says for name, says in _PICTURES.items() if (_report(context) / name).is_file()}
    if pictures:
        for column, (name, says) in zip(st.columns(len(pictures), gap="large"), pictures.items(), strict=True):
            column.image((_report(context) / name).read_bytes(), caption=says, alt=says)


def _show_provenance(context: Context) -> None:
    record, manifest = context.run.record, context.run.record["manifest"]
    config, model = record["config"], record["model"]
    facts = {
        "model": record["source"]["model"],
        "weights": model["fingerprint"],
        "layer": model["layer"],
        "method": " ".join([config["method"], *(f"{k}={v}" for k, v in (config.get("options") or {}).items())]),
        "targets": ", ".join(config["roles"]),
        "classes": f"{len(context.run.classes)}: {shorten(', '.join(context.run.classes), 200)}",
        "manifest": manifest["fingerprint"],
        "begun": record["created"][:16].replace("T", " ") + " UTC",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "command": record.get("command", "not noted"),
        "directory": context.run.path.resolve(),
    }
    st.subheader("What was audited")
    st.html(html_facts({name: shorten(str(value), 600) for name, value in facts.items() if value}))


def _show_figures(context: Context) -> None:
    """How many of everything, and means over scored targets beside what the centre of the view would have."""
    tables, account = context.tables, context.tables.account()
    samples = {} if account is None else {n: getattr(account, n) for n in ("processed", "failed", "pending")}
    counts = {"images": samples, "targets": tables.statuses("targets"), "scores": tables.statuses("scores")}
    st.subheader("Figures")
    st.html(html_figures({name: _counted(numbers) for name, numbers in counts.items()}))
    means = tables.means()
    if means.get("energy") is not None:
        st.html(html_figures(_means(means)))
        st.caption(f"Means over {number(tables.statuses('scores').get('scored', 0))} scored targets.")


def _counted(numbers: Mapping[str, int]) -> tuple[str, str]:
    """All of them, and how many of each sort."""
    parts = (f"{number(count)} {name.replace('_', ' ')}" for name, count in numbers.items() if count)
    return number(sum(numbers.values())), ", ".join(parts)


def _means(means: Mapping[str, float | None]) -> dict[str, tuple[str, str]]:
    lift = means.get("lift")
    return {
        "pointing": (_share(means.get("hit")), f"centre of the view: {_share(means.get('centre_hit'))}"),
        "within 15 px": (_share(means.get("hit_15px")), f"centre: {_share(means.get('centre_hit_15px'))}"),
        "energy on the object": (_share(means.get("energy")), f"the object covers {_share(means.get('area'))}"),
        "lift": ("unknown" if lift is None else f"{lift:.2f}", "1 is heat spread evenly"),
    }


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _show_classes(context: Context) -> None:
    """The share of each class that looks off the object, drawn and as a table."""
    classes, summary = context.tables.classes(), context.tables.summary() or {}
    if not classes:
        return
    st.subheader("Classes")
    rows = [_bar(row) for row in classes if row.confident]
    if rows:
        tolerated = summary.get("rules", {}).get("tolerated")
        st.caption(_legend(len(rows), tolerated))
        st.altair_chart(_bars(sorted(rows, key=lambda row: -row["share"])[:MOST_CLASSES], tolerated))
    frame = pd.DataFrame([row.plain() for row in classes]).drop(columns=["class_id", "p"])
    frame = frame.drop(columns=[name for name in _QUICK if frame[name].isna().all()])
    frame[[*_SHARES]] = frame[[*_SHARES]].astype(float) * 100
    column = st.column_config.NumberColumn
    shares = {name: column(title, format="%.1f %%") for name, title in _SHARES.items()}
    figures = {"lift": column(format="%.2f"), "q": column(format="%.3g"), "off_object": column("off the object")}
    figures |= {name: column(title, format="%.2f") for name, title in _QUICK.items()}
    figures["is_finding"] = st.column_config.CheckboxColumn("finding")
    st.dataframe(frame, hide_index=True, column_config={**shares, **figures}, height=min(38 + 35 * len(frame), 500))


_SHARES = {
    "share": "share",
    "share_low": "95 % from",
    "share_high": "to",
    "expected": "held against",
    "energy": "mean energy",
    "area": "mean area",
}


_QUICK = {"quick_reliance": "quick check, findings", "quick_of_others": "of others"}


def _bar(row: ClassFinding) -> dict[str, Any]:
    names = ("off_object", "confident", "share", "share_low", "share_high", "q")
    state = "finding" if row.is_finding else "none"
    return {"class": shorten(row.class_name, 30), "state": state} | {name: getattr(row, name) for name in names}


def _legend(total: int, tolerated: float | None) -> str:
    parts = [
        "Share of confidently named targets that look off the object. Filled: a finding. Line: 95 % Wilson interval."
    ]
    if tolerated is not None:
        parts.append(f"Dashed: the {percent(tolerated)} that are tolerated, however few it is in other classes.")
    if total > MOST_CLASSES:
        parts.append(f"The first {MOST_CLASSES} of {total} classes.")
    return " ".join(parts)


def _bars(rows: Sequence[Mapping[str, Any]], tolerated: float | None) -> Any:
    names = alt.Axis(labelLimit=160, labelOverlap=False)
    y = alt.Y("class:N", sort=[row["class"] for row in rows], title=None, axis=names)
    x = alt.X("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%"))
    colours = alt.Scale(domain=["finding", "none"], range=[LIGHT["accent"], LIGHT["track"]])
    rounded = [alt.Tooltip(f"{name}:Q", format=".2g") for name in ("share", "q")]
    tip = ["class:N", "off_object:Q", "confident:Q", *rounded]
    base = alt.Chart(pd.DataFrame(list(rows)))
    bars = base.mark_bar(height={"band": 0.65}).encode(
        x, y, alt.Color("state:N", scale=colours, legend=None), tooltip=tip
    )
    spread = base.mark_rule(color=LIGHT["soft"]).encode(alt.X("share_low:Q"), alt.X2("share_high:Q"), y)
    layers = [bars, spread]
    if tolerated is not None:
        at = alt.Chart(pd.DataFrame({"share": [tolerated]}))
        layers.append(at.mark_rule(strokeDash=[4, 4], color=LIGHT["soft"]).encode(x))
    return alt.layer(*layers).properties(height=max(22 * len(rows), 120))


def _show_curve(summary: Mapping[str, Any]) -> None:
    """Mean IoU by threshold, the chosen one marked; nothing without masks."""
    curve = summary.get("mean_iou_curve")
    if not curve:
        return
    chosen, value = summary["threshold"], summary["mean_iou"]
    st.subheader("Pseudo-masks")
    st.caption(f"Mean IoU {value:.3f} at the run's threshold {chosen:.3f}, pooled over all labelled pixels.")
    rows = pd.DataFrame({"threshold": [level / layout.LEVELS for level in range(len(curve))], "iou": curve})
    x = alt.X("threshold:Q", title="threshold, share of the map's peak", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("iou:Q", title="mean IoU", axis=alt.Axis(format=".2f"))
    tip = [alt.Tooltip("threshold:Q", format=".3f"), alt.Tooltip("iou:Q", format=".3f", title="mean IoU")]
    mark = alt.Chart(pd.DataFrame({"threshold": [chosen], "iou": [value]}))
    line = alt.Chart(rows).mark_line(color=LIGHT["soft"]).encode(x, y, tooltip=tip)
    rule = mark.mark_rule(color=LIGHT["accent"], strokeDash=[4, 4]).encode(x)
    dot = mark.mark_point(color=LIGHT["accent"], filled=True, size=80).encode(x, y, tooltip=tip)
    st.altair_chart((line + rule + dot).properties(height=260))


def _show_failures(context: Context) -> None:
    failures = context.tables.failures()
    if failures:
        st.subheader("Images that failed")
        rows = [{name: shorten(str(row[name]), 600) for name in ("id", "reason")} for row in failures]
        st.dataframe(pd.DataFrame(rows), hide_index=True)


# Downloads


def _show_downloads(context: Context) -> None:
    """What can be taken along: written when it is asked for."""
    st.subheader("Take along")
    with st.container(horizontal=True, gap="small"):
        for name, make in _downloads(context).items():
            mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
            st.download_button(name, make, file_name=name, mime=mime, on_click="ignore", key=f"take {name}")


def _downloads(context: Context) -> dict[str, Callable[[], bytes]]:
    """Name of a file -> what makes its bytes."""
    run, files = context.run, dict[str, Callable[[], bytes]]()
    if context.tables.flagged and not context.tables.outdated:
        files |= {"findings.csv": lambda: _exported(context), "findings.json": lambda: _as_json(context)}
    kept = (_report(context) / layout.PAGE, run.path / layout.SUMMARY, run.path / layout.MANIFEST)
    files |= {
        path.name if path.name != layout.PAGE else "report.html": path.read_bytes for path in kept if path.is_file()
    }
    return files


def _exported(context: Context) -> bytes:
    from audit.export.tables import export_table

    with tempfile.TemporaryDirectory(prefix="camaudit-") as folder:
        path = Path(folder) / "findings.csv"
        export_table(context.run, path)
        return path.read_bytes()


def _as_json(context: Context) -> bytes:
    from audit.export import findings_record

    return json.dumps(findings_record(context.run), indent=1).encode()


def _report(context: Context) -> Location:
    return context.run.path / layout.REPORT
