"""Claims of a run as plain values, those about classes among them, and what interventions say of each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc

from audit.findings import Rules
from audit.store import Run, layout
from audit.store.tables import read_table

UNTESTED = "not tested"
"""Outcome of a claim that no intervention was made for."""


def read_rules(run: Run) -> Rules:
    """The rules that the run was last flagged with."""
    path = run.path / layout.SUMMARY
    return Rules(**json.loads(path.read_text())["rules"]) if path.exists() else Rules()


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

    `details` are read from their JSON, and `outcome` says what interventions made of the claim. Classes that look off
    the object are claims of kind `class`.
    """
    outcomes = {row["finding"]: row["outcome"] for row in read_causes(run)}
    claims = {claim["finding"]: claim for claim in _class_claims(run)}
    for row in _rows(run, layout.CLAIMS):
        claims[row["finding"]] = row | {"details": json.loads(row["details"] or "{}")}
    told = [claim | {"outcome": outcomes.get(claim["finding"], UNTESTED)} for claim in claims.values()]
    return sorted(told, key=lambda claim: (not claim["found"], math.inf if claim["q"] is None else claim["q"]))


def class_claim(row: Mapping[str, Any], rules: Rules, tested: int, rests_on: str) -> dict[str, Any]:
    """What is found about a class as a claim, from its row of the class findings and how many classes there are."""
    says = (
        f"In {row['off_object']} of {row['confident']} images named {row['class']} with confidence the heat looks off "
        f"the object; up to {100 * rules.tolerated:.0f} % are tolerated."
    )
    return {
        "finding": f"class:{row['class']}:",
        "kind": "class",
        "class_id": row["class_id"],
        "class": row["class"],
        "subject": "",
        "targets": row["confident"],
        "share": row["share"],
        "low": row["share_low"],
        "high": row["share_high"],
        "expected": rules.tolerated,
        "p": row["p"],
        "q": row["q"],
        "level": rules.level,
        "family": "class",
        "tested": tested,
        "found": row["finding"],
        "rests_on": rests_on,
        "says": says,
        "details": {name: row[name] for name in ("energy", "area", "lift")},
    }


def finite(value: Any) -> Any:
    """The value with what is not finite as None: JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value


def _class_claims(run: Run) -> list[dict[str, Any]]:
    rules, classes, boxed = read_rules(run), read_classes(run), _boxed(run)
    return [class_claim(row, rules, len(classes), "boxes" if row["class_id"] in boxed else "masks") for row in classes]


def _boxed(run: Run) -> set[int]:
    """Classes with a finding that rests on boxes."""
    boxed: set[int] = set()
    for part in (run.path / layout.FINDINGS).glob("part-*.parquet"):
        rows = read_table(part, ["class_id", "rests_on"])
        boxed.update(rows.filter(pc.field("rests_on") == "boxes")["class_id"].to_pylist())
    return boxed


def _rows(run: Run, name: str) -> list[dict[str, Any]]:
    path = run.path / layout.FINDINGS / name
    rows: list[dict[str, Any]] = read_table(path).to_pylist() if path.exists() else []
    return rows
