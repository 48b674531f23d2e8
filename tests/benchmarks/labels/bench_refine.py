"""What each step of refinement gives on PASCAL VOC photographs: mean IoU and time, everything chosen on one list alone.

Seeds are Grad-CAM of the network that may lie beside the project, at the images' own shape, at four sizes, each with
its mirror image. This network pads nothing, so its outermost cells look at places well inside the image; maps and
features are put where they look. The row `plain` has its maps spread over the image, as runs do.

Thresholds, the scale of the evidence and the trained head come from the list `train`, whose masks choose thresholds and
nothing else; the list `val` is scored with them.

Intervals are of the gain on `val` over the seeds, images drawn again with both at once: 120 images leave room for luck.

Run it: python -m tests.benchmarks.labels.bench_refine
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from audit.attribution import GradCAM
from audit.attribution.inside.activations import Activations
from audit.datasets import read_voc
from audit.images import View, decode_image, read_bytes, read_mask, upsample
from audit.images.views import interpolation_matrix
from audit.models import Classifier, load_classifier
from audit.models.lattices import Lattice, find_lattice
from audit.models.layers import find_grids
from audit.progress import Progress, silent, tracked
from audit.scores.histograms import Confusion, TrueClasses, confusion
from audit.scores.overlap import mean_iou_curve
from audit.segmentation.refine import Heat, Step, parse_steps
from audit.segmentation.refine.learnt import FigureHead, Seeds, Training, save_head, train_head
from audit.store.layout import LEVELS
from tests.benchmarks.timing import Row

SHARED = Path(__file__).resolve().parents[4] / "shared"


CLASSES = 20
DRAWS = 1000
SIDE = 320
SCALES = (0.5, 1.0, 1.5, 2.0)
EVIDENCE = 0.6
"""A map's peak is its raw peak, as a share of the collection's strong ones, to this power; with 0 all peaks are 1."""
STRONG = 0.7
"""Quantile of the raw peaks that counts as strong."""
CHAINS = (
    "",
    "superpixel",
    "pamr",
    "walker",
    "affinity",
    "superpixel,pamr",
    "affinity,superpixel",
    "affinity,pamr",
    "affinity,superpixel,pamr",
)
ROUNDS = {
    "learnt": ("affinity,pamr", Training()),
    "learnt again": ("affinity,learnt,pamr", Training(high=0.5, low=0.15)),
}
"""A head's name in chains -> the chain whose heat it is trained from, and how."""
LEARNT = (
    "learnt",
    "affinity,learnt",
    "affinity,learnt,superpixel",
    "affinity,learnt,pamr",
    "affinity,learnt,superpixel,pamr",
    "affinity,learnt again",
    "affinity,learnt again,superpixel",
    "affinity,learnt again,pamr",
    "affinity,learnt again,superpixel,pamr",
)


