"""The demo: plant shortcuts, train on them, audit, and hold the findings against the truth.

An audit never sees the truth: the twins of the test scenes, drawn without their cues, are looked at only afterwards.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.table import Table

from audit.datasets import read_voc
from audit.datasets.manifest import Manifest
from audit.datasets.planted import PlantedSpec, draw_planted, read_truth
from audit.findings import severity
from audit.metrics import auroc
from audit.models import Classifier, ModelSpec, load_classifier
from audit.models.small import preprocessing
from audit.store import Run, layout
from audit.store.files import write_json
from pipelines.attribute import decode_sample
from pipelines.config import ClusterConfig, RunConfig
from pipelines.progress import console, tracked
from pipelines.report import class_table
from pipelines.report import console as out_console
from pipelines.start import Request, start
from pipelines.train import Training, train, use_all_cores

RELIES = 0.5
"""A model relies on a cue in a scene if the cue raises the class's probability by at least this much."""
LEARNT = 0.9
"""Accuracy without cues that every class without one must reach; below it the benchmark is void."""
_ARCH = "audit.models.small:build"
_BATCH = 256


def demo(out: Path, scenes: Path, spec: PlantedSpec, cluster: ClusterConfig, epochs: int) -> dict[str, Any]:
    """Draw, train, audit, compare; returns the comparison, which summary.json keeps under `planted`."""
    console.print("1/4 drawing scenes with planted shortcuts")
    draw_planted(scenes, spec, tracked("drawing"))
    console.print("2/4 training a small network on the biased part")
    model = scenes / "model.pt"
    use_all_cores()
    training = Training(_ARCH, preprocessing(spec.size), epochs, learning_rate=4e-3, seed=spec.seed)
    train(read_voc(scenes, split="train", track=tracked("indexing")), training, model)
    console.print("3/4 auditing the other part")
    manifest = scenes / "test.parquet"
    read_voc(scenes, split="val", track=tracked("indexing")).save(manifest)
    config = RunConfig(roles=("label",), shard_size=100, batch_size=50)
    start(Request(manifest, out, ModelSpec(str(model)), config, cluster, set_aside=True))
    console.print("4/4 looking at the truth")
    run = Run.open(out)
    planted = compare(run, scenes, load_classifier(str(model)))
    summary = json.loads((run.path / layout.SUMMARY).read_text())
    write_json(run.path / layout.SUMMARY, {**summary, "planted": planted})
    print_comparison(planted)
    out_console.print(f"\nbrowse it: camaudit dashboard {out}", highlight=False)
    return planted


def compare(run: Run, scenes: Path, classifier: Classifier) -> dict[str, Any]:
    """Hold a run on planted scenes against what was planted.

    Returns:
        `classes`: for each its cue, the share of test scenes in which the model relies on it, its accuracy without the
        cue, its finding; `auroc`: of the image score and of lone baselines, against reliance; `void`: whether a class
        without a cue was not learnt.
    """
    table = reliance(run, scenes, classifier)
    findings = {row["class"]: row for row in class_table(run).to_pylist()}
    classes = [
        _judge(str(name), rows, findings.get(str(name), {})) for name, rows in table.groupby("class", sort=False)
    ]
    scored = table.dropna(subset=["p_high"])
    relies = (scored["reliance"] >= RELIES).to_numpy()
    scores = {name: auroc(values, relies) for name, values in _image_scores(scored).items()}
    return {
        "classes": classes,
        "auroc": {name: round(value, 4) if np.isfinite(value) else None for name, value in scores.items()},
        "void": any(row["cue"] is None and row["accuracy_without_cue"] < LEARNT for row in classes),
    }


