"""Where a claim has two reasons: do channels and concepts tell them apart? Nine images at their peak need not.

`python -m tests.benchmarks.truth.bench_reasons --seeds 31 --out build/reasons.json`. Scenes are those of the planted
benchmark but for this: a disc comes with its watermark, with a magenta frame at a random place, or with both; a
pentagon with its crescent, with a cyan cross, or with both; each cue in 0.65 of the scenes. A network learns 1,200
scenes of four classes, 480 others are audited. Nine patches show *one thing* where the same cue is in at least 7 of
them: half of its box must lie in the patch, and less than half of the class's other cue. *Both reasons* are shown where
each cue is the one thing of some row among the first four.

Beside channels and concepts stand nine random images of the claim, cut out at the peak of their map, and at the peak of
what of it lies off the object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from audit.concepts.channels import targets_of
from audit.concepts.chosen import targets_of_claim
from audit.concepts.patches import Box, PatchReader, Target
from audit.concepts.ways.registry import WAYS
from audit.datasets import read_voc
from audit.datasets.planted import CLASSES, PlantedSpec, Scene, draw_scene
from audit.findings import Claim, Findings
from audit.images import write_index_png
from audit.models import Classifier
from audit.store import Run
from pipelines.experiments.concepts import find_concepts
from pipelines.experiments.model import model_of_run
from pipelines.planted.truth import audit_planted, train_on_planted
from pipelines.run.config import ClusterConfig
from tests.benchmarks.truth.bench_channels import ASKED, PATCHES, SHOWN, overlap

SPEC = PlantedSpec(size=80, train=1200, test=480)
LEARNT = ("disc", "ring", "pentagon", "star")
SECOND = {"disc": np.array([240.0, 30.0, 220.0]), "pentagon": np.array([20.0, 220.0, 230.0])}
"""Colour of the second cue: of a frame, and of a cross."""
SHARE, SIDE, ROWS = 0.65, 11, 4


@dataclass(frozen=True)
class Told:
    """What some way to choose patches shows of a claim: in how many of nine the first row shows the commoner cue.

    Attributes:
        both: whether each cue is the one thing of some row among the first four; None for a way with a single row.
    """

    seed: int
    claim_id: str
    way: str
    same: int
    both: bool | None


def draw(folder: Path, spec: PlantedSpec) -> None:
    """Scenes as VOC, and `truth.json`: of each id the boxes of its cues by their number."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    truth = {}
    for split, count, listed in (("train", spec.train, "train"), ("test", spec.test, "val")):
        places = [index for index in range(6 * count) if CLASSES[index % 6] in LEARNT][:count]
        for index in places:
            name = f"{split}_{index:05d}"
            image, mask, boxes = _scene(spec, split, index)
            Image.fromarray(image).save(folder / f"JPEGImages/{name}.png", compress_level=1)
            write_index_png(folder / f"SegmentationClass/{name}.png", mask)
            truth[name] = boxes
        lines = "".join(f"{split}_{index:05d}\n" for index in places)
        (folder / f"ImageSets/Segmentation/{listed}.txt").write_text(lines)
    (folder / "truth.json").write_text(json.dumps(truth))


def _scene(spec: PlantedSpec, split: str, index: int) -> tuple[np.ndarray, np.ndarray, dict[str, list[float]]]:
    rng = np.random.default_rng([spec.seed, split == "test", index, 7])
    first, second = _cues_of(rng)
    scene: Scene = draw_scene(spec, split, index, with_cue=first)  # type: ignore[arg-type]
    name, image, boxes = CLASSES[scene.class_id], scene.image, {}
    if name in SECOND and first and scene.cue_box:
        boxes["first"] = [float(edge) for edge in scene.cue_box]
    if name in SECOND and second:
        image, boxes["second"] = _with_second(rng, scene, SECOND[name], cross=name == "pentagon")
    return image, scene.mask, boxes


def _cues_of(rng: np.random.Generator) -> tuple[bool, bool]:
    """At least one of the two."""
    while True:
        first, second = rng.random(2) < SHARE
        if first or second:
            return bool(first), bool(second)