@dataclass(frozen=True)
class Photograph:
    """An image with its mask and what the network makes of it.

    Attributes:
        image: uint8 [h, w, 3].
        mask: int16 [h, w], as `audit.images.read_mask` gives it.
        class_ids: [K] classes in the mask.
        plain: [K, h, w] Grad-CAM of the image squashed to 320 x 320, 1 at the peak.
        raw: [K, h, w] mean over sizes and mirror images of what speaks for the class.
        features: activations of layers, from fine to coarse, float16.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.int16]
    class_ids: NDArray[np.int64]
    plain: Heat
    raw: Heat
    features: tuple[NDArray[np.float16], ...]

    @property
    def peaks(self) -> NDArray[np.float32]:
        """[K] highest values of `raw`."""
        return np.asarray(self.raw.max(axis=(1, 2)))

    def seeds(self, strong: float, evidence: float = EVIDENCE) -> Heat:
        """Heat [K, h, w] in 0..1; a raw peak of `strong` or more becomes 1."""
        peak = self.peaks[:, None, None]
        shares = np.divide(self.raw, peak, out=np.zeros_like(self.raw), where=peak > 0)
        return shares * np.minimum(peak / np.float32(strong), 1) ** np.float32(evidence)


class Network:
    """The classifier, asked about photographs."""

    def __init__(self) -> None:
        build = f"{SHARED / 'models' / 'voc_squeezenet.py'}:build"
        self.classifier: Classifier = load_classifier(
            build, classes="voc", layer="features", size=SIDE, mode="squash", activation="sigmoid"
        )
        self._activations = Activations(self.classifier)
        module, example = self.classifier.module, self.classifier.example()
        grids = find_grids(module, example)
        self._lattices = {
            name: find_lattice(module, example, grids[name].side) for name in (*self._activations.layers, "features")
        }

    def photographs(self, split: str, every: int) -> Iterator[Photograph]:
        """Every so many of a list's images."""
        manifest = read_voc(SHARED / "voc2012" / "VOCdevkit" / "VOC2012", split=split)
        with GradCAM(self.classifier) as explain:
            for sample in islice(manifest, 0, None, every):
                image = decode_image(read_bytes(sample.image), sample.id)
                mask = read_mask(sample, "index", image.shape[:2], len(manifest.classes))
                yield self._photograph(explain, image, mask)

    def _photograph(self, explain: GradCAM, image: NDArray[np.uint8], mask: NDArray[np.int16]) -> Photograph:
        height, width = image.shape[:2]
        ids = torch.from_numpy(np.unique(mask[mask > 0]).astype(np.int64) - 1)
        own = SIDE / np.sqrt(height * width)
        raw = np.zeros((len(ids), height, width), np.float32)
        for scale in SCALES:
            inputs = self._input(image, round(height * own * scale), round(width * own * scale))
            for pixels, turn in ((inputs, 1), (inputs.flip(3), -1)):
                placed = _placed(_maps(explain, pixels, ids), self._lattices["features"], inputs, image.shape[:2])
                raw += placed[:, :, ::turn]
        squashed = upsample(
            _maps(explain, self._input(image, SIDE, SIDE), ids), View(0, 0, width, height), height, width
        )
        peak = squashed.max(axis=(1, 2), keepdims=True)
        inputs = self._input(image, round(height * own), round(width * own))
        features = [
            self._on_grid(name, layer[0].numpy(), inputs)
            for name, layer in zip(self._activations.layers, self._activations(inputs), strict=True)
        ]
        return Photograph(
            image,
            mask,
            ids.numpy(),
            np.divide(squashed, peak, out=np.zeros_like(squashed), where=peak > 0),
            raw / np.float32(2 * len(SCALES)),
            tuple(features),
        )

    def _on_grid(self, name: str, layer: NDArray[np.float32], inputs: torch.Tensor) -> NDArray[np.float16]:
        """A layer on a grid that covers the image."""
        lattice = self._lattices[name]
        size = [round(side / lattice.step) for side in inputs.shape[2:]]
        return _placed(layer, lattice, inputs, size).astype(np.float16)

    def _input(self, image: NDArray[np.uint8], tall: int, wide: int) -> torch.Tensor:
        picture = Image.fromarray(image).resize((wide, tall), Image.Resampling.BILINEAR)
        return self.classifier.preprocessing.normalise(np.asarray(picture)[None].copy())


def _placed(
    values: NDArray[np.floating], lattice: Lattice, inputs: torch.Tensor, size: Sequence[int]
) -> NDArray[np.float32]:
    """Values [channels, h, w] of the cells for an input, brought to another (height, width) of it.

    Bilinear between the cells' centres, constant beyond the outermost.
    """
    down, across = (
        interpolation_matrix(cells, *(edge * length / side for edge in lattice.edges(cells)), 0, length)
        for cells, side, length in zip(values.shape[1:], inputs.shape[2:], size, strict=True)
    )
    return np.asarray(down @ values.astype(np.float32) @ across.T)


def _maps(explain: GradCAM, inputs: torch.Tensor, ids: torch.Tensor) -> Heat:
    """Maps [K, h, w] of an input, times its positions, so that sizes count alike: the logit is a mean over positions,
    and its gradient at one of them falls with their number."""
    maps = explain(inputs, ids[None])[0][0].numpy()
    return np.asarray(maps * np.float32(maps[0].size))


@dataclass
class Scored:
    """What a chain of steps gave: counts of each image of each list, and the processor time of its last step."""

    train: list[Confusion] = field(default_factory=list)
    val: list[Confusion] = field(default_factory=list)
    seconds: float = 0.0
    images: int = 0

    @property
    def level(self) -> int:
        """The level with the best mean IoU on `train`."""
        return int(mean_iou_curve(Confusion.merge(self.train), CLASSES).argmax())

    def matrices(self) -> NDArray[np.int64]:
        """Confusion matrices [n, true, predicted] of the images of `val` at that level."""
        level, matrices = self.level, np.zeros((len(self.val), CLASSES + 1, CLASSES + 1), np.int64)
        for matrix, counts in zip(matrices, self.val, strict=True):
            predicted = np.where(counts.map_level >= level, counts.predicted + 1, 0)
            np.add.at(matrix, (counts.true, predicted), counts.count)
        return matrices


