"""The demo: plant shortcuts, train on them, audit, and hold the findings against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from audit.datasets.planted import PlantedSpec, draw_planted
from audit.findings import Findings
from audit.models import load_classifier
from pipelines.config import ClusterConfig
from pipelines.report import console as out_console
from pipelines.terminal import TerminalProgress, notices
from pipelines.truth import audit_planted, compare, train_on_planted


def demo(out: Path, scenes: Path, spec: PlantedSpec, cluster: ClusterConfig, epochs: int) -> dict[str, Any]:
    """Draw, train, audit, compare; returns the comparison, which summary.json keeps under `planted`."""
    progress = TerminalProgress()
    notices.print("1/4 drawing scenes with planted shortcuts")
    draw_planted(scenes, spec, progress)
    notices.print("2/4 training a small network on the biased part")
    model = train_on_planted(scenes, spec, epochs, progress=progress)
    notices.print("3/4 auditing the other part")
    run = audit_planted(scenes, model, out, cluster, progress=progress)
    notices.print("4/4 looking at the truth")
    planted = compare(run, scenes, load_classifier(str(model)))
    findings = Findings(run)
    findings.write_summary({**(findings.summary() or {}), "planted": planted})
    print_comparison(planted)
    out_console.print(f"\nbrowse it: camaudit dashboard {out}", highlight=False)
    return planted


def print_comparison(planted: dict[str, Any]) -> None:
    """Print the findings beside the truth."""
    table = Table(title="Findings beside the truth")
    for name in ("class", "planted cue", "relies on it", "accuracy without", "off object", "finding"):
        table.add_column(
            name, justify="right" if name in ("relies on it", "accuracy without", "off object") else "left"
        )
    for row in planted["classes"]:
        numbers = [f"{row[name]:.2f}" for name in ("relies", "accuracy_without_cue", "off_object")]
        table.add_row(row["class"], row["cue"] or "-", *numbers, "finding" if row["finding"] else "-")
    out_console.print(table)
    ranked = ", ".join(f"{name} {value:.3f}" for name, value in planted["auroc"].items() if value is not None)
    out_console.print(f"AUROC against reliance: {ranked}", highlight=False)
    if planted["void"]:
        out_console.print("void: a class without a cue was not learnt; train longer")
