"""The demo: plant shortcuts, train on them, audit, and hold the findings against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.datasets.planted import PlantedSpec, draw_planted
from audit.findings import Findings
from audit.findings.writing import FindingsWriter
from audit.models import load_classifier
from audit.progress import Noted, Progress, silent
from pipelines.planted.truth import audit_planted, compare, train_on_planted
from pipelines.run.config import ClusterConfig
from pipelines.run.start import Audited


@dataclass(frozen=True)
class Demonstration:
    """The audit of the planted scenes, and the truth about them.

    Attributes:
        audited: the finished run.
        planted: findings beside the truth, of `pipelines.planted.truth.compare`; summary.json keeps it under `planted`.
    """

    audited: Audited
    planted: dict[str, Any]


def demo(
    out: Path, scenes: Path, spec: PlantedSpec, cluster: ClusterConfig, epochs: int, progress: Progress = silent
) -> Demonstration:
    """Draw, train, audit, compare."""
    progress(Noted("1/4 drawing scenes with planted shortcuts"))
    draw_planted(scenes, spec, progress)
    progress(Noted("2/4 training a small network on the biased part"))
    model = train_on_planted(scenes, spec, epochs, progress=progress)
    progress(Noted("3/4 auditing the other part"))
    run = audit_planted(scenes, model, out, cluster, progress=progress)
    progress(Noted("4/4 looking at the truth"))
    planted = compare(run, scenes, load_classifier(str(model)))
    findings = Findings(run)
    summary = (findings.summary() or {}) | {"planted": planted}
    FindingsWriter.beside(findings).write_summary(summary)
    return Demonstration(Audited(run, summary), planted)
