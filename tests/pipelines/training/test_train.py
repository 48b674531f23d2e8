"""Training that is measured as it goes, stopped early, killed and taken up again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from second_device import THERE, on_second_device
from sklearn.metrics import average_precision_score

from audit.datasets import Manifest, Sample
from audit.errors import ManifestError, ModelError, RunError
from audit.models import ModelSpec, load_classifier, weights_fingerprint
from audit.models.small import build, preprocessing
from audit.models.training.classifiers import FramedImages, predict
from audit.progress import Advanced, Event, Noted
from pipelines.asked import Training
from pipelines.training.train import frame_images, measure, train

ARCH = "audit.models.small:build"


def draw(folder: Path, count: int = 30, classes: tuple[str, ...] = ("red", "blue")) -> Manifest:
    """Noise of two colours, a few labelled wrongly."""
    rng = np.random.default_rng(1)
    folder.mkdir(exist_ok=True)
    samples = []
    for place in range(count):
        pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
        pixels[..., 2 * (place % 2)] += 60
        Image.fromarray(pixels).save(folder / f"{place}.png")
        samples.append(Sample(str(place), f"{place}.png", (place % 2 if place % 7 else 0,)))
    return Manifest.from_samples(samples, classes, folder)


def asked(**changes: Any) -> Training:
    return Training(ARCH, preprocessing(16), **{"epochs": 3, "learning_rate": 0.01, "batch_size": 8} | changes)


class Killed(BaseException):
    pass


class KillAfter:
    """A listener that ends the process, as it were, at a step."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, event: Event, /) -> None:
        self.left -= isinstance(event, Advanced)
        if self.left < 0:
            raise Killed


def fingerprint(path: Path) -> str:
    return weights_fingerprint(load_classifier(str(path)).module)


@pytest.mark.parametrize("options", [{}, {"augment": "full", "balanced": True, "hold_out": 0.2, "patience": 3}])
def test_a_killed_training_goes_on_and_ends_with_the_same_weights_and_records(
    options: dict[str, Any], tmp_path: Path
) -> None:
    manifest, training = draw(tmp_path / "images"), asked(**options)
    train(manifest, training, tmp_path / "whole.pt")
    for kill in (35, 33):  # 30 images are told each time, then 3 or 4 steps an epoch
        with pytest.raises(Killed):
            train(manifest, training, tmp_path / "cut.pt", KillAfter(kill))
    assert (tmp_path / "cut.training.pt").exists()
    told: list[Event] = []
    train(manifest, training, tmp_path / "cut.pt", told.append)
    assert any(isinstance(event, Noted) and event.text.startswith("going on after epoch") for event in told)
    assert fingerprint(tmp_path / "cut.pt") == fingerprint(tmp_path / "whole.pt")
    records = [json.loads((tmp_path / f"{name}.training.json").read_text()) for name in ("cut", "whole")]
    assert records[0] == records[1]
    assert not (tmp_path / "cut.training.pt").exists()


def test_what_was_begun_otherwise_is_not_gone_on_with(tmp_path: Path) -> None:
    manifest = draw(tmp_path / "images")
    with pytest.raises(Killed):
        train(manifest, asked(), tmp_path / "a.pt", KillAfter(36))
    with pytest.raises(
        RunError, match=r"asked otherwise \(epochs, seed\); give the same options to go on, or delete it"
    ):
        train(manifest, asked(epochs=5, seed=1), tmp_path / "a.pt")


def test_every_epoch_has_its_record_and_the_curve_is_a_picture(tmp_path: Path) -> None:
    manifest = draw(tmp_path / "images")
    done = train(manifest, asked(hold_out=0.4), tmp_path / "a.pt")
    record = json.loads((tmp_path / "a.training.json").read_text())
    assert [row["epoch"] for row in record["epochs"]] == [1, 2, 3]
    assert set(record["epochs"][0]) == {
        *("epoch", "learning_rate", "loss", "validation_loss", "mean_average_precision", "accuracy")
    }
    assert (done["samples"], done["validated"], done["unreadable"]) == (18, 12, 0)
    assert record["finished"]
    assert Image.open(tmp_path / "a.training.png").format == "PNG"


