"""Over tables alone: from scores to findings, the threshold, the curve and the summary."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from audit.datasets.manifest import Track
from audit.findings import KINDS, ClassTally, Rules, ShiftTally, kinds, misplacement, severity
from audit.findings.exact import one_vote
from audit.findings.sentences import explain_targets
from audit.metrics import Confusion, class_iou_curves, iou_curve, mean_iou_curve
from audit.store import Run, Shard, layout
from audit.store.files import write_json
from audit.store.tables import write_table
from pipelines.claims import write_claims
from pipelines.detect import detect
from pipelines.gather import Gathered, gather

_AVERAGED = ("energy", "centre_energy", "area", "lift", "best_iou", "hit", "hit_15px", "centre_hit", "centre_hit_15px")
_THREADS = 4


def flag(run: Run, rules: Rules, threshold: float | None = None, track: Track = iter) -> dict[str, Any]:
    """Write findings and summary of a run's finished shards, and return the summary.

    Args:
        threshold: 0..1; the one with the highest mean IoU if None.
        track: wraps the shards that are read, for a progress bar.
    """
    shards = [shard for shard in run.done() if run.has_scores(shard)]
    gathered = gather(run, shards, track)
    curve = mean_iou_curve(gathered.confusion, len(run.classes))
    level = _level(threshold, curve)
    judged = judge(gathered.scored, rules)
    _forget(run)
    detected, detector = detect(run, shards, gathered, judged, rules)
    found = pd.concat([judged[judged["kind"].notna()], detected])
    columns = _named(run, found, gathered.cells["off_heat"][found.index])
    tested = found["known"].to_numpy()
    columns["level"] = np.where(tested, rules.level, np.nan)
    columns["family"] = np.where(tested, f"{len(judged)} scored targets", "detector").astype(object)
    _write_findings(run, shards, columns, level)
    table = _class_table(run, judged, rules)
    write_table(run.path / layout.FINDINGS / layout.CLASS_FINDINGS, table, layout.CLASS_FINDING)
    evidence = gathered.evidence(run, judged, rules.confident)
    summary = {
        **_summary(run, gathered, pd.concat([judged, detected]), rules, table),
        **_segmentation(run, gathered.confusion, curve, level),
        **write_claims(run, shards, evidence, table, rules),
        "detector": detector,
    }
    write_json(run.path / layout.SUMMARY, summary)
    return summary


def _forget(run: Run) -> None:
    """Delete what speaks of findings that were: outcomes of interventions, the page and its sheets."""
    for name in (layout.EFFECTS, layout.CAUSES):
        (run.path / layout.FINDINGS / name).unlink(missing_ok=True)
    report = run.path / layout.REPORT
    for path in (report / layout.PAGE, *(report / layout.SHEETS).glob("*.jpg")):
        path.unlink(missing_ok=True)


def judge(scored: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Scored targets with `chance`, `q_low`, `q_high`, `severity`, and `kind`, null where there is no finding."""
    probability, chance, low = (scored[name].to_numpy() for name in ("probability", "p_high", "p_low"))
    q_low, q_high = _q(low), _q(chance)
    misplaced = misplacement(chance, scored["energy"].to_numpy(), scored["attainable"].to_numpy())
    return scored.assign(
        chance=chance,
        q_low=q_low,
        q_high=q_high,
        kind=kinds(probability, misplaced, q_low, rules),
        severity=severity(probability, misplaced),
    )


def _q(p: NDArray[np.floating]) -> NDArray[np.float64]:
    tally = ShiftTally()
    tally.add(p)
    return tally.q(p)


def _named(run: Run, found: pd.DataFrame, off_heat: NDArray[np.float16]) -> dict[str, NDArray[Any]]:
    """Columns of findings, but for those that a shard's own tables are asked for."""
    columns = {str(name): found[name].to_numpy() for name in found}
    keys = zip(columns["sample"], columns["slot"], columns["kind"], strict=True)
    names = np.array(run.classes, object)[columns["class_id"]]
    energy, chance, attainable, probability = (columns[n] for n in ("energy", "p_high", "attainable", "probability"))
    kind = columns["kind"].tolist()
    said = explain_targets(off_heat, energy, chance, attainable, probability, names.tolist(), kind)
    return columns | {
        "finding": np.array([f"{sample}:{slot}:{kind}" for sample, slot, kind in keys], object),
        "class": names,
        "rests_on": np.select([~columns["known"], columns["boxed"]], ["detector", "boxes"], "mask").astype(object),
        "says": np.array(said, object),
    }


