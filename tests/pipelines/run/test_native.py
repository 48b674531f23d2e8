"""Runs whose network is given inputs of the images' own shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults.collection import CLASSES, audit_here, write_model
from PIL import Image

from audit.attribution import make_method
from audit.datasets.manifest import Manifest, Sample
from audit.errors import ModelError
from audit.findings import Rules
from audit.images import Fit
from audit.models import ModelSpec, load_classifier
from pipelines.asked import Trial, Verification
from pipelines.experiments.faithfulness import measure_run
from pipelines.experiments.inputs import read_targets
from pipelines.experiments.verify import Trials
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.attribute import attribute_samples
from pipelines.run.shards.reading import Reader
from pipelines.run.shards.shard import Finished

SIDE = 96
SHAPES = ((90, 40), (40, 90), (64, 64), (40, 90), (96, 30), (50, 90))
"""Heights and widths of the pictures; scaled to 96 px they are given as 96 x 64, 64 x 96, 96 x 96 and so on."""


def _spec(folder: Path) -> ModelSpec:
    return replace(write_model(folder), size=SIDE, mode="native")


def _collection(folder: Path, count: int = len(SHAPES)) -> Path:
    rng = np.random.default_rng(0)
    samples = []
    for index in range(count):
        height, width = SHAPES[index % len(SHAPES)]
        picture = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        label = index % 3
        picture[5:25, 5:25, label] += 120
        mask[5:25, 5:25] = label + 1
        Image.fromarray(picture).save(folder / f"{index:03d}.png")
        Image.fromarray(mask).save(folder / f"{index:03d}-mask.png")
        samples.append(Sample(f"{index:03d}", f"{index:03d}.png", (label,), f"{index:03d}-mask.png"))
    return Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")


def _plan(folder: Path, count: int = len(SHAPES), **changes: Any) -> Plan:
    config = replace(RunConfig(shard_size=64, batch_size=2), **changes)
    return prepare(str(_collection(folder, count)), str(folder / "run"), _spec(folder), config)


@pytest.mark.parametrize(
    ("height", "width", "given"),
    [
        (375, 500, (256, 320)),
        (500, 375, (320, 256)),
        (320, 320, (320, 320)),
        (1, 900, (32, 320)),
        (640, 620, (320, 320)),
    ],
)
def test_an_image_is_given_in_whole_steps_and_its_longer_side_fills_the_input(
    height: int, width: int, given: tuple[int, int]
) -> None:
    fit = Fit(320, "native")
    assert fit.given(height, width) == given
    pixels, view = fit(np.full((height, width, 3), 7, np.uint8))
    rows, columns = (pixels == 7).all(axis=2).any(axis=1).sum(), (pixels == 7).all(axis=2).any(axis=0).sum()
    assert max(rows, columns) == 320
    assert given[0] - 32 < rows <= given[0]
    assert given[1] - 32 < columns <= given[1]
    # The view reaches as far beyond the image as the square does.
    assert (view.x0, view.y0) == (0, 0)
    assert (view.x1 / width, view.y1 / height) == pytest.approx((320 / columns, 320 / rows))


def test_maps_are_those_of_the_network_on_the_part_that_it_is_given(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    classifier = load_classifier(plan.task.spec, classes=CLASSES)
    fit, samples = classifier.preprocessing.fit, list(plan.run.manifest())
    with make_method("gradcam", classifier) as explain:
        made = attribute_samples(
            samples, 0, explain, RunConfig(batch_size=2, roles=("label",)), 1, Reader(classifier.preprocessing.fit)
        )
    for row, sample in enumerate(samples):
        pixels, _ = fit(np.asarray(Image.open(sample.image)))
        tall, wide = fit.given(*SHAPES[row])
        part = classifier.preprocessing.normalise(pixels[None, :tall, :wide])
        activation = classifier.target_layer(part)[0]
        weights = classifier.module.head.weight[sample.labels[0]] / activation[0].numel()
        heat = torch.relu((weights[:, None, None] * activation).sum(0)).detach().numpy()
        expected = np.zeros(explain.grid, np.float32)
        expected[: heat.shape[0], : heat.shape[1]] = heat / heat.max()
        np.testing.assert_allclose(made.maps[row, 0], expected, atol=2e-3)


def test_rows_come_in_the_order_of_samples_whatever_the_shapes(tmp_path: Path) -> None:
    plan = _plan(tmp_path, 12, batch_size=3)
    assert all(isinstance(end, Finished) for end in audit_here(plan))
    for table in ("samples", "targets", "scores", "features"):
        rows = plan.run.read(table, plan.run.shards[0])["sample"].to_pylist()
        assert rows == sorted(rows)
    scores = plan.run.read("scores", plan.run.shards[0]).to_pylist()
    assert {row["status"] for row in scores} == {"scored"}


def test_batches_hold_images_of_one_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, seen = _plan(tmp_path, 12, batch_size=4, scored=False), list[tuple[int, ...]]()
    classifier = load_classifier(plan.task.spec, classes=CLASSES)
    with make_method("gradcam", classifier) as explain:
        real = explain.attribute

        def watched(images: torch.Tensor, choose: object) -> object:
            seen.append(tuple(images.shape))
            return real(images, choose)  # type: ignore[arg-type]

        monkeypatch.setattr(explain, "attribute", watched)
        attribute_samples(
            list(plan.run.manifest()), 0, explain, plan.task.config, 2, Reader(classifier.preprocessing.fit)
        )
    assert {shape[2:] for shape in seen} == {(96, 64), (64, 96), (96, 96), (96, 32)}
    assert sum(shape[0] for shape in seen) == 12
    # Less than a tenth of what goes through the network would be padding, were the pictures larger than a few steps.
    assert sum(np.prod(shape) for shape in seen) < 12 * 3 * SIDE * SIDE


@pytest.mark.parametrize("method", ["hirescam", "flip:gradcam", "saliency", "aligned:layercam", "guided-gradcam"])
def test_other_methods_take_such_inputs_too(tmp_path: Path, method: str) -> None:
    plan = _plan(tmp_path, 6, method=method)
    assert all(isinstance(end, Finished) for end in audit_here(plan))
    assert set(plan.run.read("targets", plan.run.shards[0])["status"].to_pylist()) <= {"ok", "no_evidence"}


@pytest.mark.parametrize("method", ["rise", "layercam-fused", "scorecam"])
def test_a_method_that_takes_squares_alone_is_refused(tmp_path: Path, method: str) -> None:
    classifier = load_classifier(_spec(tmp_path), classes=CLASSES)
    with pytest.raises(ModelError, match=r"choose --fit letterbox|Expected"):
        make_method(method, classifier)


SQUARES = """
from torch import nn
from torchvision.models import VisionTransformer


