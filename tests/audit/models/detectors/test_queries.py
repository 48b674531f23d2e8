from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audit.images import Fit
from audit.models import ModelSpec, load_classifier
from audit.models.aimed.detectors import Detector, family_of, make_detector
from audit.models.classifier import Preprocessing
from tests.support.tiny_detectors import DETECTORS, SIDE, drawn

CLASSES = ("three", "one", "two")
Drawn = tuple[Detector, nn.Module, Any]


@pytest.fixture(params=list(DETECTORS))
def made(request: pytest.FixtureRequest) -> Drawn:
    network, processor = drawn(request.param)
    family = family_of(network)
    assert family is not None
    return make_detector(family, Preprocessing(Fit(SIDE)), classes=CLASSES), network, processor


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_detections_are_those_of_the_image_processor(made: Drawn, images: Tensor) -> None:
    detector, network, processor = made
    with torch.inference_mode():
        outputs = network(pixel_values=images)
    sizes = torch.tensor([[SIDE, SIDE]] * 2)
    expected = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
    found = detector.detect(images)
    for place, own in enumerate(expected):
        order = own["scores"].argsort(descending=True, stable=True)
        count = int((found.categories[place] >= 0).sum())
        assert count == len(order)
        torch.testing.assert_close(found.scores[place, :count], own["scores"][order])
        assert sorted(found.categories[place, :count].tolist()) == sorted(own["labels"].tolist())
        torch.testing.assert_close(found.boxes[place, :3], own["boxes"][order][:3])


def test_a_box_is_asked_again_and_has_the_gradient_of_its_logit(made: Drawn, images: Tensor) -> None:
    detector, network, _ = made
    found = detector.detect(images).first(4)
    with detector.network.aimed(found), torch.inference_mode():
        scores = detector.probabilities(detector.module(images))
    torch.testing.assert_close(scores, found.scores)
    leaf = images.clone().requires_grad_()
    with detector.network.aimed(found):
        logits = detector.class_logits(detector.module(leaf))
    (slope,) = torch.autograd.grad(logits[0, 1], leaf)
    again = images.clone().requires_grad_()
    plain = network(pixel_values=again).logits
    query = (plain[0, :, found.categories[0, 1]] - logits[0, 1]).abs().argmin()
    (expected,) = torch.autograd.grad(plain[0, query, found.categories[0, 1]], again)
    assert slope.abs().max() > 0
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-6)


def test_names_are_the_configurations_and_the_layer_has_a_grid(made: Drawn) -> None:
    detector, network, _ = made
    assert detector.mapping.outputs == ((2,), (0,), (1,))
    assert dict(network.named_modules())[detector.layer.removeprefix("network.")] is detector.target_layer


def test_a_detector_is_loaded_from_a_folder_with_its_processors_input(tmp_path: Path) -> None:
    for name in ("detr", "rt_detr"):
        network, processor = drawn(name)
        network.save_pretrained(tmp_path / name)  # type: ignore[operator]
        processor.save_pretrained(tmp_path / name)
        detector = load_classifier(ModelSpec(f"hf:{tmp_path / name}"), classes=CLASSES)
        assert isinstance(detector, Detector)
        fit = detector.preprocessing.fit
        assert (fit.size, fit.mode) == (SIDE, "letterbox" if name == "detr" else "squash")
        assert detector.preprocessing.mean == ((0.0, 0.0, 0.0) if name == "rt_detr" else (0.485, 0.456, 0.406))
        state = detector.network.network.state_dict()
        assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