def _write_findings(run: Run, shards: list[Shard], columns: dict[str, NDArray[Any]], level: int) -> None:
    """A part for each shard, most severe first, and none of shards that are pending again."""
    owner = columns["sample"] // run.record["shard_size"]
    order = np.lexsort((columns["slot"], columns["sample"], -columns["severity"], owner))
    edges = np.array([(shard.index, shard.index + 1) for shard in shards], np.int64).reshape(-1, 2)
    bounds = np.searchsorted(owner[order], edges)
    parts = [{name: values[order[start:stop]] for name, values in columns.items()} for start, stop in bounds]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(partial(_write_part, run, level), shards, parts))
    kept = {layout.part_name(shard.index) for shard in shards}
    for path in (run.path / layout.FINDINGS).glob("part-*.parquet"):
        if path.name not in kept:
            path.unlink()


def _write_part(run: Run, level: int, shard: Shard, found: dict[str, NDArray[Any]]) -> None:
    """Write a shard's findings with what only they need: ids, roles, and the IoU at the threshold."""
    ids = run.read("samples", shard, ["id"])["id"].take(found["sample"] - shard.start)
    roles = run.read("targets", shard, ["role"])["role"].take(found["row"])
    counts = run.read("scores", shard, ["inside", "outside"]).take(found["row"])
    iou = iou_curve(_counts(counts["inside"]), _counts(counts["outside"]))[:, level]
    columns = {**found, "id": ids.combine_chunks(), "role": roles.combine_chunks(), "iou": iou}
    path = run.path / layout.FINDINGS / layout.part_name(shard.index)
    write_table(path, columns, layout.FINDING, durable=False)  # it can be made again


def _class_table(run: Run, judged: pd.DataFrame, rules: Rules) -> dict[str, Any]:
    named = np.flatnonzero(judged["probability"].to_numpy() >= rules.confident)
    image = pd.factorize(judged["look"])[0]
    vote = np.zeros(len(judged), bool)
    vote[named[one_vote(judged["class_id"].to_numpy()[named], image[named])]] = True
    judged = judged.assign(vote=vote)
    tally = ClassTally(len(run.classes))
    tally.add({str(name): judged[name].to_numpy() for name in judged}, judged["kind"].notna().to_numpy(), rules)
    return tally.table(run.classes, rules)


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


def _summary(run: Run, gathered: Gathered, judged: pd.DataFrame, rules: Rules, table: dict[str, Any]) -> dict[str, Any]:
    account = run.account()
    means: dict[str, float | None] = {
        name: float(judged[name].mean()) if judged[name].notna().any() else None for name in _AVERAGED
    }
    return {
        "samples": {name: getattr(account, name) for name in ("samples", "processed", "failed", "pending")},
        "targets": gathered.target_status,
        "scores": gathered.score_status,
        "means": means,
        "rules": asdict(rules),
        "findings": {kind: int((judged["kind"] == kind).sum()) for kind in KINDS},
        "classes_off_object": [name for name, found in zip(table["class"], table["finding"], strict=True) if found],
    }


def _segmentation(run: Run, pooled: Confusion, curve: NDArray[np.float64], level: int) -> dict[str, Any]:
    """The threshold, and how well pseudo-masks fit; None without masks."""
    labelled = bool(pooled.count.sum())
    return {
        "threshold": level / layout.LEVELS,
        "mean_iou": float(curve[level]) if labelled else None,
        "mean_iou_curve": [round(float(value), 6) for value in curve] if labelled else None,
        "class_iou": _class_iou(run, pooled, level) if labelled else None,
    }


def _class_iou(run: Run, pooled: Confusion, level: int) -> dict[str, float | None]:
    ious = class_iou_curves(pooled, len(run.classes))[:, level]
    names = ("background", *run.classes)
    return {name: None if np.isnan(iou) else float(iou) for name, iou in zip(names, ious, strict=True)}
