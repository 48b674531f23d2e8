"""Claims of a run as plain values, and what interventions say of each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from audit.errors import RunError
from audit.findings import Rules
from audit.store import Run, layout
from audit.store.tables import read_table

UNTESTED = "not tested"
"""Outcome of a claim that no intervention was made for."""


def read_rules(run: Run) -> Rules:
    """The rules that the run was last flagged with.

    Raises:
        RunError: an earlier camaudit flagged it, by other rules.
    """
    path = run.path / layout.SUMMARY
    rules = json.loads(path.read_text())["rules"] if path.exists() else {}
    try:
        return Rules(**rules)
    except TypeError:
        raise RunError(f"{path} was made by rules of an earlier camaudit; again: `camaudit flag {run.path}`") from None


def read_classes(run: Run) -> list[dict[str, Any]]:
    """Rows of `audit.store.layout.CLASS_FINDING`; none before the run was flagged."""
    return _rows(run, layout.CLASS_FINDINGS)


def read_causes(run: Run) -> list[dict[str, Any]]:
    """Rows of `audit.store.layout.CAUSE`; none before `camaudit verify`."""
    return _rows(run, layout.CAUSES)


def read_effects(run: Run) -> dict[tuple[int, int], dict[str, Any]]:
    """Rows of `audit.store.layout.EFFECT` by sample and slot; none before `camaudit verify`."""
    return {(row["sample"], row["slot"]): row for row in _rows(run, layout.EFFECTS)}


def read_claims(run: Run) -> list[dict[str, Any]]:
    """Rows of `audit.store.layout.CLAIM`, found ones first, then by q.

    `details` are read from their JSON, and `outcome` says what interventions made of the claim.
    """
    outcomes = {row["finding"]: row["outcome"] for row in read_causes(run)}
    told = [
        row | {"details": json.loads(row["details"] or "{}"), "outcome": outcomes.get(row["finding"], UNTESTED)}
        for row in _rows(run, layout.CLAIMS)
    ]
    return sorted(told, key=lambda claim: (not claim["found"], math.inf if claim["q"] is None else claim["q"]))


def finite(value: Any) -> Any:
    """The value with what is not finite as None: JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value


def _rows(run: Run, name: str) -> list[dict[str, Any]]:
    path = run.path / layout.FINDINGS / name
    rows: list[dict[str, Any]] = read_table(path).to_pylist() if path.exists() else []
    return rows
