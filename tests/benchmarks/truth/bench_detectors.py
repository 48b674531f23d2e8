"""Detectors against planted truth: a cue beside the object decides the class of its box. Is it found, and no other?

`python -m tests.benchmarks.truth.bench_detectors --seeds 11,12,13`. Scenes are those of the regime `strong`. Truth are
the twins of the test scenes, drawn without their cues, which the audit never sees: the detector is asked there about
the boxes that it gave. It relies on the cue where a box's score falls by a half or more. The method was chosen on seed
10, which a report must not use.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from audit.datasets import read_voc
from audit.datasets.planted import CLASSES, CUES, REGIMES, draw_planted, read_truth
from audit.findings import Findings
from audit.models import ModelSpec, load_classifier
from audit.models.aimed.asking import answers
from audit.models.aimed.detectors import Detector
from audit.models.aimed.kind import Asked
from audit.scores.given.detection_metrics import KINDS, measure_detections
from audit.store import Run
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from pipelines.terminal import TerminalProgress
from tests.benchmarks.truth.planted_detector import SIZE, fitted, train_detector

MODEL = "tests/benchmarks/truth/planted_detector.py:build"
RELIES = 0.5


def run_trial(seed: int, work: Path, train: int, test: int, method: str | None) -> dict[str, Any]:
    """Draw and train unless that was done before, audit, and hold the findings against the twins."""
    folder, progress = work / f"detector-{seed}", TerminalProgress()
    scenes = folder / "scenes"
    seconds = 0.0
    if not (scenes / "detector.pt").exists():
        draw_planted(scenes, replace(REGIMES["strong"], seed=seed, train=train, test=test), progress)
        began = time.process_time()
        train_detector(scenes, seed, progress=progress)
        seconds = time.process_time() - began
    spec = ModelSpec(MODEL, str(scenes / "detector.pt"), mode="squash", size=SIZE)
    manifest = read_voc(scenes, split="val").save(scenes / "val.parquet")
    config = RunConfig(method=method, detections=3, shard_size=100)
    request = Request(manifest, folder / "run", spec, config, ClusterConfig(1, compiling="never"), set_aside=True)
    run = start(request, progress).run
    detector = load_classifier(spec, classes=run.classes)
    assert isinstance(detector, Detector)
    return {"seed": seed, "training_cpu_s": round(seconds), **_beside_truth(run, scenes, detector)}


def _beside_truth(run: Run, scenes: Path, detector: Detector) -> dict[str, Any]:
    reliance = reliance_of(run, scenes, detector)
    findings = Findings(run)
    named = reliance[reliance["score"] >= 0.5]
    off = {row.class_name: row for row in findings.classes()}
    claims = [claim for claim in findings.standing_claims() if claim.class_name]
    metrics = measure_detections(run)
    rows = [
        {
            "class": name,
            "cue": CUES.get(name),
            "boxes": int((named["class"] == name).sum()),
            "relies": float((named.loc[named["class"] == name, "lost"] >= RELIES).mean()),
            "lost": float(named.loc[named["class"] == name, "lost"].mean()),
            "off_object": off[name].share if name in off else float("nan"),
            "finding": bool(name in off and off[name].is_finding),
            "claims": [claim.claim_id for claim in claims if claim.class_name == name],
        }
        for name in CLASSES
    ]
    errors = {kind: sum(own[kind] for own in metrics["errors"].values()) for kind in KINDS}
    return {"ap50": metrics["ap50"], "errors": errors, "classes": rows}


def reliance_of(run: Run, scenes: Path, detector: Detector) -> pd.DataFrame:
    """The surest box of each test scene: its class, `score`, and `lost`, the share of that which its twin lacks."""
    twins = dict(zip(*(read_truth(scenes)[name] for name in ("id", "twin")), strict=True))
    samples = {sample.id: sample for sample in read_voc(scenes, split="twins")}
    boxes = pd.concat([run.read("detections", shard).to_pandas() for shard in run.done()])
    ids = {row: sample.id for row, sample in enumerate(run.manifest())}
    first = boxes[boxes["slot"] == 0]
    rows = []
    for box in first.to_dict("records"):
        image = detector.preprocessing.normalise(fitted(samples[twins[ids[box["sample"]]]])[None])
        with torch.inference_mode():
            score = float(
                answers(detector, detector.module, image, [Asked(box["class_id"], list(box["candidate"]))])[0]
            )
        rows.append({"class": CLASSES[box["class_id"]], "score": box["score"], "lost": 1 - score / box["score"]})
    return pd.DataFrame(rows)


def main() -> None:
    """Print a line a class and seed, and write all as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", default="11,12,13")
    options.add_argument("--work", type=Path, default=Path("build/detectors"))
    options.add_argument("--train", type=int, default=1500)
    options.add_argument("--test", type=int, default=300)
    options.add_argument("--method", help="Of `camaudit run`; the usual one of a detector if none is named.")
    options.add_argument("--out", type=Path, default=Path("build/detectors.json"))
    asked = options.parse_args()
    torch.set_num_threads(1)
    trials = [
        run_trial(int(seed), asked.work, asked.train, asked.test, asked.method) for seed in asked.seeds.split(",")
    ]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(trials, indent=1))
    for trial in trials:
        print(f"seed {trial['seed']}: AP at 0.5 {trial['ap50']:.3f}, trained in {trial['training_cpu_s']} CPU s")
        for row in trial["classes"]:
            print(_LINE.format(**row | {"cue": row["cue"] or "-", "claims": ", ".join(row["claims"]) or "-"}))
    for line in _summary([row for trial in trials for row in trial["classes"]]):
        print(line)


_LINE = "  {class:9} {cue:10} relies {relies:.2f} loses {lost:.2f} off {off_object:.2f}  {claims}"


def _summary(rows: list[dict[str, Any]]) -> Iterator[str]:
    """How many cues that the detector relies on were found, by kind, and who else was accused."""
    for cue in CUES.values():
        relied = [row for row in rows if row["cue"] == cue and row["relies"] >= RELIES]
        yield f"{cue}: relied on in {len(relied)} trials, found in {sum(bool(row['claims']) for row in relied)}"
    plain = [row for row in rows if row["cue"] is None]
    yield f"classes without a cue: {len(plain)}, accused: {sum(bool(row['claims']) for row in plain)}"


if __name__ == "__main__":
    main()
