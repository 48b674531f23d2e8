"""Collections as people have them, beside what the network relies on: copies, bursts, layouts, wrong labels.

`python -m tests.benchmarks.truth.regimes --seeds 10,11,12 --out build/regimes.json`. Scenes are drawn without cues. A
network learns them with a cue on four classes, each in nine of ten of its images: a watermark at one place, a stamp
whose place varies, a frame, a tint. Two classes have none. Other scenes with the cues are then audited as they are, and

- `copies`: a third of them, each beside itself compressed, brighter and scaled;
- `bursts`: a fifth of them, each as five frames that differ by a step and noise, the burst named as the unit;
- `bursts, unnamed`: the same, and nobody says so;
- `layouts`: each class's scenes shifted to a side of its own, before the cue is put in;
- `wrong labels`: one label in ten is another class's.

How much the network relies on a cue is measured on twins without any, which the audit never sees.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from audit.datasets import Manifest, Sample, read_voc
from audit.datasets.cues import Cue
from audit.datasets.planted import PlantedSpec, draw_planted
from audit.findings import Findings, Rules
from audit.images.masks import write_index_png
from audit.interventions.tried import share_lost
from audit.models import Classifier, ModelSpec, load_classifier
from audit.models.small import preprocessing
from pipelines.asked import Training
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from pipelines.terminal import notices
from pipelines.training.train import train
from tests.benchmarks.truth.bench_outcomes import with_cues
from tests.benchmarks.truth.photographs import RELIED_ON
from tests.benchmarks.truth.real_regime import probabilities

CUES = {
    "disc": Cue("watermark"),
    "square": Cue("sticker"),
    "pentagon": Cue("frame"),
    "star": Cue("tint", strength=0.4),
}
LEARNT, SHOWN = 0.9, 1.0
"""Share of a class's images with its cue: of those trained on, and audited."""
WRONG = 0.1
"""Share of labels that are another class's."""
SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1))
"""Where each class's scenes are shifted to: down and right, in shares of `_SHIFT`."""
_SHIFT = 1 / 6
_FRAMES = 5
_NOISE = 4.0

Pixels = NDArray[np.uint8]
Pair = tuple[Pixels, Pixels]
"""An image [S, S, 3] and its mask [S, S]."""
Change = Callable[[Pair, int, np.random.Generator], list[Pair]]
"""What becomes of a scene and its class."""


def shifted(pair: Pair, class_id: int, rng: np.random.Generator) -> list[Pair]:
    """The scene moved to its class's side, its rim carried on."""
    down, right = (round(_SHIFT * len(pair[1]) * way) for way in SIDES[class_id])
    return [(_moved(pair[0], down, right), _moved(pair[1], down, right))]


def _moved(pixels: Pixels, down: int, right: int) -> Pixels:
    rows, columns = (np.clip(np.arange(len(pixels)) - way, 0, len(pixels) - 1) for way in (down, right))
    return pixels[rows][:, columns]


