"""A whole run from JPEG files to committed shards, beside the forward pass over the same pixels already in memory.

256 drawn images of VOC's size with masks; ResNet-50, 224 px, batch 16; two processes of one thread each. All candidates
run on the same two worker processes, in turn, the model already loaded and compiled: starting them is left out, and
timed apart as one run from nothing: laying out the run, starting the cluster, loading the model in each process,
auditing. `of_forward`: beside the forward pass in the same precision, compiled or not.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distributed import Client
from PIL import Image
from torch import Tensor

from audit.datasets import VOC_CLASSES, Manifest
from audit.datasets.decoding import Readable, decode_sample
from audit.datasets.manifest import Sample
from audit.images.masks import write_index_png
from audit.models import Execution, ModelSpec, load_classifier
from audit.models.execution import Compiled, in_precision
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Task, explainer
from pipelines.run.workers.client import connect
from pipelines.run.workers.schedule import audit
from pipelines.terminal import TerminalProgress
from tests.benchmarks.timing import Row, interleave, speed_row, timed

IMAGES = 256
HEIGHT, WIDTH = 375, 500
WORKERS = 2
SPEC = ModelSpec("torchvision:resnet50", "random:0")
EXECUTIONS = {"float32": Execution(), "bfloat16, compiled": Execution("bfloat16", True)}


def measure(rounds: int) -> list[Row]:
    """For each execution the forward pass first, then runs without and with scores; then one run from nothing."""
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        bench = _Bench(Path(folder))
        rows = []
        with connect(ClusterConfig(WORKERS)) as client:
            for name, execution in EXECUTIONS.items():
                rows += _measure_one(bench, client, name, execution, rounds)
        plain = timed(lambda: from_nothing(bench))
        return [*rows, *(speed_row(row) for row in interleave({"run from nothing": plain}, IMAGES, 1, warm_up=False))]


def _measure_one(bench: _Bench, client: Client, name: str, execution: Execution, rounds: int) -> list[Row]:
    workers = hold_pixels(client, bench.plan(execution))
    candidates = {
        f"{name}: forward pass only": lambda: forward_only(client, workers),
        f"{name}: run without scores": audited(client, lambda: bench.plan(execution, scored=False)),
        f"{name}: run with scores": audited(client, lambda: bench.plan(execution)),
    }
    alone, *runs = interleave(candidates, IMAGES, rounds)
    return [speed_row(alone), *(speed_row(run, of_forward=alone) for run in runs)]


class _Bench:
    """The collection, and a new run of it whenever one is asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = count()
        draw_collection(root)

    def plan(self, execution: Execution, scored: bool = True) -> Plan:
        """Lay out a run."""
        config = RunConfig(shard_size=32, scored=scored, precision=execution.precision)
        manifest, out = self._root / "manifest.parquet", self._root / f"run{next(self._names)}"
        found = prepare(str(manifest), str(out), SPEC, config)
        return replace(found, task=replace(found.task, compiled=execution.compiled))


def draw_collection(root: Path, images: int = IMAGES) -> Manifest:
    """Write images, masks and their manifest."""
    rng = np.random.default_rng(0)
    manifest = Manifest.from_samples([_draw_sample(root, rng, index) for index in range(images)], VOC_CLASSES, root)
    manifest.save(root / "manifest.parquet")
    return manifest


def _draw_sample(root: Path, rng: np.random.Generator, index: int) -> Sample:
    """Smooth colours with some noise, and one or two boxes in the mask, each with a void rim."""
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT))
    noisy = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (HEIGHT, WIDTH, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(root / f"{index}.jpg", quality=90)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels = sorted(rng.choice(len(VOC_CLASSES), int(rng.integers(1, 3)), replace=False).tolist())
    for label in labels:
        top, left = int(rng.integers(0, HEIGHT - 150)), int(rng.integers(0, WIDTH - 200))
        mask[top : top + 150, left : left + 200] = 255
        mask[top + 5 : top + 145, left + 5 : left + 195] = label + 1
    write_index_png(root / f"{index}.png", mask)
    return Sample(f"{index:06d}", f"{index}.jpg", tuple(labels), f"{index}.png")


def audited(client: Client, plan: Callable[[], Plan]) -> Callable[[], float]:
    """Audit a new run; its time begins after it was laid out and ends with the last commit."""

    def run() -> float:
        ready = plan()
        return timed(lambda: _audit(ready, client))()

    return run


def _audit(plan: Plan, client: Client) -> None:
    audit(plan, client, TerminalProgress())
    account = plan.run.account()
    assert account.processed == account.samples, account


def from_nothing(bench: _Bench) -> None:
    """Lay out a run, start a cluster, audit."""
    ready = bench.plan(Execution())
    with connect(ClusterConfig(WORKERS)) as client:
        _audit(ready, client)


def hold_pixels(client: Client, plan: Plan) -> list[str]:
    """Load the model in each worker and have it hold its half of the images; returns the workers' addresses."""
    samples = list(plan.run.manifest())
    workers = sorted(client.scheduler_info()["workers"])
    share = len(samples) // len(workers)
    parts = [samples[place * share : (place + 1) * share] for place in range(len(workers))]
    ready = [
        client.submit(_hold, plan.task, plan.run.record, part, workers=[worker], pure=False)
        for part, worker in zip(parts, workers, strict=True)
    ]
    assert sum(client.gather(ready)) == IMAGES
    return workers


def forward_only(client: Client, workers: Sequence[str]) -> float:
    """Seconds that the slower worker needs for its half."""
    passes = [client.submit(_forward, workers=[worker], pure=False) for worker in workers]
    return float(max(client.gather(passes)))


_held: list[tuple[Callable[[Tensor], object], Tensor]] = []
"""In a worker: a network without taps, compiled where the run's is, and its half of the images, normalised."""


def _hold(task: Task, record: dict[str, Any], samples: Sequence[Sample]) -> int:
    explain = explainer(task, tuple(record["classes"]), record["model"]["fingerprint"])
    fit = explain.classifier.preprocessing.fit
    decoded = (decode_sample(row, sample, fit, task.config.max_pixels) for row, sample in enumerate(samples))
    pixels = [image.pixels for image in decoded if isinstance(image, Readable)]
    images = explain.classifier.preprocessing.normalise(np.stack(pixels))
    module = in_precision(load_classifier(task.spec), task.config.precision).module
    network = Compiled(module) if task.compiled else module
    with torch.inference_mode():
        network(images[: task.config.batch_size])
    _held[:] = [(network, images)]
    return len(images)


def _forward() -> float:
    network, images = _held[0]
    began = time.perf_counter()
    with torch.inference_mode():
        for batch in torch.split(images, RunConfig.batch_size):
            network(batch)
    return time.perf_counter() - began