def flat():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 24 * 24, 3))


def tokens():
    return VisionTransformer(96, 32, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=3)
"""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("flat", r"for inputs of any shape for --fit native, but one of 96 x 64 px fails .*; choose --fit letterbox"),
        ("tokens", r"--method gradcam takes square inputs of this network only; choose --fit letterbox"),
    ],
)
def test_a_network_that_takes_squares_alone_is_refused(tmp_path: Path, function: str, says: str) -> None:
    (tmp_path / "squares.py").write_text(SQUARES)
    classifier = load_classifier(ModelSpec(f"{tmp_path / 'squares.py'}:{function}", size=SIDE, mode="native"))
    with pytest.raises(ModelError, match=says):
        make_method("gradcam", classifier)


def test_interventions_ask_about_what_the_network_was_given(tmp_path: Path) -> None:
    plan = _plan(tmp_path, 12)
    assert all(isinstance(end, Finished) for end in audit_here(plan))
    classifier, shard = load_classifier(plan.task.spec, classes=CLASSES), plan.run.shards[0]
    trials = Trials(plan.run, classifier, Verification())
    rows = plan.run.read("targets", shard, ["probability"])["probability"].to_numpy()
    targets = list(read_targets(plan.run, shard, np.arange(len(rows))))
    drops = [trials.intervene(target, []) for target in targets]
    np.testing.assert_allclose([drop.probability for drop in drops], rows, atol=1e-5)
    record = measure_run(plan.run, classifier, Trial(targets=4, steps=4), targets[:4])
    assert record["targets"] == 4
    assert not record["failed"]


def test_the_quick_check_asks_about_what_the_network_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(tmp_path, 12)
    monkeypatch.setattr("audit.interventions.quick.on_scattered", lambda image, _kept, _rng: image)
    monkeypatch.setattr("audit.interventions.quick.misplacement", lambda p_high, _energy, _attainable: p_high * 0 + 1)
    monkeypatch.setattr("audit.interventions.quick.RULES", replace(Rules(), confident=1e-9))
    assert all(isinstance(end, Finished) for end in audit_here(plan))
    checks = plan.run.read("checks", plan.run.shards[0]).to_pydict()
    assert len(checks["reliance"]) >= 12
    np.testing.assert_allclose(checks["reliance"], 0, atol=1e-5)  # the same image has the same answer
    assert checks["sample"] == sorted(checks["sample"])
