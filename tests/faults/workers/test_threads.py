"""Threads that share a process and its network: each sample has its own image's map, whoever else is at work."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit.attribution import GradCAM, IntegratedGradients, Method, Saliency
from audit.attribution.taps import evaluating, tapped
from audit.datasets import Manifest
from audit.models import Classifier, ModelSpec, load_classifier
from faults.collection import contents, draw_collection, planned
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards import shard as shards
from pipelines.run.shards.shard import Finished, audit_shard

THREADS = 4
IMAGENET = ("goldfish", "tench", "hen")
NETWORKS = ("resnet18", "mobilenet_v3_small")
"""Their heads are of two kinds: the tap of the one watches the layer, that of the other replaces its output."""


def in_threads(plan: Plan, count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        ends = list(pool.map(lambda shard: audit_shard(plan.task, shard), plan.run.shards))
    assert all(isinstance(end, Finished) for end in ends), ends


@pytest.mark.parametrize("network", NETWORKS)
def test_four_threads_over_shards_of_two_give_what_one_gives_byte_for_byte(network: str, tmp_path: Path) -> None:
    manifest = Manifest.open(draw_collection(tmp_path, 48))
    named = Manifest.from_samples(manifest, IMAGENET).save(tmp_path / "named.parquet")
    spec = ModelSpec(f"torchvision:{network}", "random:0", size=64)
    config = RunConfig(shard_size=2, batch_size=2)
    alone, shared = (prepare(str(named), str(tmp_path / out), spec, config) for out in ("alone", "shared"))
    in_threads(alone, 1)
    in_threads(shared, THREADS)
    expected = contents(alone.run)
    assert len(expected) > len(alone.run.shards)
    assert contents(shared.run) == expected


def maps_of(explain: Method, images: Tensor, count: int) -> list[Tensor]:
    ids = torch.tensor([[1, 2]])
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda image: explain(image[None], ids)[0], images))


@pytest.mark.parametrize("method", [GradCAM, Saliency])
@pytest.mark.parametrize("network", NETWORKS)
def test_one_method_called_from_four_threads_gives_each_its_own_image(method: type[Method], network: str) -> None:
    classifier = load_classifier(f"torchvision:{network}", "random:0", size=64)
    images = torch.randn(32, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with method(classifier) as explain:
        expected = maps_of(explain, images, 1)
        for given, own in zip(maps_of(explain, images, THREADS), expected, strict=True):
            np.testing.assert_array_equal(given, own)


class Late(nn.Module):
    """A network of which two passes go on together, and end together."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 2, 1)
        self.barrier = barrier

    def forward(self, images: Tensor) -> Tensor:
        self.barrier.wait()
        outputs: Tensor = self.inner(images)
        self.barrier.wait()
        return outputs


def test_a_tap_acts_on_the_passes_of_its_own_thread_alone() -> None:
    network = Late(threading.Barrier(2, timeout=20))

    def tapped_pass(value: float) -> Tensor:
        with torch.inference_mode(), tapped(network.inner, lambda output: torch.full_like(output, value)):
            return network(torch.zeros(1, 3, 4, 4))

    with ThreadPoolExecutor(2) as pool:
        for given, value in zip(pool.map(tapped_pass, (1.0, 2.0)), (1.0, 2.0), strict=True):
            np.testing.assert_array_equal(given, value)


def test_a_network_is_in_eval_mode_until_the_last_who_wants_it_is_done() -> None:
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3)).train()
    network[1].eval()
    first, second = evaluating(network), evaluating(network)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(part.training for part in network.modules())
    second.__exit__(None, None, None)
    assert [part.training for part in network.modules()] == [True, True, False]


def small(seed: int = 0) -> Classifier:
    return load_classifier("torchvision:mobilenet_v3_small", f"random:{seed}", size=64)


def test_parameters_want_gradients_as_before_after_threads_that_switched_them_off() -> None:
    classifier = small()
    wanted = [parameter.requires_grad for parameter in classifier.module.parameters()]
    images = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with Saliency(classifier) as plain, IntegratedGradients(classifier, steps=2) as summed:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda turn: (plain, summed)[turn % 2](images[turn : turn + 1]), range(len(images))))
        assert [parameter.requires_grad for parameter in classifier.module.parameters()] == wanted


def test_threads_that_ask_at_once_share_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path)
    loaded: list[Classifier] = []
    together = threading.Barrier(THREADS)

    def counted(*arguments: object, **named: object) -> Classifier:
        loaded.append(load_classifier(*arguments, **named))  # type: ignore[arg-type]
        return loaded[-1]

    def ask(_turn: int) -> Method:
        together.wait(20)
        return shards.explainer(plan.task, plan.run.classes, plan.run.record["model"]["fingerprint"])

    monkeypatch.setattr(shards, "load_classifier", counted)
    shards._explainer.cache_clear()
    with ThreadPoolExecutor(THREADS) as pool:
        methods = list(pool.map(ask, range(THREADS)))
    assert len(loaded) == 1
    assert all(method is methods[0] for method in methods)
