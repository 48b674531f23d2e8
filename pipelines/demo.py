"""The demo: plant shortcuts, train on them, audit, and hold the findings against the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from audit.datasets.planted import PlantedSpec, draw_planted
from audit.models import load_classifier
from audit.progress import Noted, Progress, silent, tracked
from audit.store import layout
from audit.store.files import write_json
from pipelines.account import status_record
from pipelines.config import ClusterConfig
from pipelines.start import Finished
from pipelines.truth import audit_planted, compare, train_on_planted


@dataclass(frozen=True)
class Demonstration:
    """The audit of the planted scenes, and the truth about them.

    Attributes:
        audited: the finished run.
        planted: findings beside the truth, of `pipelines.truth.compare`; summary.json keeps it under `planted`.
    """

    audited: Finished
    planted: dict[str, Any]


def demo(
    out: Path, scenes: Path, spec: PlantedSpec, cluster: ClusterConfig, epochs: int, progress: Progress = silent
) -> Demonstration:
    """Draw, train, audit, compare."""
    progress(Noted("1/4 drawing scenes with planted shortcuts"))
    draw_planted(scenes, spec, partial(tracked, progress, "drawing"))
    progress(Noted("2/4 training a small network on the biased part"))
    model = train_on_planted(scenes, spec, epochs)
    progress(Noted("3/4 auditing the other part"))
    run = audit_planted(scenes, model, out, cluster, progress=progress)
    progress(Noted("4/4 looking at the truth"))
    planted = compare(run, scenes, load_classifier(str(model)))
    summary = json.loads((run.path / layout.SUMMARY).read_text()) | {"planted": planted}
    write_json(run.path / layout.SUMMARY, summary)
    return Demonstration(Finished(run, status_record(run, check=False), summary), planted)