def copied(pair: Pair, class_id: int, rng: np.random.Generator) -> list[Pair]:
    """The scene, brighter by a fifth, and at half the size; all are compressed when they are written."""
    image = Image.fromarray(pair[0])
    half = image.resize((len(pair[0]) // 2,) * 2, Image.Resampling.BILINEAR)
    bright = ImageEnhance.Brightness(image).enhance(1.2)
    return [pair, (np.asarray(bright), pair[1]), (np.asarray(half), pair[1][::2, ::2])]


def in_burst(pair: Pair, class_id: int, rng: np.random.Generator) -> list[Pair]:
    """Frames of the scene, each a step on and with noise of its own."""
    frames = []
    for step in range(_FRAMES):
        image, mask = (_moved(pixels, step - _FRAMES // 2, step - _FRAMES // 2) for pixels in pair)
        noisy = image + rng.normal(0, _NOISE, image.shape)
        frames.append((noisy.clip(0, 255).astype(np.uint8), mask))
    return frames


@dataclass(frozen=True)
class Regime:
    """How the audited scenes are changed.

    Attributes:
        change: None for as they are.
        every: one of so many scenes is taken.
        before: whether they are changed before the cues are put in.
        rules: of the audit.
        mislabelled: share of labels that are another class's.
    """

    change: Change | None = None
    every: int = 1
    before: bool = False
    rules: Rules = field(default_factory=Rules)
    mislabelled: float = 0.0


REGIMES = {
    "as they are": Regime(),
    "copies": Regime(copied, every=3),
    "bursts": Regime(in_burst, every=5, rules=Rules(unit="scene")),
    "bursts, unnamed": Regime(in_burst, every=5),
    "layouts": Regime(shifted, before=True),
    "wrong labels": Regime(mislabelled=WRONG),
}


def changed(manifest: Path, regime: Regime, out: Path, seed: int) -> Path:
    """The manifest's scenes as a regime has them; every scene's stream is its own, so twins are changed alike."""
    if regime.change is None or (out / "manifest.parquet").exists():
        return out / "manifest.parquet" if regime.change else manifest
    opened = Manifest.open(manifest)
    (out / "images").mkdir(parents=True)
    samples = [
        sample
        for row, scene in enumerate(opened)
        if row % regime.every == row // regime.every % regime.every
        for sample in _written(scene, regime.change, out, np.random.default_rng([seed, row]))
    ]
    return Manifest.from_samples(samples, opened.classes, out).save(out / "manifest.parquet")


def _written(scene: Sample, change: Change, out: Path, rng: np.random.Generator) -> Iterator[Sample]:
    assert scene.mask is not None
    pair = (np.asarray(Image.open(scene.image).convert("RGB")), np.asarray(Image.open(scene.mask)))
    for place, (image, mask) in enumerate(change(pair, scene.labels[0], rng)):
        name = f"{scene.id}_{place}"
        Image.fromarray(image).save(out / "images" / f"{name}.jpg", quality=85)
        write_index_png(out / "images" / f"{name}.png", np.ascontiguousarray(mask))
        files = {"image": f"images/{name}.jpg", "mask": f"images/{name}.png"}
        yield replace(scene, id=name, **files, attributes={"scene": scene.id})  # type: ignore[arg-type]


def mislabelled(manifest: Path, share: float, out: Path, seed: int) -> Path:
    """The manifest with a share of the labels another class's; masks stay."""
    if not share:
        return manifest
    opened, rng = Manifest.open(manifest), np.random.default_rng(seed)
    samples = [
        replace(sample, labels=((sample.labels[0] + int(rng.integers(1, len(opened.classes)))) % len(opened.classes),))
        if rng.random() < share
        else sample
        for sample in opened
    ]
    out.mkdir(parents=True, exist_ok=True)
    return Manifest.from_samples(samples, opened.classes, opened.root).save(out / "mislabelled.parquet")


def measure(folder: Path, seed: int, counts: tuple[int, int], epochs: int) -> dict[str, dict[str, Any]]:
    """Draw, train, and audit in every regime."""
    root = folder / "scenes"
    if not (root / "truth.parquet").exists():
        draw_planted(root, PlantedSpec(seed, *counts, cue_share=0.0, radius=(0.17, 0.28)))
    trained, plain = (read_voc(root, split=split).save(root / f"{split}.parquet") for split in ("train", "twins"))
    model = folder / "model.pt"
    if not model.exists():
        cued = with_cues(CUES, trained, folder / "trained", LEARNT, seed)
        train(Manifest.open(cued), Training("audit.models.small:build", preprocessing(), epochs, 4e-3, 64, seed), model)
    classifier = load_classifier(str(model))
    return {
        name: audited(folder / name.replace(" ", "-").replace(",", ""), regime, plain, classifier, model, seed)
        for name, regime in REGIMES.items()
    }


def audited(
    folder: Path, regime: Regime, plain: Path, classifier: Classifier, model: Path, seed: int
) -> dict[str, Any]:
    """One regime: what is relied on, what is claimed, and what is said of images that are no witnesses of their own."""
    early, late = (regime, Regime()) if regime.before else (Regime(), regime)
    twins = changed(plain, early, folder / "plain", seed)
    shown = changed(with_cues(CUES, twins, folder / "cued", SHOWN, seed), late, folder / "shown", seed)
    twins = changed(twins, late, folder / "twins", seed)
    manifest = mislabelled(shown, regime.mislabelled, folder, seed)
    config = RunConfig(roles=("label", "predicted"), shard_size=100, batch_size=50)
    cluster = ClusterConfig(1, compiling="never")
    run = start(
        Request(manifest, folder / "run", ModelSpec(str(model)), config, cluster, regime.rules, set_aside=True)
    ).run
    fall = falls(classifier, Manifest.open(shown), Manifest.open(twins))
    claims = Findings(run).standing_claims()
    accused = {str(claim.class_name) for claim in claims if claim.class_name}
    relied = {name for name, value in fall.items() if value >= RELIED_ON}
    return {
        "images": run.samples,
        "fall": fall,
        "found": sorted(relied & accused),
        "missed": sorted(relied - accused),
        "accused wrongly": sorted(accused - relied),
        "doubt": (Findings(run).summary() or {})["units"]["doubt"],
        "claims": [claim.claim_id for claim in claims],
    }


def falls(classifier: Classifier, shown: Manifest, twins: Manifest) -> dict[str, float]:
    """By class, the mean share of p(c) that twins without the cue lose, over its confidently named images."""
    own, twin = (probabilities(classifier, manifest) for manifest in (shown, twins))
    class_id = np.array([sample.labels[0] for sample in shown])
    rows = np.arange(len(class_id))
    with_cue, without = own[rows, class_id], twin[rows, class_id]
    lost, named = share_lost(with_cue - without, with_cue), with_cue >= Rules().confident
    own_rows = {name: np.flatnonzero(named & (class_id == i)) for i, name in enumerate(shown.classes)}
    return {name: float(lost[rows].mean()) if len(rows) else 0.0 for name, rows in own_rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.truth.regimes", description=__doc__)
    parser.add_argument("--seeds", default="10,11,12", help="as 10,11,12")
    parser.add_argument("--scenes", default="3000,600", help="to train on, to audit")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("build/regimes"), help="folder of scenes, models and runs")
    parser.add_argument("--out", type=Path, default=Path("build/regimes.json"), help="JSON file to write")
    options = parser.parse_args()
    train_count, test_count = map(int, options.scenes.split(","))
    record = {}
    for seed in map(int, options.seeds.split(",")):
        found = measure(options.work / str(seed), seed, (train_count, test_count), options.epochs)
        record[str(seed)] = found
        for name, row in found.items():
            shown = {key: row[key] for key in ("images", "found", "missed", "accused wrongly", "doubt")}
            notices.print(f"seed {seed}, {name}: {shown}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