def test_without_samples_to_measure_on_the_loss_alone_is_kept(tmp_path: Path) -> None:
    train(draw(tmp_path / "images"), asked(epochs=1), tmp_path / "a.pt")
    rows = json.loads((tmp_path / "a.training.json").read_text())["epochs"]
    assert [set(row) for row in rows] == [{"epoch", "learning_rate", "loss"}]


def test_patience_stops_and_keeps_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.2, 0.8, 0.5, 0.6, 0.9])
    seen: list[str] = []

    def measured(module: torch.nn.Module, data: object) -> dict[str, float]:
        seen.append(weights_fingerprint(module))
        return {"mean_average_precision": next(values)}

    monkeypatch.setattr("pipelines.training.train.measure", measured)
    done = train(draw(tmp_path / "images"), asked(epochs=5, hold_out=0.2, patience=2), tmp_path / "a.pt")
    assert len(seen) == 4
    assert done["epoch"] == 2
    assert fingerprint(tmp_path / "a.pt") == seen[1]
    assert json.loads((tmp_path / "a.training.json").read_text())["kept"] == 2


def test_patience_where_nothing_can_be_measured_is_refused(tmp_path: Path) -> None:
    manifest = draw(tmp_path / "images")
    several = [Sample("0", "0.png", ()), Sample("1", "1.png", (0, 1))]
    bare, empty = (Manifest.from_samples(some, manifest.classes, manifest.root) for some in (several, several[:1]))
    with pytest.raises(ModelError, match="Expected mean_average_precision to stop early by, it cannot be measured"):
        train(bare, asked(patience=1), tmp_path / "a.pt", validation=empty)


def test_a_second_manifest_is_measured_on_and_must_have_the_same_classes(tmp_path: Path) -> None:
    manifest = draw(tmp_path / "images")
    other = draw(tmp_path / "others", 10)
    done = train(manifest, asked(), tmp_path / "a.pt", validation=other)
    assert (done["samples"], done["validated"]) == (30, 10)
    with pytest.raises(ManifestError, match=r"classes to validate on to be the manifest's, red, blue, got blue, red"):
        train(manifest, asked(), tmp_path / "b.pt", validation=draw(tmp_path / "turned", 4, ("blue", "red")))


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_nobody_is_held_out_or_everybody(share: float, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="Expected --hold-out to leave samples on both sides, got"):
        train(draw(tmp_path / "images"), asked(hold_out=share), tmp_path / "a.pt")


@pytest.mark.parametrize("several", [False, True])
def test_mean_average_precision_is_that_of_the_probabilities(several: bool, tmp_path: Path) -> None:
    manifest = draw(tmp_path / "images")
    images, kept = frame_images(manifest, preprocessing(16).fit, tmp_path / "framed.u8")
    truth = np.eye(2)[[sample.labels[0] for sample in manifest]][kept]
    module = build(2, seed=4).eval()
    labels = truth.astype(np.float32) if several else truth.argmax(axis=1)
    logits = predict(module, images, preprocessing(16).normalise).double()
    scores = (logits.sigmoid() if several else logits.softmax(dim=1)).numpy()
    measured = measure(module, FramedImages(images, labels, preprocessing(16).normalise))
    expected = np.mean([average_precision_score(truth[:, c], scores[:, c]) for c in range(2)])
    assert measured["mean_average_precision"] == pytest.approx(expected)
    assert measured.get("accuracy", math.nan) == pytest.approx(
        math.nan if several else (scores.argmax(axis=1) == labels).mean(), nan_ok=True
    )


def test_squeezenet_can_say_no_after_a_sigmoid() -> None:
    from audit.models import build_architecture

    module = build_architecture("torchvision:squeezenet1_1", 3).eval()
    torch.nn.init.constant_(module.get_submodule("classifier.1").bias, -100)
    with torch.inference_mode():
        assert module(torch.zeros(1, 3, 64, 64)).max() < -50


def test_a_training_on_another_device_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, weights = draw(tmp_path / "images", 12), []
    for device in ("cpu", str(THERE)):
        with on_second_device(monkeypatch):
            train(manifest, asked(device=device, hold_out=0.3, epochs=1), tmp_path / f"{device}.pt")
        spec = ModelSpec(str(tmp_path / f"{device}.pt"), arch=ARCH)
        weights.append(weights_fingerprint(load_classifier(spec, classes=manifest.classes).module))
    assert weights[0] == weights[1]
