"""Records of what was found, and what findings are made from: bounds that readers rely on, and nothing."""

from __future__ import annotations

from dataclasses import fields

from audit.findings import Effect
from audit.findings.evidence.targets import Absences
from audit.store.tables.records import json_schema


def test_a_fall_may_be_a_rise_so_its_least_is_below_zero() -> None:
    columns = json_schema(Effect, "An effect.")["properties"]
    falls = {name: columns[name]["minimum"] for name in ("hot", "random", "object", "foreign", "background")}
    assert falls == {"hot": -1, "random": -1, "object": -1, "foreign": -2, "background": -1}


def test_of_no_absence_every_column_is_empty() -> None:
    none = Absences.none()
    assert {len(getattr(none, field.name)) for field in fields(none)} == {0}
