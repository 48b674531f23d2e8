"""A segmentation network from class labels alone, beside the same network from true masks.

`python -m tests.benchmarks.labels.bench_distill --out build/distill.json`. Scenes are drawn without shortcuts. A small
classifier learns their classes. Its maps, as they are and refined, are cut twice: what is hot by the higher threshold
is object, what is not by the lower is background, and what lies between is 255, don't know. Then the same network, a
pyramid on the classifier, is trained several times and scored on the masks of other scenes:

- `supervised`: on the true masks;
- `distilled`: on the labels from the maps;
- `self-trained`: on the masks that the distilled network sees in the same scenes, 255 where it is unsure.

The thresholds were chosen on scenes of seed 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from audit.datasets import Manifest, read_voc
from audit.datasets.planted import PlantedSpec, draw_planted
from audit.images import View, decode_image, read_bytes, upsample, write_index_png
from audit.models import ModelSpec
from audit.models.execution import use_threads
from audit.models.segmenters import load_segmenter
from audit.models.small import preprocessing
from audit.progress import tracked
from audit.scores import MaskConfusion
from audit.segmentation.refine import parse_steps, refine
from audit.store import Run
from audit.store.storage.files import file_stem
from pipelines.asked import Distillation, Training
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from pipelines.terminal import TerminalProgress, notices
from pipelines.training.distill import distill
from pipelines.training.segment import segment_manifest
from pipelines.training.train import train

VOID = 255
LOW, HIGH = 0.4, 0.7
"""Thresholds of the maps."""
UNSURE = 0.7
"""Probability below which a pixel of the distilled network's masks is not learnt from."""


def draw(folder: Path, seed: int, counts: tuple[int, int], size: int) -> tuple[Path, Path]:
    """Scenes without shortcuts; manifests to learn from and to score on."""
    root = folder / "scenes"
    if not (root / "truth.parquet").exists():
        spec = PlantedSpec(seed, *counts, size=size, cue_share=0.0, contrast=(100.0, 220.0), radius=(0.13, 0.28))
        draw_planted(root, spec, TerminalProgress())
    for split in ("train", "twins"):
        read_voc(root, split=split).save(folder / f"{split}.parquet")
    return folder / "train.parquet", folder / "twins.parquet"


def first(scenes: Path, count: int) -> Path:
    """A manifest of the first scenes of another."""
    whole = Manifest.open(scenes)
    part = Manifest.from_samples(islice(whole, count), whole.classes, whole.root, whole.mask_kind)
    return part.save(scenes.with_stem(f"{scenes.stem}-{count}"))


def maps_of(folder: Path, learnt: Path, scenes: Path, size: int, epochs: int, method: str) -> Run:
    """The run of a classifier that learnt the classes of some scenes, on others or the same."""
    model = folder / "classifier.pt"
    if not model.exists():
        training = Training("audit.models.small:build", preprocessing(size), epochs, 4e-3, 64)
        train(Manifest.open(learnt), training, model, TerminalProgress())
    config = RunConfig(method, roles=("label",), batch_size=50, quick_check=False)
    cluster = ClusterConfig(1, compiling="never")
    return start(Request(scenes, folder / "run", ModelSpec(str(model)), config, cluster, set_aside=True)).run


def labels_of(run: Run, out: Path, steps: str, low: float, high: float) -> Path:
    """Labels of a run's maps, refined by `steps`: object from `high` on, background below `low`, else 255."""
    out.mkdir(exist_ok=True)
    chosen, samples = parse_steps(steps), list(run.manifest())
    for shard in tracked(TerminalProgress(), "making labels", run.done()):
        maps = run.maps(shard.start, shard.stop)
        targets = run.read("targets", shard, ["sample", "slot", "class_id"]).to_pandas().groupby("sample")
        for row in run.read("samples", shard).to_pylist():
            of_sample = targets.get_group(row["sample"])
            size, view = (row["height"], row["width"]), View(row["x0"], row["y0"], row["x1"], row["y1"])
            heat = upsample(maps[row["sample"] - shard.start, of_sample["slot"]], view, *size)
            sample = samples[row["sample"]]
            image = decode_image(read_bytes(sample.image), sample.image)
            heat = refine(chosen, np.nan_to_num(heat).clip(0, 1), image)
            level, winner = heat.max(axis=0), of_sample["class_id"].to_numpy()[heat.argmax(axis=0)] + 1
            label = np.where(level >= high, winner, np.where(level < low, 0, VOID)).astype(np.uint8)
            write_index_png(out / f"{file_stem(sample.id)}.png", label)
    return out


