"""The small run with claims, and what interventions made of them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rewritten import put_findings
from small_run import CLASSES, HOSTILE, make_run

from audit.findings import Claim, Effect, Outcome, Rules
from audit.findings.claims.registry import Claims
from audit.findings.judge import flag
from audit.store import Run, layout

SPOT_CELLS = [55, 63]


def claim(kind: str, subject: str, **changes: Any) -> dict[str, Any]:
    """A row of the claims, found unless changed."""
    row = {
        "claim_id": f"{kind}:square:{subject}",
        "kind": kind,
        "class_id": 0,
        "class": "square",
        "subject": subject,
        "targets": 3,
        "share": 0.66,
        "low": 0.2,
        "high": 0.9,
        "expected": 0.1,
        "p": 0.001,
        "q": 0.004,
        "fdr": 0.05,
        "family": f"class x {kind}",
        "tested": 16,
        "found": True,
        "rests_on": "masks",
        "says": f"The heat of square lies on {subject}.",
        "details": {},
    }
    row |= changes
    return row | {"details": json.dumps(row["details"])}


CLAIMS = (
    claim("spot", "x 88-100 %", details={"box": [0.875, 0.75, 1, 1], "cells": SPOT_CELLS, "heat": 0.5}),
    claim("zone", "bottom-right corner", q=0.0001, details={"heat": 0.5, "area": 0.06}),
    claim("zone", "lower half", q=0.03, details={"narrower": ["bottom-right corner"]}),
    claim("context", HOSTILE, says=f"The heat lies on {HOSTILE * 60}", q=0.02, details={"compared_with": "area"}),
    claim("cluster", "0", p=None, q=None, low=None, high=None, expected=None, share=None, details={"sheet": [[0, 0]]}),
    claim("zone", "centre", found=False, q=0.4, says="The heat lies in the centre. That may be chance."),
)
CAUSES = (
    {
        "claim_id": "spot:square:x 88-100 %",
        "outcome": "confirmed",
        "targets": 2,
        "controls": 1,
        "effect": 0.6,
        "low": 0.4,
        "high": 0.8,
        "control_effect": float("nan"),
        "says": "Without its background p(square) falls by 0.60.",
    },
)
EFFECTS = (
    {"sample": 0, "slot": 0, "id": "a", "class_id": 0, "class": "square", "arm": "flagged", "severity": 0.8}
    | {"probability": 0.9, "hot": 0.5, "random": 0.0, "object": 0.1, "background": 0.6, "reliance": 0.6}
    | {"outcome": "confirmed"},
)


def make_claimed_run(folder: Path) -> Path:
    """The run of `make_run`, with claims and outcomes; returns its directory."""
    assert CLASSES[1] == HOSTILE
    path = make_run(folder)
    run = Run.open(path)
    with patch("audit.findings.judge.all_claims", lambda material: Claims([Claim.from_row(row) for row in CLAIMS], [])):
        flag(run, Rules())
    _write(run, layout.CAUSES, CAUSES, Outcome.schema())
    _write(run, layout.EFFECTS, EFFECTS, Effect.schema())
    return path


def _write(run: Run, name: str, rows: Sequence[Mapping[str, Any]], schema: Any) -> None:
    put_findings(run, name, {column: [row.get(column) for row in rows] for column in schema.names}, schema)
