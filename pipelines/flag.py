"""Over tables alone: from scores to findings, the threshold, the curve and the summary.

Two passes over the parts, so that memory does not grow with the run: one counts p values and pools confusion, the next
knows every q and writes the findings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from audit.findings import ClassTally, Rules, ShiftTally, kinds, severity
from audit.metrics import Confusion, class_iou_curves, iou_curve, mean_iou_curve
from audit.store import Run, Shard, layout
from audit.store.files import write_json
from audit.store.tables import write_table

_LISTS = ("inside", "outside", "heat", "off_heat", "off_area")
_SCALARS = [name for name in layout.SCORES.names if name not in _LISTS]
_KEYS = ["sample", "slot"]
_AVERAGED = ("energy", "area", "lift", "best_iou", "hit", "hit_15px", "centre_hit", "centre_hit_15px")


@dataclass
class _Pooled:
    """What the first pass gathers."""

    low: ShiftTally = field(default_factory=ShiftTally)
    high: ShiftTally = field(default_factory=ShiftTally)
    confusion: Confusion = field(default_factory=lambda: Confusion.merge([]))
    target_status: dict[str, int] = field(default_factory=dict)
    score_status: dict[str, int] = field(default_factory=dict)
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)


def flag(run: Run, rules: Rules, threshold: float | None = None) -> dict[str, Any]:
    """Write findings and summary of a run's finished shards, and return the summary.

    Args:
        threshold: 0..1; the one with the highest mean IoU if None.
    """
    shards = [shard for shard in run.done() if run.has_scores(shard)]
    pooled = _pool(run, shards)
    curve = mean_iou_curve(pooled.confusion, len(run.classes))
    labelled = bool(pooled.confusion.count.sum())
    level = _level(threshold, curve)
    tally = ClassTally(len(run.classes))
    counts = dict.fromkeys(("avoids", "indifferent"), 0)
    for shard in shards:
        for kind, number in _flag_shard(run, shard, pooled, rules, level, tally).items():
            counts[kind] += number
    _drop_other_findings(run, shards)
    table = tally.table(run.classes, rules)
    write_table(run.path / layout.FINDINGS / layout.CLASS_FINDINGS, table, layout.CLASS_FINDING)
    summary = _summary(run, pooled, rules, counts, table) | {
        "threshold": level / layout.LEVELS,
        "mean_iou": float(curve[level]) if labelled else None,
        "mean_iou_curve": [round(float(value), 6) for value in curve] if labelled else None,
        "class_iou": _class_iou(run, pooled.confusion, level) if labelled else None,
    }
    write_json(run.path / layout.SUMMARY, summary)
    return summary


def _pool(run: Run, shards: list[Shard]) -> _Pooled:
    pooled = _Pooled()
    for shard in shards:
        scores = run.read("scores", shard, _SCALARS).to_pandas()
        _count(pooled.score_status, scores["status"])
        _count(pooled.target_status, run.read("targets", shard, ["status"]).to_pandas()["status"])
        scored = scores[scores["status"] == "scored"]
        pooled.low.add(scored["p_low"].to_numpy())
        pooled.high.add(scored["p_high"].to_numpy())
        for name in _AVERAGED:
            values = scored[name].dropna().astype(float)
            total, count = pooled.sums.get(name, (0.0, 0))
            pooled.sums[name] = (total + float(values.sum()), count + len(values))
        part = {name: column.to_numpy() for name, column in zip(*_columns(run.read("confusion", shard)), strict=True)}
        pooled.confusion = Confusion.merge([pooled.confusion, Confusion(**part)])
    return pooled


def _columns(table: pa.Table) -> tuple[list[str], list[pa.ChunkedArray]]:
    return table.column_names, table.columns


def _flag_shard(run: Run, shard: Shard, pooled: _Pooled, rules: Rules, level: int, tally: ClassTally) -> dict[str, int]:
    """Write a shard's findings, most severe first, add its targets to the class tally, and count its kinds."""
    rows = _scored_targets(run, shard, level)
    probability, chance = rows["probability"].to_numpy(), rows["p_high"].to_numpy()
    rows["chance"] = chance
    rows["q_low"] = pooled.low.q(rows["p_low"].to_numpy())
    rows["q_high"] = pooled.high.q(chance)
    rows["kind"] = kinds(probability, rows["energy"].to_numpy(), chance, rows["q_low"].to_numpy(), rules)
    rows["severity"] = severity(probability, chance)
    tally.add({str(name): rows[name].to_numpy() for name in rows}, rows["kind"].notna().to_numpy(), rules)
    found = rows[rows["kind"].notna()].sort_values(["severity", *_KEYS], ascending=[False, True, True])
    keys = found["sample"].astype(str) + ":" + found["slot"].astype(str) + ":" + found["kind"].astype(str)
    family = f"{pooled.score_status.get('scored', 0)} scored targets"
    found = found.assign(finding=keys, level=rules.level, family=family, says=None)
    columns = {name: found[name].to_numpy() for name in layout.FINDING.names}
    write_table(run.path / layout.FINDINGS / layout.part_name(shard.index), columns, layout.FINDING)
    return {str(kind): int(number) for kind, number in found["kind"].value_counts().items()}


