"""Twenty classes an image against one, 224 px, batch 8: by the closed form (ResNet-50), by gradients (VGG-16)."""

from __future__ import annotations

from contextlib import ExitStack

import psutil
import torch

from audit.attribution import GradCAM
from audit.models import load_classifier
from tests.benchmarks.timing import Measured, Row, interleave, speed_row, timed

BATCH = 8
MANY = 20


def measure(rounds: int) -> list[Row]:
    """Time both numbers of classes of both networks; `times_one` is what twenty classes take against one."""
    torch.set_num_threads(psutil.cpu_count(logical=False) or 1)
    images = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    work = {}
    with ExitStack() as entered:
        for name in ("resnet50", "vgg16"):
            explain = entered.enter_context(GradCAM(load_classifier(f"torchvision:{name}", "random:0")))
            for count in (1, MANY):
                ids = torch.arange(BATCH * count).view(BATCH, count)
                work[f"{name} ({explain.head}), {count}"] = timed(lambda explain=explain, ids=ids: explain(images, ids))
        found = interleave(work, BATCH, rounds)
    return [row for pair in (found[:2], found[2:]) for row in _rows(*pair)]


def _rows(one: Measured, many: Measured) -> list[Row]:
    return [speed_row(one), speed_row(many) | {"times_one": round(one.speed_of(many), 3)}]
