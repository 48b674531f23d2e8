"""Runs to be held side by side: of one shard, written by hand; and evaluations of one law, drawn as evidence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from made_evidence import draw_evidence, plant_heat
from numpy.typing import NDArray
from rewritten import put_findings

from audit.compare.claims import Both
from audit.compare.gate import Asked, Change, paired_changes
from audit.datasets import Manifest, Sample
from audit.findings import Claim, ClassFinding, Finding, Rules
from audit.findings.evidence.frame import cells_as_bits
from audit.findings.evidence.targets import Evidence
from audit.store import Run, layout
from audit.store.tables.records import Record

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
    tables |= {name: [] for name in layout.PARTS if name not in tables}
    filled = {name: _filled(rows, layout.PARTS[name]) for name, rows in tables.items()}
    run.commit(run.shards[0], None, filled, {"processed": 0, "failed": 0, "transient": 0})
    found = [row for row, target in zip(tables["targets"], targets, strict=True) if target.off]
    _put(run, layout.part_name(0), found, Finding)
    rows = [{"class": name, "is_finding": True} for name in classes] + [{"class": "quiet", "is_finding": False}]
    _put(run, layout.CLASS_FINDINGS, rows, ClassFinding)
    if claims is not None:
        rows = [
            {
                "claim_id": ":".join(one),
                "kind": one[0],
                "class_id": CLASSES.index(one[1]),
                "class": one[1],
                "subject": one[2],
                "tested": 10,
                "found": one[2] != "none",
                "rests_on": "masks",
                "says": str(one),
                "details": json.dumps({"cells": [63]}),
            }
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
    """Rows as columns of a schema, null where they say nothing; lists of a fixed length are zeros, or all true."""
    columns: dict[str, Any] = {}
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            value = True if pa.types.is_boolean(field.type.value_type) else 0
            lists = pa.array([[value] * field.type.list_size] * len(rows), field.type)
            columns[field.name] = lists.flatten().to_numpy(zero_copy_only=False)
        else:
            columns[field.name] = [row.get(field.name) for row in rows]
    return columns


CORNER = np.zeros((8, 8), bool)
CORNER[-1, -1] = True
EDGE = np.zeros((8, 8), bool)
EDGE[0, 2:6] = True


def draw_alike(seed: int, planted: bool = True, images: int = 1000, copies: int = 1) -> tuple[Evidence, Evidence]:
    """Two evaluations of the same law over the same samples, ten classes: heat, findings and errors drawn anew in each.

    Args:
        planted: whether classes 0 to 2 have strong claims of every kind, and 3 to 9 such as stand in about every other
            evaluation.
        copies: near-duplicates of each image, which look alike in an evaluation.
    """
    first, second = (_draw_one(seed, evaluation, planted, images // copies) for evaluation in (0, 1))
    if copies == 1:
        return first, second
    rows = np.repeat(np.arange(len(first)), copies)
    return _rows(first, rows), _rows(second, rows)


def draw_shortcut(seed: int, rate: float = 0.2) -> tuple[Evidence, Evidence]:
    """The same, but in B the heat of class 9, of 100 images, goes to the corner in a share of its images."""
    a, b = draw_alike(seed, planted=False)
    own = np.flatnonzero(b.class_id == 9)
    relies = own[np.random.default_rng(seed + 1).random(len(own)) < rate]
    off = b.off.copy()
    off[relies] = True
    return a, replace(plant_heat(b, relies, CORNER), off=off)


def _draw_one(seed: int, evaluation: int, planted: bool, images: int) -> Evidence:
    rng = np.random.default_rng((seed, evaluation))
    same, drawn = (
        draw_evidence(images, 10, seed, per_image=1),
        draw_evidence(images, 10, seed + 10_000 * (evaluation + 1), per_image=1),
    )
    class_id = np.repeat(np.arange(10, dtype=np.int32), images // 10)
    shows = np.where(class_id < 3, 0.5, 0.17) if planted else np.zeros(images)
    target = np.flatnonzero(np.random.default_rng(seed).random(images) < 0.5)
    other = (class_id[target] + 1 + class_id[target] % 2).astype(np.int32) % 10
    on_other = rng.random(len(target)) < 0.1 + 1.7 * shows[target]
    context = {
        "target": target,
        "class_id": other,
        "heat": np.where(on_other, 0.8, 0.05 * rng.random(len(target))).astype(np.float32),
        "area": np.full(len(target), 0.1, np.float32),
    }
    group = same.attributes["a1"][0] == 1
    off = rng.random(images) < 0.1 + shows
    off[target[on_other]] = True
    evidence = replace(
        drawn,
        class_id=class_id,
        named=np.ones(images, bool),
        labelled=np.ones(images, bool),
        off=off,
        wrong=rng.random(images) < 0.1 + shows * group,
        attributes=same.attributes,
        context=context,
    )
    evidence.clear[:] |= cells_as_bits((CORNER | EDGE).reshape(1, -1))[0]
    for cells in (CORNER, EDGE):
        evidence = plant_heat(evidence, np.flatnonzero(rng.random(images) < shows), cells)
    return evidence


def _rows(evidence: Evidence, rows: NDArray[np.integer]) -> Evidence:
    """Rows of the evidence, some more than once: near-duplicates, with the number of their image."""
    columns = {name: getattr(evidence, name)[rows] for name in _COLUMNS}
    attributes = {name: (codes[rows], values) for name, (codes, values) in evidence.attributes.items()}
    context = {name: values[:0] for name, values in evidence.context.items()}
    sample = np.arange(len(rows))
    return replace(evidence, **{**columns, "sample": sample}, attributes=attributes, context=context)


_COLUMNS = (
    "slot",
    "class_id",
    "probability",
    "named",
    "off",
    "known",
    "boxed",
    "severity",
    "wrong",
    "labelled",
    "unit",
    "off_heat",
    "off_area",
    "clear",
)


def change_between(a: Evidence, b: Evidence) -> list[Change]:
    """What `camaudit compare` tests of two evaluations, without the tables between."""
    off = np.stack([a.off, b.off]).astype(float)
    shares = [Asked("all", "", "", off, a.unit)]
    for class_id, name in enumerate(a.classes):
        own = a.class_id == class_id
        shares.append(Asked("class", name, "", off[:, own], a.unit[own]))
    return paired_changes([*shares, *Both.of(a, b).ask(Rules(), {})])
