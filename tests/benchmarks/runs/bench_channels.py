"""What keeping the leading channels costs a run.

256 drawn JPEG files with masks, two targets each, one thread, one shard and no cluster; ResNet-50 (2,048 channels of
7 x 7) at 224 px and the small network of the planted benchmark (96 channels of 12 x 12) at 96 px. `of_run` is the CPU
time beside that of the same shard without, the median over rounds, each beside its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch

from audit.attribution import GradCAM, Method
from audit.datasets import VOC_CLASSES, Objects, read_objects
from audit.datasets.classes import ClassMapping
from audit.datasets.manifest import Sample
from audit.models import Classifier, load_classifier
from audit.models.small import build, preprocessing
from pipelines.run.config import RunConfig
from pipelines.run.shards import scoring
from pipelines.run.shards.attribute import attribute_samples
from pipelines.run.shards.reading import Reader
from tests.benchmarks.runs.bench_end_to_end import draw_collection
from tests.benchmarks.timing import Row, apart

IMAGES = 256
CONFIG = RunConfig(roles=("label", "predicted"))
_ONE_EACH = ClassMapping(VOC_CLASSES, tuple((place,) for place in range(len(VOC_CLASSES))))
NETWORKS: dict[str, Callable[[], Classifier]] = {
    "ResNet-50, 224 px": lambda: load_classifier("torchvision:resnet50", "random:0", classes=VOC_CLASSES),
    "small network, 96 px": lambda: Classifier(
        build(len(VOC_CLASSES)).eval(), preprocessing(96), _ONE_EACH, "features", "sigmoid"
    ),
}


def measure(rounds: int) -> list[Row]:
    """A shard with and without, for each network."""
    with patch.dict(os.environ, dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")):
        return [row for name in NETWORKS for row in apart(_measure, name, rounds)]


def _measure(name: str, rounds: int) -> list[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        samples = list(draw_collection(Path(folder), IMAGES))
        with GradCAM(NETWORKS[name]()) as explain:
            return _rows(name, samples, explain, rounds)


def _rows(name: str, samples: list[Sample], explain: Method, rounds: int) -> list[Row]:
    cases: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "without": lambda: patch.object(scoring, "_add_channels"),
        "with": nullcontext,
    }
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    for turn in range(rounds + 1):
        for case, within in cases.items():
            began = time.process_time()
            with within():
                attribute_samples(
                    samples, 0, explain, CONFIG, 3, Reader(explain.classifier.preprocessing.fit, _objects)
                )
            if turn:
                seconds[case].append(time.process_time() - began)
    pairs = {case: zip(taken, seconds["without"], strict=True) for case, taken in seconds.items()}
    return [
        {
            "candidate": f"{name}, {case}",
            "of_run": round(median(own / plain for own, plain in pairs[case]), 3),
            "cpu_seconds": [round(value, 2) for value in taken],
        }
        for case, taken in seconds.items()
    ]


def _objects(sample: Sample, size: tuple[int, int]) -> Objects:
    return read_objects(sample, "index", size, len(VOC_CLASSES))
