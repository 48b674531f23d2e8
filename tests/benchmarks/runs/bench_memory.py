"""Peak memory of a process against one that only runs the network; and what 10,000 batches leave behind.

Each candidate has a process of its own: ResNet-50, 224 px, batch 16, three classes an image.
"""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import torch
from torch import nn

from audit.attribution import GradCAM
from audit.models import Execution, load_classifier
from tests.benchmarks.maps.bench_attribution import BATCH, CLASSES, forward
from tests.benchmarks.timing import Row, apart

BATCHES = 10_000


def measure(rounds: int) -> list[Row]:
    """Peaks of every execution, then the long run. Memory does not vary as time does: one round."""
    rows: list[Row] = []
    for execution in (Execution(), Execution("bfloat16"), Execution(compiled=True), Execution("bfloat16", True)):
        alone, ours = (apart(work, execution) for work in (_forward_only, _explain))
        kind = f"{execution.precision}{', compiled' if execution.compiled else ''}"
        rows.append({"candidate": kind, "forward_mb": alone, "camaudit_mb": ours, "of_forward": round(ours / alone, 3)})
    return [*rows, apart(_long_run)]


def _forward_only(execution: Execution) -> int:
    classifier = load_classifier("torchvision:resnet50", "random:0")
    run = forward(classifier, execution, torch.randn(BATCH, 3, 224, 224))
    for _ in range(3):
        run()
    return _peak_mb()


def _explain(execution: Execution) -> int:
    images, class_ids = torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH * CLASSES).view(BATCH, CLASSES)
    with GradCAM(load_classifier("torchvision:resnet50", "random:0"), execution) as explain:
        for _ in range(3):
            explain(images, class_ids)
    return _peak_mb()


def _long_run() -> Row:
    """A tenth of the batches first, so that what is allocated once does not count."""
    classifier = load_classifier("torchvision:squeezenet1_1", "random:0", size=64, layer="features")
    images, class_ids = torch.randn(2, 3, 64, 64), torch.tensor([[1, 2], [3, 4]])
    with GradCAM(classifier) as explain:
        for batch in range(BATCHES + BATCHES // 10):
            explain(images, class_ids)
            if batch == BATCHES // 10:
                before = _resident_mb()
    grown = _resident_mb() - before
    return {"candidate": f"{BATCHES} batches", "grown_mb": round(grown, 1), "hooks_left": _hooks(classifier.module)}


def _hooks(module: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in module.modules() for kind in kinds)


def _resident_mb() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 2**20)


def _peak_mb() -> int:
    """Linux keeps it for the program; `getrusage` would begin with the peak of the process that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024
