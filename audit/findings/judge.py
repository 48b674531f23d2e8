"""Over tables alone: from scores to findings, claims, the threshold, the curve and the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings.avoidance import q_of_avoidance
from audit.findings.channels import claim_channels, read_origins
from audit.findings.claims.kind import Material
from audit.findings.claims.registry import CLAIM_KINDS, all_claims, all_detectable
from audit.findings.claims.votes import one_vote
from audit.findings.claims.whole_class import class_findings
from audit.findings.dependence import why_dependent
from audit.findings.detector import detect
from audit.findings.evidence.disagreements import Disagreements
from audit.findings.evidence.features import read_features
from audit.findings.evidence.frame import HEAT, by_cell, heat_by_cell
from audit.findings.evidence.gather import Gathered, gather
from audit.findings.evidence.targets import Evidence
from audit.findings.pages.basis import basis_record
from audit.findings.pages.examples import show_claims
from audit.findings.pages.index import index_tables
from audit.findings.power import silence
from audit.findings.records import ROLES, Claim, ClassFinding, standing
from audit.findings.rules import KINDS, Rules, kinds, misplacement, severity, suspicion
from audit.findings.sentences import explain_targets
from audit.findings.writing import FindingsWriter
from audit.progress import Progress, silent
from audit.scores import Confusion, class_iou_curves, iou_curve, mean_iou_curve
from audit.scores.shift_null import SHIFTS
from audit.stats.multiplicity import q_of_counts
from audit.store import Run, Shard, layout

_AVERAGED = ("energy", "centre_energy", "area", "lift", "best_iou", "hit", "hit_15px", "centre_hit", "centre_hit_15px")
_FRAME = layout.CELLS**2
_MUCH_VOID = 0.05
_MOST_SHOWN = 200
"""Claims that are shown by examples: a page draws fewer."""
_NO_LAYER = "No clusters: this method's maps do not come from the activation of one layer"
_NOT_KEPT = "No clusters: the run was begun without scores, so the relevance off the object was not kept"


def flag(run: Run, rules: Rules, threshold: float | None = None, progress: Progress = silent) -> dict[str, Any]:
    """Write findings and summary of a run's finished shards, and return the summary.

    Args:
        threshold: 0..1; the one with the highest mean IoU if None.

    Raises:
        RunError: scoring was interrupted, or a table is damaged.
    """
    ledger = run.ledger.digest()
    _refuse_mixed(run)
    heeded = Disagreements.of(run) if rules.verdicts else Disagreements.none()
    shards = run.having("scores")
    gathered = gather(run, shards, progress, rules.unit)
    curve = mean_iou_curve(gathered.confusion, len(run.classes))
    map_level = _map_level(threshold, curve)
    as_judged = judge(gathered.scored, rules)
    judged, aside = heeded.split(as_judged)
    writer = FindingsWriter.begin(run, ledger)
    # Fitted as without verdicts: else who is guessed would depend on who was looked at.
    guesses, detector = detect(run, shards, gathered, as_judged, rules)
    guesses, guesses_aside = heeded.split(guesses)
    guesses = guesses[guesses["kind"].notna()]
    judged_or_guessed = pd.concat([judged, guesses]) if len(guesses) else judged
    aside = pd.concat([aside, guesses_aside])
    columns = _columns(run, gathered, judged_or_guessed, rules)
    _write_targets(writer, shards, columns, map_level)
    _write_set_aside(writer, _columns(run, gathered, aside, rules), map_level)
    classes = _class_findings(run, judged, rules)
    writer.write_classes(classes)
    evidence = gathered.evidence(run, as_judged, rules.confident)
    material = _material(run, shards, evidence, classes, rules, heeded)
    claims, said, refused = _write_claims(writer, shards, material, heeded, gathered.target_status.get("ok", 0))
    # Targets that are left out are still among their claims', or all that is left would seem to be right.
    clustered = _with_clusters(material, evidence)
    del material  # votes and heat of all targets
    writer.write_index(index_tables(run, gathered, judged, columns, standing(claims), clustered))
    summary = {
        **_summary(run, gathered, judged_or_guessed, rules, classes),
        **_segmentation(run, gathered.confusion, curve, map_level),
        **said,
        "detector": detector,
    }
    if rules.verdicts:
        summary["verdicts"] = {"as_of": heeded.as_of, "findings": len(aside), "claims": refused}
    writer.write_summary(summary)
    return summary


def _refuse_mixed(run: Run) -> None:
    """Scores of two scorings would pass as those of one."""
    outdated = len(run.outdated())
    if outdated:
        raise RunError(
            f"Scoring of {run.path} was interrupted: {outdated} of {len(run.done())} shards still have the scores of "
            f"before; go on with `camaudit score {run.path}`"
        )


def judge(scored: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Scored targets with `chance`, `q_low`, `q_high`, `severity`, and `kind`, null where there is no finding.

    q_low is NaN where the class was not named with confidence: what is not named need not be looked at.
    """
    probability, chance, low = (scored[name].to_numpy() for name in ("probability", "p_high", "p_low"))
    named, unit = probability >= rules.confident, scored["unit"].to_numpy()
    q_low, q_high = np.full(len(scored), np.nan), q_of_shifts(chance)
    q_low[named] = q_of_avoidance(low[named], scored["class_id"].to_numpy()[named], unit[named])
    misplaced = misplacement(chance, scored["energy"].to_numpy(), scored["attainable"].to_numpy())
    return scored.assign(
        chance=chance,
        q_low=q_low,
        q_high=q_high,
        kind=kinds(probability, misplaced, q_low, rules),
        severity=severity(probability, misplaced),
    )