def reliance(run: Run, scenes: Path, classifier: Classifier) -> pd.DataFrame:
    """One row a test scene: `reliance` = p(c | with) - p(c | without), and its scores, NaN without a score."""
    truth = read_truth(scenes)
    truth = truth[truth["id"].isin({sample.id for sample in run.manifest()})]
    with_cue = _probabilities(classifier, read_voc(scenes, split="val"))
    without = _probabilities(classifier, read_voc(scenes, split="twins"))
    ids = [classifier.classes.index(name) for name in truth["class"]]
    own = [with_cue[name][class_id] for name, class_id in zip(truth["id"], ids, strict=True)]
    twin = [without[name][class_id] for name, class_id in zip(truth["twin"], ids, strict=True)]
    right = [int(without[name].argmax()) == class_id for name, class_id in zip(truth["twin"], ids, strict=True)]
    truth = truth.assign(reliance=np.subtract(own, twin), right_without_cue=right)
    table: pd.DataFrame = truth.merge(_scored(run), on="id", how="left")
    return table


def print_comparison(planted: dict[str, Any]) -> None:
    """Print the findings beside the truth."""
    table = Table(title="Findings beside the truth")
    for name in ("class", "planted cue", "relies on it", "accuracy without", "off object", "finding"):
        table.add_column(
            name, justify="right" if name in ("relies on it", "accuracy without", "off object") else "left"
        )
    for row in planted["classes"]:
        numbers = [f"{row[name]:.2f}" for name in ("relies", "accuracy_without_cue", "off_object")]
        table.add_row(row["class"], row["cue"] or "-", *numbers, "finding" if row["finding"] else "-")
    out_console.print(table)
    ranked = ", ".join(f"{name} {value:.3f}" for name, value in planted["auroc"].items() if value is not None)
    out_console.print(f"AUROC against reliance: {ranked}", highlight=False)
    if planted["void"]:
        out_console.print("void: a class without a cue was not learnt; train longer")


def _judge(name: str, rows: pd.DataFrame, finding: dict[str, Any]) -> dict[str, Any]:
    cue = rows["cue"].iloc[0]
    return {
        "class": name,
        "cue": None if pd.isna(cue) else str(cue),
        "relies": float((rows["reliance"] >= RELIES).mean()),
        "accuracy_without_cue": float(rows["right_without_cue"].mean()),
        "off_object": finding.get("share") or 0.0,
        "finding": bool(finding.get("finding", False)),
    }


def _image_scores(table: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """The image score and what it must beat, all higher for more suspicious."""
    probability = table["probability"].to_numpy(float)
    p_high = table["p_high"].to_numpy(float)
    return {
        "severity": severity(probability, p_high),
        "p_high": p_high,
        "1 - lift": 1 - table["lift"].to_numpy(float),
        "1 - energy": 1 - table["energy"].to_numpy(float),
        "low confidence": 1 - probability,
    }


def _scored(run: Run) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for shard in run.done():
        scores = run.read("scores", shard, ["sample", "slot", "status", "energy", "lift", "p_high"]).to_pandas()
        targets = run.read("targets", shard, ["sample", "slot", "probability"]).to_pandas()
        ids = run.read("samples", shard, ["sample", "id"]).to_pandas()
        scored = scores[scores["status"] == "scored"]
        parts.append(scored.merge(targets, on=["sample", "slot"]).merge(ids, on="sample"))
    return pd.concat(parts)


def _probabilities(classifier: Classifier, manifest: Manifest) -> dict[str, NDArray[np.float32]]:
    """Class probabilities [C] of every sample, by id."""
    samples = list(manifest)
    found: dict[str, NDArray[np.float32]] = {}
    fit = classifier.preprocessing.fit
    for start_row in range(0, len(samples), _BATCH):
        batch = samples[start_row : start_row + _BATCH]
        pixels = [decode_sample(0, sample, fit, 10**8).pixels for sample in batch]
        images = classifier.preprocessing.normalise(np.stack([p for p in pixels if p is not None]))
        with torch.inference_mode():
            rows = classifier.probabilities(classifier.module(images)).numpy()
        found |= {sample.id: row for sample, row in zip(batch, rows, strict=True)}
    return found