def _with_second(
    rng: np.random.Generator, scene: Scene, colour: np.ndarray, cross: bool
) -> tuple[np.ndarray, list[float]]:
    """A frame or a cross of a colour, clear of the object and of the first cue."""
    taken = ndimage.binary_dilation(scene.mask > 0, iterations=2)
    if scene.cue_box:
        x0, y0, x1, y1 = scene.cue_box
        taken[max(y0 - 6, 0) : y1 + 6, max(x0 - 6, 0) : x1 + 6] = True
    away = abs(np.arange(SIDE) - SIDE // 2)
    drawn = abs(away[:, None] - away) <= 1 if cross else np.maximum(away[:, None], away) >= SIDE // 2 - 1
    for _ in range(500):
        y, x = (int(place) for place in rng.integers(1, len(scene.image) - SIDE - 1, 2))
        part = np.s_[y : y + SIDE, x : x + SIDE]
        if not taken[part].any():
            image = scene.image.copy()
            image[part] = np.where(drawn[..., None], 0.15 * image[part] + 0.85 * colour, image[part]).astype(np.uint8)
            return image, [float(x), float(y), float(x + SIDE), float(y + SIDE)]
    return scene.image, [0.0, 0.0, 0.0, 0.0]


def audited(seed: int, work: Path) -> tuple[Run, Path]:
    """Draw and train unless that was done before, and audit."""
    spec, folder = replace(SPEC, seed=seed), work / f"reasons-{seed}"
    scenes = folder / "scenes"
    if not (scenes / "model.pt").exists():
        draw(scenes, spec)
        train_on_planted(scenes, spec, epochs=10, batch_size=32)
    read_voc(scenes, split="val")
    return audit_planted(scenes, scenes / "model.pt", folder / "run", ClusterConfig(1, compiling="never")), scenes


class Cues:
    """Which of its class's two cues a patch shows."""

    def __init__(self, run: Run, scenes: Path) -> None:
        self._reader, self._ids = PatchReader(run), [sample.id for sample in run.manifest()]
        self._truth = json.loads((scenes / "truth.json").read_text())

    def shown(self, target: Target) -> str | None:
        """`first` or `second`; None for neither, and for both."""
        box = self._reader.box(target)
        there = [
            name for name, cue in self._truth[self._ids[target[0]]].items() if cue[2] and overlap(Box(*cue), box) >= 0.5
        ]
        return there[0] if len(there) == 1 else None

    def counts(self, targets: Sequence[Target]) -> dict[str, int]:
        """In how many patches each is seen alone."""
        shown = [self.shown(target) for target in targets]
        return {name: shown.count(name) for name in ("first", "second")}


def judge(seed: int, run: Run, scenes: Path) -> Iterator[Told]:
    """Every standing claim about a class with cues."""
    findings, cues, classifier = Findings(run), Cues(run, scenes), model_of_run(run)
    for claim in findings.standing_claims():
        if claim.class_name in SECOND:
            for way, rows in _ways(run, findings, claim, classifier):
                counts = [cues.counts(row) for row in rows[:ROWS]]
                same = max(counts[0].values()) if counts else 0
                both = all(any(count[name] >= SHOWN for count in counts) for name in ("first", "second"))
                yield Told(seed, claim.claim_id, way, same, both if "peak" not in way else None)


def _ways(
    run: Run, findings: Findings, claim: Claim, classifier: Classifier
) -> Iterator[tuple[str, list[list[Target]]]]:
    yield "channels", [targets_of(row) for row in findings.channels() if row.claim_id == claim.claim_id]
    targets = targets_of_claim(findings, claim)
    for name in WAYS:
        found = find_concepts(run, classifier, targets, replace(ASKED, way=name), off=True)
        yield f"concepts, {name}", [list(concept.targets) for concept in found.concepts]
    for off in (False, True):
        yield f"random images at their peak{' off the object' if off else ''}", [at_peak(run, targets, off)]


def at_peak(run: Run, targets: pd.DataFrame, off: bool) -> list[Target]:
    """Nine random targets of a claim, each with the hottest cell of its map, or of those off its object."""
    chosen = targets.sample(min(PATCHES, len(targets)), random_state=0)
    found = []
    for sample, slot in zip(chosen["sample"].tolist(), chosen["slot"].tolist(), strict=True):
        heat = np.nan_to_num(run.maps(sample, sample + 1)[0, slot].astype(np.float32))
        found.append((sample, slot, int((heat * _off_object(run, sample, heat.shape) if off else heat).argmax())))
    return found


def _off_object(run: Run, sample: int, grid: tuple[int, ...]) -> np.ndarray:
    """Share of each cell [h, w] that is background."""
    (listed,) = run.manifest(sample, sample + 1)
    background = np.asarray(Image.open(str(listed.mask))) == 0
    side = background.shape[0] // grid[0]
    share: np.ndarray = (
        background[: side * grid[0], : side * grid[1]].reshape(grid[0], side, grid[1], side).mean((1, 3))
    )
    return share


def summary(told: Sequence[Told]) -> list[dict[str, object]]:
    """By way: claims, how many show one thing, mean patches of it, and of how many both reasons are shown."""
    rows: list[dict[str, object]] = []
    for way in dict.fromkeys(row.way for row in told):
        own = [row for row in told if row.way == way]
        one = sum(row.same >= SHOWN for row in own)
        both = None if own[0].both is None else sum(bool(row.both) for row in own)
        mean = round(float(np.mean([row.same for row in own])), 2)
        rows.append({"way": way, "claims": len(own), "one_thing": one, "mean": mean, "both_reasons": both})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="31", help="as 31,32")
    parser.add_argument("--out", type=Path, default=Path("build/reasons.json"))
    parser.add_argument("--work", type=Path, default=Path("build/truth"))
    options = parser.parse_args()
    told = [row for seed in map(int, options.seeds.split(",")) for row in judge(seed, *audited(seed, options.work))]
    rows = summary(told)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"rows": rows, "claims": [asdict(row) for row in told]}, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
