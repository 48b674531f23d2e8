"""What the quick check costs a run in which a tenth of the samples is flagged.

256 drawn JPEG files with masks, one target each, ResNet-50 at 224 px, batch 16, one thread, one shard and no cluster.
Random weights name nothing and look nowhere: that a tenth is flagged is had from the rules. `of_run` is the CPU time
beside that of the same shard without the check, the median over rounds, each beside its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch

from audit.attribution import GradCAM, Method
from audit.datasets import VOC_CLASSES, Manifest, Objects, read_objects
from audit.datasets.manifest import Sample
from audit.findings import Rules
from audit.findings.evidence.asked_anyway import SHARE
from audit.findings.rules import misplacement
from audit.models import load_classifier
from pipelines.run.config import RunConfig
from pipelines.run.shards import quick_check
from pipelines.run.shards.attribute import ShardMaps, attribute_samples
from pipelines.run.shards.quick_check import QuickCheck
from pipelines.run.shards.reading import Reader
from tests.benchmarks.runs.bench_end_to_end import draw_collection
from tests.benchmarks.timing import Row, apart

IMAGES = 256
FLAGGED = 0.1
CONFIG = RunConfig(roles=("label",))


def measure(rounds: int) -> list[Row]:
    """A shard without the check, with it as a large run has it, and with as many others as are flagged."""
    with patch.dict(os.environ, dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")):
        return apart(_measure, rounds)


def _measure(rounds: int) -> list[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        manifest = _of_one_target(draw_collection(Path(folder), IMAGES))
        with GradCAM(load_classifier("torchvision:resnet50", "random:0", classes=VOC_CLASSES)) as explain:
            rules = _flagging(_audit(manifest, explain, None), FLAGGED)
            with patch.object(quick_check, "RULES", rules):
                return _rows(manifest, explain, rounds)


def _of_one_target(manifest: Manifest) -> list[Sample]:
    return [replace(sample, labels=sample.labels[:1]) for sample in manifest]


def _flagging(found: ShardMaps, share: float) -> Rules:
    """Rules by which a share of the samples is flagged."""
    assert found.scorer is not None
    scores = found.scorer.result()["scores"]
    columns = (np.array(scores[name], float) for name in ("p_high", "energy", "attainable"))
    return Rules(confident=1e-9, misplaced=float(np.nanquantile(misplacement(*columns), 1 - share)))


def _rows(manifest: list[Sample], explain: Method, rounds: int) -> list[Row]:
    cases: dict[str, Callable[[], QuickCheck | None]] = {
        "without": lambda: None,
        "a large run": lambda: QuickCheck(explain, CONFIG.batch_size, round(SHARE * IMAGES), IMAGES),
        "as many others as flagged": lambda: QuickCheck(explain, CONFIG.batch_size, IMAGES, IMAGES),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    asked = {}
    for turn in range(rounds + 1):
        for name, check in cases.items():
            began = time.process_time()
            found = _audit(manifest, explain, check())
            asked[name] = len(found.checks)
            if turn:
                seconds[name].append(time.process_time() - began)
    return [
        {
            "candidate": name,
            "asked": asked[name],
            "of_run": round(median(own / plain for own, plain in zip(taken, seconds["without"], strict=True)), 3),
            "cpu_seconds": [round(value, 2) for value in taken],
        }
        for name, taken in seconds.items()
    ]


def _audit(samples: list[Sample], explain: Method, check: QuickCheck | None) -> ShardMaps:
    def objects(sample: Sample, size: tuple[int, int]) -> Objects:
        return read_objects(sample, "index", size, len(VOC_CLASSES))

    return attribute_samples(
        samples, 0, explain, CONFIG, 1, Reader(explain.classifier.preprocessing.fit, objects), check
    )