def q_of_shifts(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Benjamini-Hochberg q of p values [n] that are multiples of 1/1024, without sorting them."""
    shift = np.rint(np.asarray(p, np.float64) * SHIFTS).astype(np.int64)
    counts = np.bincount(shift, minlength=SHIFTS + 1)
    return q_of_counts(np.arange(SHIFTS + 1) / SHIFTS, counts)[shift]


def _columns(run: Run, gathered: Gathered, judged: pd.DataFrame, rules: Rules) -> dict[str, NDArray[Any]]:
    """Columns of findings, but for the IoU at the threshold, which a shard's own scores are asked for."""
    tested, flagged = int(judged["q_low"].notna().sum()), judged[judged["kind"].notna()]
    columns = {str(name): flagged[name].to_numpy() for name in flagged}
    keys = zip(columns["sample"], columns["slot"], columns["kind"], strict=True)
    names = np.array(run.classes, object)[columns["class_id"]]
    energy, chance, attainable, probability = (columns[n] for n in ("energy", "p_high", "attainable", "probability"))
    kind, off_heat, known = columns["kind"].tolist(), gathered.cells["off_heat"][flagged.index], columns["known"]
    ids = run.manifest_file.rows(columns=["id"])["id"]
    said = explain_targets(off_heat, energy, chance, attainable, probability, names.tolist(), kind, columns["quick"])
    return columns | {
        "finding_id": np.array([f"{sample}:{slot}:{kind}" for sample, slot, kind in keys], object),
        "id": np.asarray(ids.take(pa.array(columns["sample"])).to_numpy(), object),
        "role": np.array(ROLES, object)[columns["role"]],
        "class": names,
        "rests_on": _rests_on(columns),
        "quick_reliance": columns["quick"],
        "suspicion": suspicion(columns["severity"], columns["quick"], columns["class_id"]),
        "says": np.array(said, object),
        "fdr": np.where(known, rules.fdr, np.nan),
        "family": np.array(["detector", f"{tested} confidently named targets"], object)[known.astype(int)],
    }


def _rests_on(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.object_]:
    """What told where the object of each finding is."""
    told = np.where(columns["boxed"], "boxes", "mask").astype(object)
    for role, own in (("detected", "detection"), ("segmented", "region")):
        told[columns["role"] == ROLES.index(role)] = own
    told[~columns["known"]] = "detector"
    return told


def _write_targets(
    writer: FindingsWriter, shards: Sequence[Shard], columns: Mapping[str, NDArray[Any]], map_level: int
) -> None:
    """A part for each shard, most suspicious first and guesses last, and none of shards that are pending again."""
    writer.write_targets(shards, _parts(writer.run, columns, map_level))


def _write_set_aside(writer: FindingsWriter, columns: Mapping[str, NDArray[Any]], map_level: int) -> None:
    """In one file, for there are as many as people have looked at; none where there are none."""
    if not len(columns["sample"]):
        return
    run, part = writer.run, _parts(writer.run, columns, map_level)
    owners = np.unique(columns["sample"] // run.record["shard_size"])
    parts = [part(run.shards[owner]) for owner in owners]
    writer.write_set_aside({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _parts(
    run: Run, columns: Mapping[str, NDArray[Any]], map_level: int
) -> Callable[[Shard], Mapping[str, NDArray[Any]]]:
    """Gives the rows of a shard, with their IoU."""
    owner, guess = columns["sample"] // run.record["shard_size"], columns["kind"] == "detected"
    order = np.lexsort((columns["slot"], columns["sample"], -columns["suspicion"], guess, owner))

    def part(shard: Shard) -> Mapping[str, NDArray[Any]]:
        start, stop = np.searchsorted(owner[order], (shard.index, shard.index + 1))
        rows = {name: values[order[start:stop]] for name, values in columns.items()}
        return rows | {"iou": _iou(run, shard, rows["row"], map_level)}

    return part


def _iou(run: Run, shard: Shard, rows: NDArray[np.integer], map_level: int) -> NDArray[np.float64]:
    """Of targets in some rows [m] of the shard's tables, at the threshold."""
    counts = run.read("scores", shard, ["inside", "outside"]).take(rows)
    return iou_curve(_counts(counts["inside"]), _counts(counts["outside"]))[:, map_level]


def _class_findings(run: Run, judged: pd.DataFrame, rules: Rules) -> list[ClassFinding]:
    named = np.flatnonzero(judged["probability"].to_numpy() >= rules.confident)
    vote = np.zeros(len(judged), bool)
    vote[named[one_vote(*(judged[name].to_numpy()[named] for name in ("class_id", "unit")))]] = True
    columns = {name: judged[name].to_numpy() for name in ("class_id", "probability", "energy", "area", "lift")}
    rows = class_findings(columns | {"vote": vote}, judged["kind"].notna().to_numpy(), run.classes, rules)
    return _with_quick(rows, judged)


def _with_quick(rows: Sequence[ClassFinding], judged: pd.DataFrame) -> list[ClassFinding]:
    """With the mean quick reliance of the classes' findings, and of their other targets that were asked."""
    asked = judged[judged["quick"].notna()]
    means = asked["quick"].groupby([asked["class_id"], asked["kind"].notna()]).mean().to_dict()
    return [
        replace(row, quick_reliance=means.get((row.class_id, True)), quick_of_others=means.get((row.class_id, False)))
        for row in rows
    ]


def _material(
    run: Run,
    shards: Sequence[Shard],
    evidence: Evidence,
    classes: Sequence[ClassFinding],
    rules: Rules,
    heeded: Disagreements,
) -> Material:
    why = "" if _has_features(run, shards) else _NO_LAYER if run.record["config"]["scored"] else _NOT_KEPT
    return Material(
        heeded.heeded(evidence),
        rules,
        classes,
        lambda: read_features(run, shards),
        heeded.heeded_frames(lambda rows: read_frames(run, evidence, rows), evidence),
        why,
    )


def _write_claims(
    writer: FindingsWriter, shards: Sequence[Shard], material: Material, heeded: Disagreements, maps: int
) -> tuple[list[Claim], dict[str, Any], int]:
    """Make and write the claims and the clusters' members.

    Args:
        maps: targets that have one.

    Returns:
        The claims, what the summary says of them, and how many would stand were they not disagreed with.
    """
    tested, untested = all_claims(material)
    claims = [replace(claim, found=claim.found and claim.claim_id not in heeded.claims) for claim in tested]
    writer.write_claims(claims)
    writer.write_members(material.members, material.evidence)
    clustered, stand = _with_clusters(material, material.evidence), standing(claims)[:_MOST_SHOWN]
    origins = read_origins(writer.run, shards, clustered)
    writer.write_channels(claim_channels(stand, clustered, origins, material.rules.fdr))
    shown = show_claims(stand, clustered)
    said = {
        "claims": _count(claims),
        "basis": basis_record(writer.run.manifest_file, material, maps),
        "untested": untested,
        "shown": [asdict(claim) for claim in shown],
        **silence(all_detectable(material), claims, material.classes, material.rules),
    }
    return claims, said, sum(claim.found for claim in tested) - sum(claim.found for claim in claims)


def _with_clusters(material: Material, evidence: Evidence) -> Evidence:
    """The evidence, each target with its cluster."""
    cluster = np.full(len(evidence), -1, np.int32)
    cluster[material.members.target] = material.members.cluster
    return replace(evidence, cluster=cluster)


def read_frames(
    run: Run, evidence: Evidence, rows: NDArray[np.int64]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """All heat of some targets by cell, and the share of each cell that the object covers: each [m, 64].

    Objects of images with much void are NaN.

    Args:
        rows: [m] ascending positions in the evidence.
    """
    owner = evidence.sample[rows] // run.record["shard_size"]
    keys = evidence.sample[rows], evidence.slot[rows]
    heat, off_area = np.zeros((2, len(rows), _FRAME), np.float32)
    for index in np.unique(owner):
        own = owner == index
        heat[own], off_area[own] = _frames_of(run, run.shards[index], *(key[own] for key in keys))
    objects = 1 - _FRAME * off_area
    # Void is in no cell's area off the object, so it would pass for object.
    void = np.clip(objects, 0, 1).mean(axis=1) - objects.mean(axis=1) > _MUCH_VOID
    objects[void] = np.nan
    return np.nan_to_num(heat), np.clip(objects, 0, 1)


def _frames_of(run: Run, shard: Shard, *keys: NDArray[np.integer]) -> Iterator[NDArray[np.float32]]:
    """Of the targets of samples [m] and slots [m]: all heat, and `off_area`, each [m, 64]."""
    table = run.read("scores", shard, ["sample", "slot", *HEAT, "off_area"])
    listed = pd.MultiIndex.from_arrays([table["sample"].to_numpy(), table["slot"].to_numpy()])
    places = listed.get_indexer(pd.MultiIndex.from_arrays(keys))
    for cells in (heat_by_cell(table), by_cell(table["off_area"])):
        yield cells[places].astype(np.float32)


def _has_features(run: Run, shards: Sequence[Shard]) -> bool:
    return any(run.read("features", shard, ["sample"]).num_rows for shard in shards)


def _count(claims: Sequence[Claim]) -> dict[str, int]:
    """Claims that stand, by kind."""
    return {name: sum(claim.found for claim in claims if claim.kind == name) for name in CLAIM_KINDS}


def _counts(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """A column of fixed-size lists as [n, 256]."""
    flat = column.combine_chunks().flatten()
    return np.asarray(flat).reshape(-1, layout.LEVELS)


def _map_level(threshold: float | None, curve: NDArray[np.float64]) -> int:
    if threshold is None:
        return int(curve.argmax())
    if not 0 <= threshold <= 1:
        raise ValueError(f"Expected `threshold` between 0 and 1, got {threshold}")
    return min(round(threshold * layout.LEVELS), layout.LEVELS - 1)


def _summary(
    run: Run, gathered: Gathered, judged: pd.DataFrame, rules: Rules, classes: Sequence[ClassFinding]
) -> dict[str, Any]:
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
        "units": _units(run, gathered.targets, rules),
        "findings": {kind: int((judged["kind"] == kind).sum()) for kind in KINDS},
        "classes_off_object": [row.class_name for row in classes if row.is_finding],
    }


def _units(run: Run, targets: pd.DataFrame, rules: Rules) -> dict[str, Any]:
    """How many witnesses the images are, and what speaks against taking images for independent where they are these."""
    images = targets.drop_duplicates("sample")
    sample, look = (images[name].to_numpy() for name in ("sample", "look"))
    return {
        "attribute": rules.unit,
        "number": int(targets["unit"].nunique()),
        "images": len(images),
        "doubt": why_dependent(run, sample, look) if rules.unit is None else "",
    }


def _segmentation(run: Run, pooled: Confusion, curve: NDArray[np.float64], map_level: int) -> dict[str, Any]:
    """The threshold, and how well pseudo-masks fit; None without masks."""
    labelled = bool(pooled.count.sum())
    return {
        "threshold": map_level / layout.LEVELS,
        "mean_iou": float(curve[map_level]) if labelled else None,
        "mean_iou_curve": [round(float(value), 6) for value in curve] if labelled else None,
        "class_iou": _class_iou(run, pooled, map_level) if labelled else None,
    }


def _class_iou(run: Run, pooled: Confusion, map_level: int) -> dict[str, float | None]:
    ious = class_iou_curves(pooled, len(run.classes))[:, map_level]
    names = ("background", *run.classes)
    return {name: None if np.isnan(iou) else float(iou) for name, iou in zip(names, ious, strict=True)}