def _drop_other_findings(run: Run, shards: list[Shard]) -> None:
    """Findings of shards that were scored once and are pending again say nothing."""
    kept = {layout.part_name(shard.index) for shard in shards}
    for path in (run.path / layout.FINDINGS).glob("part-*.parquet"):
        if path.name not in kept:
            path.unlink()


def _scored_targets(run: Run, shard: Shard, level: int) -> pd.DataFrame:
    """Scored targets of a shard with their classes, ids and IoU at the threshold."""
    scores = run.read("scores", shard)
    rows = scores.select(_SCALARS).to_pandas().drop(columns="reason")
    rows["iou"] = iou_curve(_counts(scores["inside"]), _counts(scores["outside"]))[:, level]
    targets = run.read("targets", shard).to_pandas().drop(columns=["status", "peak", "logit", "rank"])
    ids = run.read("samples", shard, ["sample", "id"]).to_pandas()
    scored: pd.DataFrame = rows[rows["status"] == "scored"].merge(targets, on=_KEYS).merge(ids, on="sample")
    return scored


def _counts(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """A column of fixed-size lists as [n, 256]."""
    flat = column.combine_chunks().flatten()
    return np.asarray(flat).reshape(-1, layout.LEVELS)


def _level(threshold: float | None, curve: NDArray[np.float64]) -> int:
    if threshold is None:
        return int(curve.argmax())
    if not 0 <= threshold <= 1:
        raise ValueError(f"Expected `threshold` between 0 and 1, got {threshold}")
    return min(round(threshold * layout.LEVELS), layout.LEVELS - 1)


def _summary(run: Run, pooled: _Pooled, rules: Rules, counts: dict[str, int], table: dict[str, Any]) -> dict[str, Any]:
    means = {name: total / count if count else None for name, (total, count) in pooled.sums.items()}
    account = run.account()
    return {
        "samples": {name: getattr(account, name) for name in ("samples", "processed", "failed", "pending")},
        "targets": pooled.target_status,
        "scores": pooled.score_status,
        "means": means,
        "rules": asdict(rules),
        "findings": counts,
        "classes_off_object": [name for name, found in zip(table["class"], table["finding"], strict=True) if found],
    }


def _class_iou(run: Run, pooled: Confusion, level: int) -> dict[str, float | None]:
    ious = class_iou_curves(pooled, len(run.classes))[:, level]
    names = ("background", *run.classes)
    return {name: None if np.isnan(iou) else float(iou) for name, iou in zip(names, ious, strict=True)}


def _count(counts: dict[str, int], values: pd.Series) -> None:
    for value, number in values.value_counts().items():
        counts[str(value)] = counts.get(str(value), 0) + int(number)
