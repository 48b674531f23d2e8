"""Grad-CAM of ResNet-50, 224 px, batch 16, three classes an image, all cores: beside forward passes and peers.

Random weights. Inputs are channels-last, as a run makes them; the peers' contiguous, as their pages have them.
`of_forward`: beside the same network's forward pass alone, in the same precision, compiled or not. The other ratios say
how many times as fast as that peer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import product

import psutil
import torch
from torch import Tensor

from audit.attribution import GradCAM
from audit.models import Classifier, Execution, load_classifier
from audit.models.execution import Compiled, in_precision
from tests.benchmarks.maps.peers import peers
from tests.benchmarks.timing import Row, interleave, speed_row, timed

BATCH = 16
CLASSES = 3
EXECUTIONS = [Execution(precision, compiled) for precision, compiled in product(("float32", "bfloat16"), (False, True))]


def measure(rounds: int) -> list[Row]:
    """Time the forward pass and ours in every execution, and the peers."""
    torch.set_num_threads(psutil.cpu_count(logical=False) or 1)
    images = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    class_ids = torch.arange(BATCH * CLASSES).view(BATCH, CLASSES) * 7
    others = peers(_network(), images, class_ids)
    ready = images.contiguous(memory_format=torch.channels_last)
    with ExitStack() as entered:
        work: dict[str, Callable[[], object]] = {}
        for execution in EXECUTIONS:
            explain = entered.enter_context(GradCAM(_network(), execution))
            work[f"forward, {_named(execution)}"] = forward(_network(), execution, ready)
            work[f"camaudit, {_named(execution)}"] = lambda explain=explain: explain(ready, class_ids)  # type: ignore[misc]
        found = interleave({name: timed(run) for name, run in (work | others).items()}, BATCH, rounds)
    by_name = {measured.name: measured for measured in found}
    ratios = {f"x_{name}": by_name[name] for name in others}
    rows = []
    for execution in EXECUTIONS:
        ours, alone = by_name[f"camaudit, {_named(execution)}"], by_name[f"forward, {_named(execution)}"]
        rows += [speed_row(alone), speed_row(ours, of_forward=alone, **ratios)]
    return [*rows, *(speed_row(by_name[name], of_forward=by_name["forward, float32"]) for name in others)]


def _network() -> Classifier:
    """One of its own for each candidate: where hooks come and go a compiled network is compiled again."""
    return load_classifier("torchvision:resnet50", "random:0")


def forward(classifier: Classifier, execution: Execution, images: Tensor) -> Callable[[], object]:
    """The forward pass alone."""
    module = in_precision(classifier, execution.precision).module
    network = Compiled(module) if execution.compiled else module

    def run() -> object:
        with torch.inference_mode():
            return network(images)

    return run


def _named(execution: Execution) -> str:
    return execution.precision + (", compiled" if execution.compiled else "")
