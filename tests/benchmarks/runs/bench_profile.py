"""Where the time of one image goes in a worker: every step of a shard timed by itself, one thread, no decoding ahead.

ResNet-50, 224 px, batch 16, JPEG files of 500 x 375 px with full-size masks, three targets an image.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import GradCAM
from audit.datasets import VOC_CLASSES
from audit.datasets.manifest import Sample
from audit.images.masks import read_mask
from audit.images.reading import decode_image, read_bytes
from audit.images.views import View
from audit.models import Execution, load_classifier
from audit.scores import Scene, score
from audit.scores.placed import Placed
from audit.scores.shift_null import shift_null
from audit.store.maps.arrays import create_maps, write_maps
from pipelines.run.shards.found import by_peak
from tests.benchmarks.runs.bench_end_to_end import draw_collection
from tests.benchmarks.timing import Row, apart

IMAGES = 32
BATCH = 16
SLOTS = 3
MASK_KIND = "index"
EXECUTIONS = {"float32": Execution(), "bfloat16, compiled": Execution("bfloat16", True)}


class _Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - began


def measure(rounds: int) -> list[Row]:
    """Milliseconds an image of every step, and its share of the whole, for both executions."""
    with patch.dict(os.environ, dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")):
        return apart(_measure, rounds)


def _measure(rounds: int) -> list[Row]:
    classifier = load_classifier("torchvision:resnet50", "random:0")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        manifest = draw_collection(Path(folder), IMAGES)
        columns = {}
        for name, execution in EXECUTIONS.items():
            with GradCAM(classifier, execution) as explain:
                found = [_shard(list(manifest), explain, Path(folder)) for _ in range(rounds + 1)][1:]
            columns[name] = {step: median(each[step] for each in found) / IMAGES * 1e3 for step in found[0]}
    for step in next(iter(columns.values())):
        row: Row = {"step": step}
        for name, column in columns.items():
            row |= {
                f"ms, {name}": round(column[step], 2),
                f"share, {name}": round(column[step] / sum(column.values()), 3),
            }
        rows.append(row)
    return rows


def _shard(samples: list[Sample], explain: GradCAM, folder: Path) -> dict[str, float]:
    """Seconds that each step takes for all samples."""
    clock = _Clock()
    create_maps(folder / "maps.zarr", IMAGES, SLOTS, explain.grid, IMAGES)
    stored = np.empty((IMAGES, SLOTS, *explain.grid), np.float16)
    for start in range(0, IMAGES, BATCH):
        stored[start : start + BATCH] = _batch(samples[start : start + BATCH], explain, clock)
    with clock("write maps"):
        write_maps(folder / "maps.zarr", 0, stored)
    return dict(clock.seconds)


def _batch(samples: list[Sample], explain: GradCAM, clock: _Clock) -> NDArray[np.float32]:
    preprocessing = explain.classifier.preprocessing
    pixels, views, sizes = [], [], []
    for sample in samples:
        with clock("read and decode"):
            image = decode_image(read_bytes(sample.image), sample.image)
        with clock("fit"):
            fitted, view = preprocessing.fit(image)
        pixels.append(fitted)
        views.append(view)
        sizes.append(image.shape[:2])
    with clock("normalise"):
        images = preprocessing.normalise(np.stack(pixels))
    with clock("network and maps"):
        raw, _ = explain(images, torch.arange(SLOTS).expand(len(samples), SLOTS))
    with clock("divide by peak"):
        maps = by_peak(raw)[0].numpy()
    for place, sample in enumerate(samples):
        _score(maps[place], sample, views[place], sizes[place], clock)
    return maps


def _score(maps: NDArray[np.float32], sample: Sample, view: View, size: tuple[int, int], clock: _Clock) -> None:
    with clock("read mask"):
        mask = read_mask(sample, MASK_KIND, size, len(VOC_CLASSES))
    class_ids = np.arange(SLOTS)
    with clock("upsample and score"):
        score(Scene.of(maps, view, mask, class_ids))
    with clock("shift null"):
        shift_null(Placed.of(maps, view, mask, class_ids, size))
