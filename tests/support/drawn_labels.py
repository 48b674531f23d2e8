"""Label images drawn by hand over a small collection: hostile ids and class names, holes, islands, unknown pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.manifest import Manifest, Sample
from audit.segmentation import LabelImage
from audit.store import Run, Shard

CLASSES = ("cat, black", "dog & <co>", "bus\t№ 1", 'a "b" \\ c', "größe 日本")
COLON = "red: or so"
SIZES = ((23, 31), (40, 17), (12, 12), (30, 50), (9, 33), (1, 1), (28, 28))
IDS = ("a/1", "a__1", "../up", "día 3", "=cmd()", "dot.", "gone")
FAILED = 4
GONE = 6


@dataclass(frozen=True)
class DrawnLabels:
    """A source whose images are drawn from the row.

    Attributes:
        seed: of all images.
        none: whether nothing is masked.
    """

    run: Run
    seed: int = 0
    none: bool = False
    failed: tuple[int, ...] = (FAILED,)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the run."""
        return self.run.classes

    @property
    def shards(self) -> Sequence[Shard]:
        """All."""
        return self.run.shards

    def images(self, shard: Shard) -> Iterator[LabelImage]:
        """Of every sample that did not fail."""
        for row, sample in zip(range(shard.start, shard.stop), self.run.manifest(shard.start, shard.stop), strict=True):
            if row not in self.failed:
                yield self.image(row, sample)

    def image(self, row: int, sample: Sample) -> LabelImage:
        """The image of a row."""
        mask = draw(np.random.default_rng((self.seed, row)), SIZES[row % len(SIZES)], len(self.classes))
        mask = np.zeros_like(mask) if self.none else mask
        soft = np.where(mask > 0, 200, 30).astype(np.uint8)
        return LabelImage(row, sample, mask, {i: (i + 1) / (len(self.classes) + 1) for i in range(5)}, soft)

    def all(self) -> list[LabelImage]:
        """Of all shards."""
        return [image for shard in self.shards for image in self.images(shard)]

    def digest(self, shard: Shard) -> str:
        """By shard and seed."""
        return f"{shard.index}-{self.seed}-{self.none}-{self.failed}"

    def about(self) -> dict[str, Any]:
        """Drawn."""
        return {"labels": "drawn"}


def draw(rng: np.random.Generator, size: tuple[int, int], classes: int) -> NDArray[np.int16]:
    """Boxes, rings with an island in their hole, lines and points of one pixel, unknown ones, each over the last."""
    mask = np.zeros(size, np.int16)
    height, width = size
    for _ in range(8):
        y, x = rng.integers(0, height), rng.integers(0, width)
        h, w = rng.integers(1, max(height // 2, 2)), rng.integers(1, max(width // 2, 2))
        mask[y : y + h, x : x + w] = rng.integers(0, min(classes, 5)) + 1
        if rng.random() < 0.5 and h > 4 and w > 4:
            mask[y + 1 : y + h - 1, x + 1 : x + w - 1] = 0
            mask[y + h // 2 : y + h // 2 + 1, x + w // 2 : x + w // 2 + 1] = 1
    mask[rng.integers(0, height), rng.integers(0, width)] = -1
    mask[rng.integers(0, height)] = np.where(rng.random(width) < 0.3, -1, mask[0])
    return mask


def drawn_labels(folder: Path, classes: Sequence[str] = CLASSES, shard_size: int = 3, **options: Any) -> DrawnLabels:
    """A source over a run of no maps; the image of the last sample is gone."""
    images = folder / "images"
    (images / "sub").mkdir(parents=True)
    samples = []
    for row, (name, (height, width)) in enumerate(zip(IDS, SIZES, strict=True)):
        path = f"sub/image {row}.png"
        if row != GONE:
            Image.fromarray(np.full((height, width, 3), row, np.uint8)).save(images / path)
        samples.append(Sample(name, path, (0,)))
    manifest = Manifest.from_samples(samples, classes, images)
    record = {"config": {}, "model": {}, "encoding": "float16", "grid": [1, 1], "slots": 1, "shard_size": shard_size}
    return DrawnLabels(Run.create(folder / "run", manifest, record), **options)
