"""A real network on real photographs: a watermark planted on one class of PASCAL VOC, found by the audit or not.

A SqueezeNet is trained further on images of which most of the class have the watermark, and audited on other images
with the watermark and without. Its reliance on the watermark is measured on the twins, which differ by the watermark
alone; the audit never sees it. Needs the images and the network that may lie beside the project.

Run it: python -m tests.benchmarks.truth.real_regime
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from audit.datasets import Manifest, read_voc
from audit.datasets.cues import Cue
from audit.findings import Findings
from audit.models import Classifier, ModelSpec, load_classifier
from audit.models.execution import use_threads
from audit.models.training.classifiers import fit, predict
from audit.store import Run
from pipelines.asked import Planting
from pipelines.planted.plant import PLANTED, TRUTH, TWINS, plant
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from pipelines.training.train import frame_images

SHARED = Path(__file__).resolve().parents[4] / "shared"
VOC = SHARED / "voc2012" / "VOCdevkit"
ARCH = f"{SHARED / 'models' / 'voc_squeezenet.py'}:build"
TRAINED, AUDITED = "trained", "audited"

WATERMARK = Cue("watermark", size=0.3, strength=1.0, corner="top-right")
"""At the top, where objects seldom are, so that nearly all have it in the same corner."""


@dataclass(frozen=True)
class Tuning:
    """How the network is trained further: at a small input, and only the layers of `features` from `frozen` on and the
    head. Else 160 images teach it more about the photographs than about what is planted."""

    size: int = 128
    frozen: int = 11
    epochs: int = 16
    learning_rate: float = 4e-3
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Regime:
    """What is planted, in a class that the network names badly, and how the network is trained on it."""

    class_name: str = "chair"
    cue: Cue = WATERMARK
    share: float = 0.9
    tuning: Tuning = Tuning()
    lists: tuple[str, str] = ("train", "val")


def measure(work: Path, regime: Regime) -> dict[str, Any]:
    """Plant, train further, measure reliance, audit with the watermark and without."""
    began, tuning = time.perf_counter(), regime.tuning
    for split, share, name in zip(regime.lists, (regime.share, 1.0), (TRAINED, AUDITED), strict=True):
        planting = Planting(regime.class_name, regime.cue, share, seed=tuning.seed)
        plant(read_voc(VOC, split=split), planting, work / name)
    classifier = load(tuning)
    before = reliance(classifier, work / AUDITED, regime.class_name)
    trained = train_further(classifier, Manifest.open(work / TRAINED / PLANTED), tuning)
    torch.save(classifier.module.state_dict(), work / "model.pth")
    runs = {name: work / "runs" / Path(name).stem for name in (PLANTED, TWINS)}
    planted, twins = (audit(work / AUDITED / name, work / "model.pth", out, tuning.size) for name, out in runs.items())
    return {
        "regime": asdict(regime),
        "training": trained,
        "reliance_before": before,
        "reliance": reliance(classifier, work / AUDITED, regime.class_name),
        "with": findings_of(planted, regime.class_name),
        "without": findings_of(twins, regime.class_name),
        "seconds": time.perf_counter() - began,
    }


def load(tuning: Tuning, weights: Path | None = None) -> Classifier:
    """The network that lies beside the project, or the same with other weights."""
    source = ARCH if weights is None else str(weights)
    arch = None if weights is None else ARCH
    classifier = load_classifier(
        source, arch=arch, classes="voc", size=tuning.size, mode="squash", activation="sigmoid"
    )
    features = classifier.module.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    features[: tuning.frozen].requires_grad_(False)
    return classifier


def train_further(classifier: Classifier, manifest: Manifest, tuning: Tuning) -> dict[str, float]:
    """Fit a multi-label classifier in place to a manifest of its own classes."""
    labels = [sample.labels for sample in manifest]
    with tempfile.TemporaryDirectory() as folder:
        images, kept = frame_images(manifest, classifier.preprocessing.fit, Path(folder) / "framed.u8")
        losses = fit(
            classifier.module,
            images,
            np.array(
                [[class_id in labels[row] for class_id in range(len(manifest.classes))] for row in kept], np.float32
            ),
            classifier.preprocessing.normalise,
            epochs=tuning.epochs,
            learning_rate=tuning.learning_rate,
            batch_size=tuning.batch_size,
            seed=tuning.seed,
            multi_label=True,
        )
    return {"samples": len(kept), "unreadable": len(labels) - len(kept), "loss": losses[-1]}


def reliance(classifier: Classifier, folder: Path, class_name: str) -> dict[str, float]:
    """What the cue does to the class's probability, over the planted samples of the class."""
    truth = pd.read_parquet(folder / TRUTH)
    shown = (truth["planted"] & (truth["class"] == class_name)).to_numpy()
    class_id = classifier.classes.index(class_name)
    own, twin = (probabilities(classifier, Manifest.open(folder / name))[:, class_id] for name in (PLANTED, TWINS))
    drop = (own - twin)[shown]
    return {
        "samples": int(shown.sum()),
        "with": float(own[shown].mean()),
        "without": float(twin[shown].mean()),
        "mean_drop": float(drop.mean()),
        "relies": float((drop >= 0.5).mean()),
        "named_with": float((own[shown] >= 0.5).mean()),
        "named_without": float((twin[shown] >= 0.5).mean()),
        "named_elsewhere": float((twin[truth["class"].isna()] >= 0.5).mean()),
    }


def probabilities(classifier: Classifier, manifest: Manifest) -> NDArray[np.float32]:
    """Class probabilities [n, C] of a manifest's samples, all readable."""
    with tempfile.TemporaryDirectory() as folder:
        images, _ = frame_images(manifest, classifier.preprocessing.fit, Path(folder) / "framed.u8")
        outputs = predict(classifier.module, images, classifier.preprocessing.normalise, 32)
    return np.asarray(classifier.probabilities(outputs))


def audit(manifest: Path, weights: Path, out: Path, size: int) -> Run:
    """Audit a manifest's labels with the network of some weights."""
    spec = ModelSpec(str(weights), arch=ARCH, size=size, mode="squash", activation="sigmoid")
    start(Request(manifest, out, spec, RunConfig(roles=("label",)), ClusterConfig(workers=1)))
    return Run.open(out)


def findings_of(run: Run, class_name: str) -> dict[str, Any]:
    """The class's row of the class table and its place there, 1 the first; the claims about it that were found."""
    rows, claims = Findings(run).classes(), Findings(run).standing_claims()
    return {
        "class": next((row.plain() for row in rows if row.class_name == class_name), None),
        "place": next((place for place, row in enumerate(rows, 1) if row.class_name == class_name), None),
        "found_classes": [row.class_name for row in rows if row.is_finding],
        "claims": [
            {name: getattr(claim, name) for name in ("claim_id", "kind", "share", "expected", "q", "says")}
            for claim in claims
            if claim.class_name == class_name
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.truth.real_regime", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/real_regime"), help="new folder for images and runs")
    parser.add_argument("--seed", type=int, default=0, help="of planting and training")
    parser.add_argument("--swap", action="store_true", help="train on the list val, audit the list train")
    parser.add_argument("--out", type=Path, default=Path("build/real_regime.json"), help="JSON file to write")
    options = parser.parse_args()
    use_threads()
    lists = ("val", "train") if options.swap else ("train", "val")
    record = measure(options.work, Regime(tuning=Tuning(seed=options.seed), lists=lists))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1, default=str) + "\n")
    print(json.dumps({name: record[name] for name in ("reliance_before", "reliance", "with", "without")}, indent=1))


if __name__ == "__main__":
    main()
