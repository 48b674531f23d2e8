"""Small tables that stand beside the targets in a query: what is not in the one table of targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from audit.findings.records import Effect
from audit.store.verdicts.decided import Standing, decided
from audit.store.verdicts.log import target_of

_KEYS = pa.schema([("sample", pa.int64()), ("slot", pa.int16())])


def effects_table(effects: Mapping[tuple[int, int], Effect]) -> pa.Table:
    """What interventions said of targets: `sample`, `slot`, `outcome`."""
    rows = ((*target, effect.outcome) for target, effect in effects.items())
    return _table(_KEYS.append(pa.field("outcome", pa.string())), rows)


def verdicts_table(standing: Standing) -> pa.Table:
    """What reviewers together say of the targets among the subjects: `sample`, `slot`, `decision`."""
    given = ((target_of(subject), decision) for subject, decision in decided(standing).items())
    rows = ((*target, decision) for target, decision in given if target is not None)
    return _table(_KEYS.append(pa.field("decision", pa.string())), rows)


def targets_table(targets: Sequence[tuple[int, int]]) -> pa.Table:
    """Some targets: `sample`, `slot`."""
    return _table(_KEYS, targets)


def _table(schema: pa.Schema, rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema)