def mean_iou(matrices: NDArray[np.int64]) -> float:
    """Mean IoU of confusion matrices [n, true, predicted] in one; classes that occur nowhere are left out."""
    pooled = matrices.sum(axis=0)
    right = np.diag(pooled)
    union = pooled.sum(axis=0) + pooled.sum(axis=1) - right
    return float((right[union > 0] / union[union > 0]).mean())


def gain_interval(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> tuple[float, float]:
    """95 % of the gain in mean IoU of one chain over another, by drawing images again (percentile bootstrap)."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(ours), size=len(ours)) for _ in range(DRAWS)]
    low, high = np.quantile([mean_iou(ours[images]) - mean_iou(theirs[images]) for images in drawn], [0.025, 0.975])
    return float(low), float(high)


def measure(
    train: Sequence[Photograph], val: Sequence[Photograph], work: Path, progress: Progress = silent
) -> list[Row]:
    """A row a chain of steps, those with the trained head last."""
    strong = float(np.quantile(np.concatenate([photograph.peaks for photograph in train]), STRONG))
    torch.set_num_threads(1)
    heads: dict[str, str] = {}
    for name, (chain, training) in ROUNDS.items():
        head = _train(train, strong, _steps(chain, heads), training, progress)
        save_head(head, work / f"{name}.pt")
        heads[name] = f"learnt:checkpoint={work / name}.pt"
    chains = {chain: _steps(chain, heads) for chain in (*CHAINS, *LEARNT)}
    scored: defaultdict[str, Scored] = defaultdict(Scored)
    for name, photographs in (("train", train), ("val", val)):
        for photograph in tracked(progress, f"refining {name}", photographs):
            _add(scored["plain, one size"], name, photograph, photograph.plain)
            _add(scored["seeds, peaks of 1"], name, photograph, photograph.seeds(strong, 0))
            _refine(scored, name, photograph, photograph.seeds(strong), chains)
    return [_row(chain or "seeds", results, scored[""]) for chain, results in scored.items()]


def _steps(chain: str, heads: dict[str, str]) -> list[Step]:
    """A chain's steps; heads by their names."""
    return parse_steps(",".join(heads.get(name, name) for name in chain.split(",")))


def _train(
    photographs: Sequence[Photograph], strong: float, steps: list[Step], training: Training, progress: Progress
) -> FigureHead:
    seeds = Seeds(training, len(photographs))
    for photograph in tracked(progress, "gathering seeds", photographs):
        heat = photograph.seeds(strong)
        for step in steps:
            heat = step(heat, photograph.image, photograph.features)
        seeds.add(heat, photograph.features)
    return train_head(seeds)


def _refine(
    scored: defaultdict[str, Scored], name: str, photograph: Photograph, seeds: Heat, chains: dict[str, list[Step]]
) -> None:
    """Score all chains on an image; what chains begin with alike is made once."""
    made = {"": seeds}
    for chain, steps in chains.items():
        names = chain.split(",") if chain else []
        for count in range(1, len(names) + 1):
            part, before = ",".join(names[:count]), ",".join(names[: count - 1])
            if part not in made:
                began = time.process_time()
                made[part] = steps[count - 1](made[before], photograph.image, photograph.features)
                scored[part].seconds += time.process_time() - began
                scored[part].images += 1
        _add(scored[chain], name, photograph, made[chain])


def _add(scored: Scored, name: str, photograph: Photograph, heat: Heat) -> None:
    if len(heat):
        getattr(scored, name).append(confusion(heat, photograph.class_ids, TrueClasses.of(photograph.mask)))


def _row(chain: str, scored: Scored, seeds: Scored) -> Row:
    train, val, level = Confusion.merge(scored.train), scored.matrices(), scored.level
    low, high = gain_interval(val, seeds.matrices())
    return {
        "steps": chain,
        "threshold": round(level / LEVELS, 3),
        "mean IoU, train": round(float(mean_iou_curve(train, CLASSES)[level]), 4),
        "mean IoU, val": round(mean_iou(val), 4),
        "gain over seeds, 95 %": f"{low:+.3f} to {high:+.3f}" if scored is not seeds else "",
        "CPU s an image": round(scored.seconds / scored.images, 3) if scored.images else "",
    }


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.labels.bench_refine", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take every so many of the images")
    parser.add_argument("--out", type=Path, default=Path("build/refine.json"), help="JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = Network()
    train, val = (list(network.photographs(split, options.every)) for split in ("train", "val"))
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        rows = measure(train, val, Path(folder))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown(rows))


if __name__ == "__main__":
    main()
