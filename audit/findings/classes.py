"""Claims about whole classes: most of the images confidently named so look off the object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from audit.findings.contrasts import Row, claim_key
from audit.findings.off_object import Rules
from audit.wording import percent

FAMILY = "class"


def class_claims(table: Mapping[str, Sequence[Any]], rules: Rules, boxed: bool = False) -> list[Row]:
    """Rows of `audit.store.layout.CLAIM` for the classes of a table of `audit.store.layout.CLASS_FINDING`.

    Args:
        boxed: whether objects were known by boxes alone.
    """
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return [_row(row, len(rows), rules, boxed) for row in rows if row["confident"]]


def _row(row: Mapping[str, Any], tested: int, rules: Rules, boxed: bool) -> Row:
    details = {name: row[name] for name in ("off_object", "energy", "area", "lift")}
    return {
        "finding": claim_key("class", row["class"]),
        "kind": "class",
        "class_id": row["class_id"],
        "class": row["class"],
        "subject": "looks off the object",
        "targets": row["confident"],
        "share": row["share"],
        "low": row["share_low"],
        "high": row["share_high"],
        "expected": rules.tolerated,
        "p": row["p"],
        "q": row["q"],
        "level": rules.level,
        "family": FAMILY,
        "tested": tested,
        "found": row["finding"],
        "rests_on": "boxes" if boxed else "masks",
        "says": (
            f"In {row['off_object']} of {row['confident']} images confidently named {row['class']} the model looks off "
            f"the object; up to {percent(rules.tolerated)} is tolerated."
        ),
        "details": json.dumps(details),
    }
