"""Runs of one shard written by hand, to be held side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from rewritten import put_findings

from audit.datasets import Manifest, Sample
from audit.findings import Claim, ClassFinding, Finding
from audit.store import Run, layout
from audit.store.records import Record

CLASSES = ("cat", "car")


@dataclass(frozen=True)
class Target:
    """A target of a run made by hand: its sample, class and what the tables say about it; unscored without energy."""

    id: str
    name: str = "cat"
    energy: float | None = 0.5
    off: bool = False
    p_high: float = 0.5
    probability: float = 0.9
    rank: int = 0
    role: str = "label"
    look: int | None = None
    digest: str = "0"


def make_run(
    path: Path,
    targets: Sequence[Target],
    failed: Sequence[str] = (),
    classes: Sequence[str] = (),
    claims: Sequence[tuple[str, str, str]] | None = None,
) -> Run:
    """Write a run of one shard; `classes` are class findings, claims are (kind, class, subject)."""
    ids = [*dict.fromkeys(target.id for target in targets), *failed]
    labels = [{CLASSES.index(t.name) for t in targets if t.id == name and t.role == "label"} or {0} for name in ids]
    samples = [Sample(name, f"{name}.png", tuple(sorted(own))) for name, own in zip(ids, labels, strict=True)]
    record = {"config": {}, "model": {}, "grid": [1, 1], "slots": 2, "encoding": "float16", "shard_size": len(ids)}
    run = Run.create(path, Manifest.from_samples(samples, CLASSES), record)
    tables = {"samples": _samples(ids, targets, failed), "targets": _targets(ids, targets)}
    tables["scores"] = _scores(tables["targets"], targets)
    filled = {name: _filled(rows, layout.PARTS[name]) for name, rows in tables.items()}
    run.commit(run.shards[0], None, filled, {"processed": 0, "failed": 0, "transient": 0})
    found = [row for row, target in zip(tables["targets"], targets, strict=True) if target.off]
    _put(run, layout.part_name(0), found, Finding)
    rows = [{"class": name, "is_finding": True} for name in classes] + [{"class": "quiet", "is_finding": False}]
    _put(run, layout.CLASS_FINDINGS, rows, ClassFinding)
    if claims is not None:
        rows = [
            {"claim_id": ":".join(one), "kind": one[0], "class": one[1], "found": one[2] != "none", "says": str(one)}
            for one in claims
        ]
        _put(run, layout.CLAIMS, rows, Claim)
    return run


def _put(run: Run, name: str, rows: Sequence[dict[str, Any]], kind: type[Record]) -> None:
    put_findings(run, name, _filled(rows, kind.schema()), kind.schema())


def _samples(ids: Sequence[str], targets: Sequence[Target], failed: Sequence[str]) -> list[dict[str, Any]]:
    own = {target.id: target for target in targets}
    return [
        {"sample": row, "id": name, "status": "failed"}
        if name in failed
        else {"sample": row, "id": name, "status": "processed", "look": _look(own[name]), "digest": own[name].digest}
        for row, name in enumerate(ids)
    ]


def _look(target: Target) -> int:
    """Its own hash, or one that is like no other's."""
    drawn = int.from_bytes(hashlib.blake2b(target.id.encode(), digest_size=8).digest(), signed=True)
    return drawn if target.look is None else target.look


def _targets(ids: Sequence[str], targets: Sequence[Target]) -> list[dict[str, Any]]:
    rows = []
    for place, target in enumerate(targets):
        slot = sum(other.id == target.id for other in targets[:place])
        keys = {"sample": ids.index(target.id), "slot": slot, "class_id": CLASSES.index(target.name)}
        more = {"class": target.name, "role": target.role, "rank": target.rank, "probability": target.probability}
        rows.append(keys | more)
    return rows


def _scores(rows: Sequence[dict[str, Any]], targets: Sequence[Target]) -> list[dict[str, Any]]:
    scores = []
    for row, target in zip(rows, targets, strict=True):
        status = "no_mask" if target.energy is None else "scored"
        p_high = None if target.energy is None else target.p_high
        keys = {"sample": row["sample"], "slot": row["slot"]}
        scores.append(keys | {"status": status, "energy": target.energy, "p_high": p_high, "attainable": 1.0})
    return scores


def _filled(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> dict[str, Any]:
    """Rows as columns of a schema, null where they say nothing; lists of a fixed length are zeros."""
    columns: dict[str, Any] = {}
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            zeros = pa.array([[0] * field.type.list_size] * len(rows), field.type)
            columns[field.name] = zeros.flatten().to_numpy()
        else:
            columns[field.name] = [row.get(field.name) for row in rows]
    return columns
