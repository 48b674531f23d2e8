"""Training that starts from the weights of a file, with the head for other classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from manifests import told_of_all
from PIL import Image

from audit.datasets import Manifest, Sample
from audit.errors import ModelError
from audit.models import load_classifier, save_checkpoint
from audit.models.small import build, preprocessing
from audit.models.weights import load_all_but_head
from audit.progress import Event
from pipelines.asked import Training
from pipelines.training.train import train

ARCH = "audit.models.small:build"
CLASSES = ("red", "blue")


def draw(folder: Path, count: int = 24, labels: int = 1) -> Manifest:
    """Red and blue noise."""
    rng = np.random.default_rng(1)
    samples = []
    for place in range(count):
        pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
        pixels[..., 2 * (place % 2)] += 120
        Image.fromarray(pixels).save(folder / f"{place}.png")
        samples.append(Sample(str(place), f"{place}.png", (place % 2,) if labels == 1 else (0, 1)))
    return Manifest.from_samples(samples, CLASSES, folder)


def test_weights_of_the_same_network_are_all_taken(tmp_path: Path) -> None:
    source, module = build(2, seed=1), build(2, seed=2)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    load_all_but_head(module, str(tmp_path / "w.pt"))
    for name, value in source.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value)


def test_a_head_for_other_classes_stays_as_it_is(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "w.pt", build(5, seed=1), ARCH, tuple("abcde"), preprocessing(16), "softmax")
    module, fresh = build(2, seed=2), build(2, seed=2)
    load_all_but_head(module, str(tmp_path / "w.pt"))
    torch.testing.assert_close(module.classifier.weight, fresh.classifier.weight)
    torch.testing.assert_close(module.features.state_dict(), build(5, seed=1).features.state_dict())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)).state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"Expected weights of SmallNet, its head aside, got others in .*w\.pt"):
        load_all_but_head(build(2), str(tmp_path / "w.pt"))


def test_train_begins_with_the_weights_it_is_given(tmp_path: Path) -> None:
    manifest = draw(tmp_path)
    common = {"arch": ARCH, "preprocessing": preprocessing(16), "batch_size": 8}
    first = train(manifest, Training(**common, epochs=8, learning_rate=0.01), tmp_path / "a.pt")
    again = Training(**common, epochs=1, learning_rate=1e-6, weights=str(tmp_path / "a.pt"))
    assert train(manifest, again, tmp_path / "b.pt")["loss"] < 2 * first["loss"] + 0.05


def test_several_labels_train_a_sigmoid_a_class(tmp_path: Path) -> None:
    training = Training(ARCH, preprocessing(16), epochs=1, learning_rate=0.01, batch_size=8)
    assert train(draw(tmp_path, labels=2), training, tmp_path / "a.pt")["samples"] == 24
    assert load_classifier(str(tmp_path / "a.pt")).activation == "sigmoid"


def test_reading_and_training_are_told(tmp_path: Path) -> None:
    told: list[Event] = []
    training = Training(ARCH, preprocessing(16), epochs=2, learning_rate=0.01, batch_size=8)
    train(draw(tmp_path), training, tmp_path / "a.pt", told.append)
    assert told == [*told_of_all("reading", 24), *told_of_all("training", 6)]
