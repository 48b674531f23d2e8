"""What was planted, beside what an audit found.

An audit never sees the truth: the twins of the test scenes, drawn without their cues, are looked at only afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from audit.datasets import Manifest, Sample, Unreadable, decode_sample, read_voc
from audit.datasets.planted import PlantedSpec, read_truth
from audit.errors import ImageError
from audit.findings import ClassFinding, Findings
from audit.findings.rules import misplacement, severity, suspicion
from audit.models import Classifier, ModelSpec
from audit.models.execution import use_threads
from audit.models.small import preprocessing
from audit.progress import Progress, silent
from audit.scores import auroc
from audit.store import Run
from pipelines.asked import Training
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from pipelines.training.train import train

RELIES = 0.5
"""A model relies on a cue in a scene if the cue raises the class's probability by at least this much."""
LEARNT = 0.9
"""Accuracy without cues that every class without one must reach; below it the benchmark is void."""

Shown = Literal["val", "twins"]
"""Test scenes as they are audited: with their cues, or without."""

_ARCH = "audit.models.small:build"
_BATCH = 256
_SCORES = ["sample", "slot", "status", "area", "energy", "lift", "p_low", "p_high", "attainable", "peak_distance"]


def train_on_planted(
    scenes: Path,
    spec: PlantedSpec,
    epochs: int,
    learning_rate: float = 4e-3,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Path:
    """Train a small network on the biased scenes of a drawn benchmark; returns its checkpoint, in the same folder."""
    model = scenes / "model.pt"
    use_threads()
    training = Training(_ARCH, preprocessing(spec.size), epochs, learning_rate, batch_size, spec.seed)
    train(read_voc(scenes, split="train", progress=progress), training, model, progress)
    return model


def audit_planted(
    scenes: Path, model: Path, out: Path, cluster: ClusterConfig, shown: Shown = "val", progress: Progress = silent
) -> Run:
    """Audit the labels of the test scenes."""
    manifest = scenes / ("test.parquet" if shown == "val" else f"{shown}.parquet")
    read_voc(scenes, split=shown, progress=progress).save(manifest)
    config = RunConfig(roles=("label",), shard_size=100, batch_size=50)
    return start(Request(manifest, out, ModelSpec(str(model)), config, cluster, set_aside=True), progress).run


def compare(run: Run, scenes: Path, classifier: Classifier, shown: Shown = "val") -> dict[str, Any]:
    """Hold a run on planted scenes against what was planted.

    Returns:
        `classes`: for each its cue, the share of test scenes in which the model relies on it, its accuracy without the
        cue, its finding; `auroc`: of the image score and of lone baselines, against reliance; `auroc_within`: the same
        within each class with a cue, averaged over those in which reliance varies; `void`: whether a class without a
        cue was not learnt.
    """
    table = reliance(run, scenes, classifier, shown)
    findings = {row.class_name: row for row in Findings(run).classes()}
    classes = [_judge(str(name), rows, findings.get(str(name))) for name, rows in table.groupby("class", sort=False)]
    scored = table.dropna(subset=["p_high"])
    relies = (scored["reliance"] >= RELIES).to_numpy()
    scores = image_scores(scored)
    return {
        "classes": classes,
        "auroc": {name: _rounded(auroc(values, relies)) for name, values in scores.items()},
        "auroc_within": {name: _rounded(auroc_within(values, relies, scored)) for name, values in scores.items()},
        "void": any(row["cue"] is None and row["accuracy_without_cue"] < LEARNT for row in classes),
    }


def reliance(run: Run, scenes: Path, classifier: Classifier, shown: Shown = "val") -> pd.DataFrame:
    """One row a test scene: `reliance` = p(c | with) - p(c | without), and its scores, NaN without a score.

    Args:
        shown: which of the twins the run audited.
    """
    truth = read_truth(scenes)
    audited = truth["id" if shown == "val" else "twin"]
    truth = truth.assign(audited=audited)[audited.isin({sample.id for sample in run.manifest()})]
    with_cue = _probabilities(classifier, read_voc(scenes, split="val"))
    without = _probabilities(classifier, read_voc(scenes, split="twins"))
    ids = [classifier.classes.index(name) for name in truth["class"]]
    cued = [with_cue[name][class_id] for name, class_id in zip(truth["id"], ids, strict=True)]
    twin = [without[name][class_id] for name, class_id in zip(truth["twin"], ids, strict=True)]
    right = [int(without[name].argmax()) == class_id for name, class_id in zip(truth["twin"], ids, strict=True)]
    truth = truth.assign(reliance=np.subtract(cued, twin), right_without_cue=right)
    table: pd.DataFrame = truth.merge(scores_of(run), on="audited", how="left")
    return table


def image_scores(table: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """What findings are ranked by and what it must beat, all higher for more suspicious."""
    probability = table["probability"].to_numpy(float)
    p_high, energy = (table[name].to_numpy(float) for name in ("p_high", "energy"))
    misplaced = misplacement(p_high, energy, table["attainable"].to_numpy(float))
    severities = severity(probability, misplaced)
    _, class_id = np.unique(table["class"], return_inverse=True)
    return {
        "suspicion": suspicion(severities, table["quick"].to_numpy(float), class_id),
        "severity": severities,
        "misplacement": misplaced,
        "p_high": p_high,
        "1 - lift": 1 - table["lift"].to_numpy(float),
        "1 - energy": 1 - energy,
        "low confidence": 1 - probability,
        "centre distance": table["centre_distance"].to_numpy(float),
    }


def auroc_within(scores: NDArray[np.floating], relies: NDArray[np.bool_], table: pd.DataFrame) -> float:
    """Mean over the classes with a cue of the AUROC within each; NaN where reliance varies in none.

    Args:
        scores: [n], relies: [n], of the rows of `table`, which has `class` and `cue`.
    """
    names = table["class"].to_numpy()
    cued = table.loc[table["cue"].notna(), "class"].unique()
    areas = [auroc(scores[names == name], relies[names == name]) for name in cued]
    known = [area for area in areas if np.isfinite(area)]
    return float(np.mean(known)) if known else float("nan")


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _judge(name: str, rows: pd.DataFrame, finding: ClassFinding | None) -> dict[str, Any]:
    cue = rows["cue"].iloc[0]
    return {
        "class": name,
        "cue": None if pd.isna(cue) else str(cue),
        "relies": float((rows["reliance"] >= RELIES).mean()),
        "accuracy_without_cue": float(rows["right_without_cue"].mean()),
        "off_object": (finding and finding.share) or 0.0,
        "finding": bool(finding and finding.is_finding),
    }


def scores_of(run: Run) -> pd.DataFrame:
    """Scores of a run's targets whose object is known, with `audited`, the id of the sample, and `quick`, NaN of those
    that were not asked."""
    parts: list[pd.DataFrame] = []
    for shard in run.done():
        scores = run.read("scores", shard, _SCORES).to_pandas()
        targets = run.read("targets", shard, ["sample", "slot", "class_id", "probability"]).to_pandas()
        ids = run.read("samples", shard, ["sample", "id"]).to_pandas().rename(columns={"id": "audited"})
        scored = scores[scores["status"] == "scored"]
        checks = run.read("checks", shard).to_pandas().rename(columns={"reliance": "quick"})
        keys = ["sample", "slot"]
        rows = scored.merge(targets, on=keys).merge(ids, on="sample").merge(checks, on=keys, how="left")
        maps = run.maps(shard.start, shard.stop)[rows["sample"] - shard.start, rows["slot"]]
        parts.append(rows.assign(centre_distance=_centre_distance(maps)))
    return pd.concat(parts)


def _centre_distance(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance of each map's peak from the map's centre [n], maps [n, h, w], in shares of the diagonal."""
    h, w = maps.shape[1:]
    rows, columns = np.divmod(np.nan_to_num(maps).reshape(len(maps), -1).argmax(axis=1), w)
    return np.asarray(np.hypot(rows - (h - 1) / 2, columns - (w - 1) / 2) / np.hypot(h, w))


def _probabilities(classifier: Classifier, manifest: Manifest) -> dict[str, NDArray[np.float32]]:
    """Class probabilities [C] of every sample, by id."""
    samples = list(manifest)
    probabilities: dict[str, NDArray[np.float32]] = {}
    for start_row in range(0, len(samples), _BATCH):
        batch = samples[start_row : start_row + _BATCH]
        pixels = np.stack([_pixels(classifier, sample) for sample in batch])
        with torch.inference_mode():
            outputs = classifier.module(classifier.preprocessing.normalise(pixels))
            rows = classifier.probabilities(outputs).numpy()
        probabilities |= {sample.id: row for sample, row in zip(batch, rows, strict=True)}
    return probabilities


def _pixels(classifier: Classifier, sample: Sample) -> NDArray[np.uint8]:
    decoded = decode_sample(0, sample, classifier.preprocessing.fit)
    if isinstance(decoded, Unreadable):
        raise ImageError(decoded.reason)
    return decoded.pixels
