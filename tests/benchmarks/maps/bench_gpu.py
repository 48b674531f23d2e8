"""Grad-CAM of ResNet-50 on a GPU in bfloat16, beside the forward pass alone, and from files to ledger.

From memory: maps of three classes an image, the batch's bytes on the device. From files: as `bench_end_to_end`, by one
worker with the GPU, as runs have it, and by one worker a core that share it. Then how far maps are from the CPU's in
float32, as a cosine. Nothing without a GPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from audit.attribution import GradCAM
from audit.models import Execution, load_classifier
from audit.models.execution import Compiled, in_precision
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.found import found_of
from pipelines.run.shards.scorers import usual_count
from pipelines.run.start import one_a_gpu
from pipelines.run.workers.client import connect
from tests.benchmarks.runs.bench_end_to_end import SPEC, audited, draw_collection
from tests.benchmarks.timing import Measured, Row, interleave, speed_row, timed

BATCH, BATCHES, SLOTS, COMPARED, FILES = 64, 50, 3, 16, 2048
EXECUTION = Execution("bfloat16", True)


def measure(rounds: int) -> list[Row]:
    """Speeds, and `of_forward`; the least cosine of a map to the CPU's."""
    if not torch.cuda.is_available():
        return [{"candidate": "no GPU on this machine: nothing measured"}]
    device = torch.device("cuda")
    pixels = torch.randint(0, 256, (BATCH, 224, 224, 3), dtype=torch.uint8, device=device)
    made = GradCAM(load_classifier(SPEC), EXECUTION)
    made.classifier.module.to(device)
    with made as explain:
        candidates = {"forward pass only": timed(_forward(pixels)), "Grad-CAM": timed(lambda: _maps(explain, pixels))}
        alone, maps = interleave(candidates, BATCH * BATCHES, rounds)
        rows = [speed_row(alone), speed_row(maps, of_forward=alone)]
        cosine = float(_cosines(explain, pixels[:COMPARED]).min())
    return [*rows, {"candidate": "least cosine to the CPU's maps in float32", "cosine": cosine}, *_files(rounds, alone)]


def _forward(pixels: Tensor) -> Callable[[], None]:
    classifier = load_classifier(SPEC)
    normalise = classifier.preprocessing.normalise
    network = Compiled(in_precision(classifier, EXECUTION.precision).module.to(pixels.device))

    def run() -> None:
        with torch.inference_mode():
            for _ in range(BATCHES):
                network(normalise(pixels))
        torch.cuda.synchronize()

    return run


def _maps(explain: GradCAM, pixels: Tensor) -> None:
    ids = torch.arange(SLOTS).expand(len(pixels), SLOTS)
    for _ in range(BATCHES):
        images = explain.classifier.preprocessing.normalise(pixels)
        found_of(explain.attribute(images, lambda _logits: ids), weighted=False)


def _cosines(explain: GradCAM, pixels: Tensor) -> Tensor:
    ids = torch.arange(SLOTS).expand(len(pixels), SLOTS)
    there, _ = explain(explain.classifier.preprocessing.normalise(pixels), ids)
    with GradCAM(load_classifier(SPEC)) as plain:
        here, _ = plain(plain.classifier.preprocessing.normalise(pixels.cpu()), ids)
    return torch.nn.functional.cosine_similarity(there.cpu().flatten(2), here.flatten(2), dim=2)


def _files(rounds: int, alone: Measured) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as name:
        folder = Path(name)
        draw_collection(folder, FILES)

        def plan(scored: bool, workers: int, decoder: str = "pillow") -> Plan:
            out = folder / f"run{len(list(folder.glob('run*')))}"
            config = RunConfig(
                shard_size=128, batch_size=BATCH, scored=scored, precision=EXECUTION.precision, jpeg_decoder=decoder
            )
            laid_out = prepare(str(folder / "manifest.parquet"), str(out), SPEC, config)
            on_gpu = {"device": "cuda", "numbered": True, "scorers": usual_count("cuda", workers)}
            return replace(laid_out, task=replace(laid_out.task, compiled=EXECUTION.compiled, **on_gpu))

        rows: list[Row] = []
        for cluster in (one_a_gpu(ClusterConfig(device="cuda")), ClusterConfig()):
            workers = cluster.local_workers
            who = f"files to ledger, workers: {workers}"
            with connect(cluster) as client:
                candidates = {
                    f"{who}, without scores": audited(client, partial(plan, False, workers)),
                    who: audited(client, partial(plan, True, workers)),
                    f"{who}, nvJPEG": audited(client, partial(plan, True, workers, "nvjpeg")),
                }
                for found in interleave(candidates, FILES, rounds):
                    rows.append(speed_row(found) | {"of_forward": round(found.rate / alone.rate, 3)})
        return rows
