"""A shard on another device: the host gets each batch in one transfer, and nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from distributed import Client
from PIL import Image
from second_device import THERE, on_second_device
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
from pipelines.cli.doctor import examine
from pipelines.run import start
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.cores import usable_cores
from pipelines.run.shards import attribute, scorers, shard
from pipelines.run.shards.attribute import ShardMaps, attribute_samples
from pipelines.run.shards.reading import Reader
from pipelines.run.shards.scorers import usual_count
from pipelines.run.shards.scoring import score_batch
from pipelines.run.shards.shard import Task

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
    return attribute_samples(samples, 0, explain, CONFIG, 2, reader(explain))


def reader(explain: GradCAM) -> Reader:
    return Reader(explain.classifier.preprocessing.fit, known)


def test_a_batch_is_read_from_its_device_once(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    with GradCAM(classifier()) as explain:
        expected = attributed(explain, samples)
        with on_second_device(monkeypatch) as device:
            explain.classifier.module.to(THERE)
            read = attributed(explain, samples)
    assert device.reads == ["aten._to_copy"] * 3  # batches of 3, 4 and 2
    assert read.samples.column("status").count("processed") == 9
    assert len(read.features) == len(expected.features)
    np.testing.assert_allclose(read.maps, expected.maps, atol=1e-3)
    for name in ("sample", "class_id", "rank", "status"):
        assert list(read.targets.column(name)) == list(expected.targets.column(name))
    np.testing.assert_allclose(read.targets.column("peak"), expected.targets.column("peak"), rtol=1e-4)


def test_what_lies_elsewhere_is_scored_by_others_alike(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers._Process, "score", lambda _process, batch: score_batch(batch))
    others = scorers.Scorers(2)
    with GradCAM(classifier()) as explain:
        expected = attributed(explain, samples).tables()
        with on_second_device(monkeypatch) as device:
            explain.classifier.module.to(THERE)
            tables = attribute_samples(
                samples, 0, explain, CONFIG, 2, replace(reader(explain), later=True), scorers=others
            ).tables()
    others.close()
    assert device.reads == ["aten._to_copy"] * 3
    assert tables["samples"] == expected["samples"]
    for name in ("status", "area", "p_high"):
        np.testing.assert_array_equal(tables["scores"][name], expected["scores"][name])


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
    monkeypatch.setattr("dask.system.cpu_count", lambda: 16)
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


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_cores_are_those_that_a_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {5})
    assert usable_cores() == ClusterConfig().local_workers == usual_count("cuda") == 1
    assert examine()["cores"] == "1"


NEXT = {name: threading.Event() for name in ("meta", "cpu", "careful")}


def ending(name: str) -> bool:
    """A shard that hands over; whether the next one began before it ended."""
    task = Task("run", ModelSpec("x:y"), CONFIG, careful=name == "careful")
    shard._hand_over(task, torch.device("cpu" if name == "cpu" else "meta"))
    return NEXT[name].wait(5 if name == "meta" else 0.2)


def next_one(name: str) -> None:
    NEXT[name].set()


def test_a_gpus_worker_of_one_thread_begins_the_next_shard_beside_the_end_of_this_one() -> None:
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        for name, beside in (("meta", True), ("cpu", False), ("careful", False)):
            first, second = client.submit(ending, name), client.submit(next_one, name)
            second.result(10)
            assert first.result(10) is beside


def test_no_more_than_two_shards_of_a_worker_that_hands_over_are_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    in_hand, most, go_on = set[int](), list[int](), threading.Event()

    def process(_run: object, index: int, task: Task, explain: Any, _entry: object) -> dict[str, int]:
        in_hand.add(index)
        most.append(len(in_hand))
        shard._hand_over(task, explain.classifier.device)
        if len(most) >= 2:
            go_on.wait(0.3)  # for others to come, where they may
        in_hand.remove(index)
        return {"processed": 1, "failed": 0}

    run = SimpleNamespace(entry=lambda _shard: None, classes=(), record={"model": {"fingerprint": ""}})
    there = SimpleNamespace(classifier=SimpleNamespace(device=torch.device("meta")))
    monkeypatch.setattr(shard.Run, "open", lambda _path: run)
    monkeypatch.setattr(shard, "explainer", lambda *_given: there)
    monkeypatch.setattr(shard, "_process", process)
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        ends = client.gather(client.map(partial(shard.audit_shard, Task("run", ModelSpec("x:y"), CONFIG)), range(6)))
    assert [end.processed for end in ends] == [1] * 6
    assert max(most) == 2


def test_a_shard_is_handed_over_when_its_last_image_is_on_its_way(samples: list[Sample]) -> None:
    done: list[int] = []
    with GradCAM(classifier()) as explain:
        plain = explain.explain_batch

        def counted(images: torch.Tensor, choose: Choose) -> object:
            done.append(len(images))
            return plain(images, choose)

        explain.explain_batch = counted  # type: ignore[method-assign]
        seen: list[list[int]] = []
        attribute_samples(samples, 0, explain, CONFIG, 2, reader(explain), begun=lambda: seen.append(list(done)))
    assert seen == [[]]  # before the first of three batches: two are read ahead
    assert done == [3, 4, 2]


def test_another_decoder_is_given_batches_and_what_it_refuses_is_decoded_as_ever(
    samples: list[Sample], tmp_path: Path
) -> None:
    for sample in samples[4:]:
        Image.open(sample.image).save(sample.image, "JPEG")
    asked: list[int] = []

    def refusing(files: Sequence[bytes]) -> list[None]:
        asked.append(len(files))
        return [None] * len(files)

    with GradCAM(classifier()) as explain:
        plain = attributed(explain, samples)
        given = attribute_samples(samples, 0, explain, CONFIG, 2, replace(reader(explain), jpegs=refusing))
    assert asked == [0, 4, 2]
    np.testing.assert_array_equal(given.maps, plain.maps)
    assert given.tables()["samples"] == plain.tables()["samples"]


def test_a_runs_record_tells_its_decoder_only_where_it_is_another() -> None:
    assert "jpeg_decoder" not in CONFIG.record()
    assert RunConfig(jpeg_decoder="nvjpeg").record()["jpeg_decoder"] == "nvjpeg"
    with pytest.raises(ValueError, match="--jpeg-decoder to be one of pillow, nvjpeg, got 'gpu'"):
        RunConfig(jpeg_decoder="gpu")
