"""What a run found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from audit.errors import RunError
from audit.export import finite, read_causes, read_claims, read_effects, read_findings, read_rules
from audit.export.claims import UNTESTED
from audit.store import Run, layout
from audit.store.tables import read_table

FINDINGS_FORMAT = 1
"""Of what `camaudit findings --json` prints; a change that breaks readers raises it."""


def class_table(run: Run) -> pa.Table:
    """The findings about classes.

    Raises:
        RunError: the run was not flagged yet.
    """
    path = run.path / layout.FINDINGS / layout.CLASS_FINDINGS
    if not path.exists():
        raise RunError(f"{run.path} has no findings yet; make them with `camaudit flag {run.path}`")
    return read_table(path)


def findings_record(run: Run) -> dict[str, Any]:
    """All that was found as plain values, as `audit/export/findings.schema.json` says.

    Raises:
        RunError: the run was not flagged yet.
    """
    effects = read_effects(run)
    record = {
        "format": FINDINGS_FORMAT,
        "run": _run_record(run),
        "rules": asdict(read_rules(run)),
        "classes": class_table(run).to_pylist(),
        "claims": read_claims(run),
        "targets": [row | _outcome(effects, row) for row in read_findings(run).to_pylist()],
        "causes": read_causes(run),
    }
    plain: dict[str, Any] = finite(record)
    return plain


def _run_record(run: Run) -> dict[str, Any]:
    config, model, account = run.record["config"], run.record["model"], run.account()
    return {
        "path": str(run.path),
        "created": run.record["created"],
        "method": config["method"],
        "layer": model["layer"],
        "model": model["fingerprint"],
        "manifest": run.record["manifest"]["fingerprint"],
        "samples": {name: getattr(account, name) for name in ("samples", "processed", "failed", "pending")},
        "versions": run.record["versions"],
    }


def _outcome(effects: Mapping[tuple[int, int], Mapping[str, Any]], row: Mapping[str, Any]) -> dict[str, Any]:
    effect = effects.get((row["sample"], row["slot"]))
    return {
        "outcome": effect["outcome"] if effect else UNTESTED,
        "reliance": effect["reliance"] if effect else None,
    }