def quality(scenes: Path, labels: Path) -> dict[str, float]:
    """Mean IoU of labels with the true masks, where they say something, and how much of the pixels that is."""
    manifest = Manifest.open(scenes)
    confusion, known = MaskConfusion(len(manifest.classes)), []
    for sample in manifest:
        assert sample.mask is not None
        label = np.asarray(Image.open(labels / f"{file_stem(sample.id)}.png"))
        true = np.asarray(Image.open(sample.mask)).astype(np.int16)
        confusion.add(label, np.where((true == VOID) | (label == VOID), -1, true).astype(np.int16))
        known.append((label != VOID).mean())
    return {"mean_iou": confusion.mean_iou(), "known": float(np.mean(known))}


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All trainings of one seed."""
    classified, others = draw(folder, args.seed, (args.classified, args.test), args.size)
    scenes = first(classified, args.labelled)
    run = maps_of(folder, classified, scenes, args.input, args.classifier_epochs, args.method)
    learn = learner(folder, scenes, others, args)
    record: dict[str, Any] = {"supervised": learn("supervised", folder / "scenes/SegmentationClass")}
    for name, steps in {"plain": "", "refined": args.refine}.items():
        labels = labels_of(run, folder / f"{name}-labels", steps, args.low, args.high)
        record[name] = taught(name, folder, scenes, labels, learn)
        record[name]["share"] = record[name]["distilled"] / record["supervised"]
    return record


def taught(name: str, folder: Path, scenes: Path, labels: Path, learn: Callable[[str, Path], float]) -> dict[str, Any]:
    """A network from labels, and one from what that sees."""
    record: dict[str, Any] = {"labels": quality(scenes, labels), "distilled": learn(f"{name}-distilled", labels)}
    again, student = folder / f"{name}-again", load_segmenter(folder / f"{name}-distilled.pt")
    segment_manifest(Manifest.open(scenes), student, again, UNSURE, TerminalProgress(), labelled=True)
    return record | {"labels again": quality(scenes, again), "self-trained": learn(f"{name}-self-trained", again)}


def learner(folder: Path, scenes: Path, others: Path, args: argparse.Namespace) -> Callable[[str, Path], float]:
    """What trains a network on labels and gives its mean IoU on other scenes."""
    asked = Distillation(
        args.arch,
        args.input,
        args.epochs,
        args.learning_rate,
        args.batch_size,
        args.seed,
        "mirror",
        backbone_weights=str(folder / "classifier.pt") if args.arch.startswith("fpn:") else None,
    )

    def learn(name: str, labels: Path) -> float:
        files = (folder / f"{name}.pt", TerminalProgress(), Manifest.open(others))
        mean_iou = float(distill(Manifest.open(scenes), labels, asked, *files)["mean_iou"])
        notices.print(f"{name}: mean IoU {mean_iou:.3f}")
        return mean_iou

    return learn


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/distill"), help="kept, to go on with")
    parser.add_argument("--out", type=Path, default=Path("build/distill.json"))
    parser.add_argument("--seed", type=int, default=0, help="of scenes and trainings")
    parser.add_argument("--classified", type=int, default=1800, help="scenes whose class is learnt")
    parser.add_argument("--labelled", type=int, default=500, help="those of them that masks are learnt from")
    parser.add_argument("--test", type=int, default=120, help="scenes to score on")
    parser.add_argument("--size", type=int, default=64, help="side of a scene, pixels")
    parser.add_argument("--input", type=int, default=96, help="side of the classifier's input")
    parser.add_argument("--method", default="layercam-fused", help="of the maps")
    parser.add_argument("--refine", default="superpixel,pamr", help="steps from the maps to the labels")
    parser.add_argument("--low", type=float, default=LOW)
    parser.add_argument("--high", type=float, default=HIGH)
    parser.add_argument("--classifier-epochs", type=int, default=12)
    parser.add_argument("--arch", default="fpn:audit.models.small:build", help="of the network")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    use_threads(1)
    record = measure(args.folder / str(args.seed), args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    asked = {name: str(value) for name, value in vars(args).items()}
    args.out.write_text(json.dumps({"asked": asked, **record}, indent=1) + "\n")
    for name in ("plain", "refined"):
        notices.print(f"{name}: distilled at {record[name]['share']:.3f} of supervised")


if __name__ == "__main__":
    main()
