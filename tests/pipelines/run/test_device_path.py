"""A shard on a device that cannot be read from: the host gets each batch in one transfer, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from one_device import OneDevice
from PIL import Image
from torch import nn

from audit.attribution import GradCAM
from audit.attribution.method import Choose
from audit.datasets import Objects, Sample
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images import Fit
from audit.models import ModelSpec
from audit.models.classifier import Classifier, Preprocessing
from audit.models.device import Halving
from pipelines.run import attribute, found, start
from pipelines.run.attribute import ShardMaps, attribute_samples
from pipelines.run.config import ClusterConfig, RunConfig

CONFIG = RunConfig(batch_size=4)
COLUMNS = ("sample", "class_id", "rank", "status", "peak")


def classifier() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU())
        module = nn.Sequential(stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    return Classifier(module, Preprocessing(Fit(32)), ClassMapping(("a", "b", "c"), ((0,), (1,), (2,))), "0")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Ten images of noise; the fourth cannot be read."""
    rng = np.random.default_rng(0)
    for index in range(10):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    return [Sample(str(index), str(tmp_path / f"{index}.png"), (index % 3,)) for index in range(10)]


def known(_sample: Sample, size: tuple[int, int]) -> Objects:
    mask = np.zeros(size, np.int16)
    mask[:20] = 1
    return Objects(mask, "mask")


def attributed(explain: GradCAM, samples: Sequence[Sample]) -> ShardMaps:
    return attribute_samples(samples, 0, explain, CONFIG, 2, known)


def test_a_batch_is_read_from_its_device_once(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[int] = []

    def bring(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        assert {tensor.device.type for tensor in tensors.values()} == {"meta"}
        fetched.append(len(tensors["maps"]))
        return {name: torch.ones_like(tensor, device="cpu").numpy() for name, tensor in tensors.items()}

    monkeypatch.setattr(found, "fetch", bring)
    with GradCAM(classifier()) as explain:
        explain.classifier.module.to("meta")  # whose tensors have no numbers: to read one is an error
        with OneDevice():
            read = attributed(explain, samples)
    assert fetched == [3, 4, 2]
    assert read.samples.column("status").count("processed") == 9
    assert len(read.features) == len(read.targets) == 18


def test_halves_of_a_batch_give_what_the_whole_gives(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    with GradCAM(classifier()) as explain:
        whole = attributed(explain, samples)
        monkeypatch.setattr(attribute, "HALVING", Halving())
        plain, failed = explain.explain_batch, []

        def short_of_memory(images: torch.Tensor, choose: Choose) -> object:
            if len(images) > 2:
                failed.append(len(images))
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return plain(images, choose)

        monkeypatch.setattr(explain, "explain_batch", short_of_memory)
        with pytest.warns(RuntimeWarning, match="halving"):
            halves = attributed(explain, samples)
    assert failed == [3]
    np.testing.assert_allclose(halves.maps, whole.maps, atol=1e-3)
    for name in ("sample", "slot", "class_id", "rank", "status"):
        assert list(halves.targets.column(name)) == list(whole.targets.column(name))
    np.testing.assert_allclose(halves.targets.column("peak"), whole.targets.column("peak"), rtol=1e-4)


def test_ranks_and_statuses_are_what_loops_over_targets_say(samples: list[Sample]) -> None:
    with GradCAM(classifier()) as explain:
        found = attributed(explain, samples)
        for target in zip(*(found.targets.column(name) for name in COLUMNS), strict=True):
            row, class_id, rank, status, peak = target
            fitted, _ = explain.classifier.preprocessing.fit(np.asarray(Image.open(samples[row].image)))
            images = explain.classifier.preprocessing.normalise(fitted[None])
            raw, logits = explain(images, torch.tensor([[class_id]]))
            assert rank == sum(float(other) > float(logits[0, class_id]) for other in logits[0])
            assert status == ("ok" if float(raw.max()) > 0 else "no_evidence")
            assert peak == pytest.approx(float(raw.max()), rel=1e-4, abs=1e-7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_a_run_on_one_is_refused_before_anything_is_laid_out(tmp_path: Path) -> None:
    asked = start.Request(
        tmp_path / "none.parquet", tmp_path / "run", ModelSpec("x:y"), RunConfig(), ClusterConfig(device="cuda")
    )
    with pytest.raises(ModelError, match=r"^Expected --device to be there, as cpu or cuda, got 'cuda': "):
        start.start(asked)
    assert not list(tmp_path.iterdir())


def test_a_local_cluster_has_one_worker_a_gpu_with_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    found = {
        asked: start.one_a_gpu(ClusterConfig(*asked))
        for asked in [(None, 1, "auto", "auto"), (4, 1, "auto", "cuda"), (None, 1, "auto", "cpu")]
    }
    assert [(c.device, c.local_workers, c.local_shards) for c in found.values()] == [
        ("cuda", 2, 8),
        ("cuda", 4, 4),
        ("cpu", 16, 1),
    ]
    theirs = ClusterConfig(scheduler="tcp://10.0.0.1:8786")
    assert start.one_a_gpu(theirs) == theirs  # what its workers see is for them to say
