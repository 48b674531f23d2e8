from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from audit.images import Fit
from audit.models.aimed.detectors import Detector, family_of, make_detector
from audit.models.classifier import Preprocessing

tasks = pytest.importorskip("ultralytics.nn.tasks", reason="the package ultralytics is not installed")
SIDE = 96
CLASSES = ("2", "0", "1")


@pytest.fixture(params=["yolov8n.yaml", "yolo11n.yaml"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = tasks.DetectionModel(request.param, nc=4, verbose=False).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1 and "dfl" not in name:
                parameter.copy_(torch.randn(parameter.shape) * (2.0 / parameter[0].numel()) ** 0.5)
        for level in made.model[-1].cv3:  # type: ignore[index, union-attr]
            level[-1].bias.zero_()
    return made


def detector_of(network: nn.Module) -> Detector:
    family = family_of(network)
    assert family is not None
    return make_detector(family, Preprocessing(Fit(SIDE)), classes=CLASSES)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_detections_are_those_of_the_packages_own_suppression(network: nn.Module, images: Tensor) -> None:
    nms = pytest.importorskip("ultralytics.utils.nms")
    detector = detector_of(network)
    with torch.inference_mode():
        expected = nms.non_max_suppression(network(images)[0], 0.25, 0.7, nc=4)
    found = detector.detect(images)
    for place, own in enumerate(expected):
        own = own[(own[:, 5] != 3)]
        count = int((found.categories[place] >= 0).sum())
        assert count == len(own) > 3
        assert found.categories[place, :count].tolist() == own[:, 5].int().tolist()
        torch.testing.assert_close(found.scores[place, :count], own[:, 4], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.boxes[place, :count], own[:, :4], rtol=1e-3, atol=1e-2)


def test_a_box_is_asked_again_with_a_gradient(network: nn.Module, images: Tensor) -> None:
    detector = detector_of(network)
    found = detector.detect(images).first(3)
    leaf = images.clone().requires_grad_()
    with detector.network.aimed(found):
        outputs = detector.module(leaf)
    torch.testing.assert_close(detector.probabilities(outputs), found.scores)
    (slope,) = torch.autograd.grad(detector.class_logits(outputs)[0, 0], leaf)
    assert slope.abs().max() > 0


def test_names_and_the_trunks_last_layer_are_found(network: nn.Module) -> None:
    detector = detector_of(network)
    assert detector.mapping.outputs == ((2,), (0,), (1,))
    last = len(network.yaml["backbone"]) - 1  # type: ignore[index]
    assert detector.layer.split(".")[:3] == ["network", "model", str(last)]
