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


@pytest.fixture(
    params=[
        ("yolov8n.yaml", False),
        ("yolo11n.yaml", False),
        ("yolov10n.yaml", False),
        ("yolov10n.yaml", True),
        ("yolo26n.yaml", False),
        ("yolo26n.yaml", True),
    ],
    ids=str,
)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """One that suppresses, or one whose second head answers, which does not."""
    name, alone = request.param
    torch.manual_seed(0)
    made: nn.Module = tasks.DetectionModel(name, nc=4, verbose=False).eval()
    if alone:
        made.end2end = True
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1 and "dfl" not in name:
                parameter.copy_(torch.randn(parameter.shape) * (2.0 / parameter[0].numel()) ** 0.5)
        head = made.model[-1]  # type: ignore[index]
        two = hasattr(head, "one2one_cv3")
        if two:
            _spread(made)
        for level in head.one2one_cv3 if alone else head.cv3:  # type: ignore[union-attr]
            level[-1].bias.fill_(0 if alone or not two else -2.5)
            level[-1].weight.mul_(0.02 if alone else 0.2 if two else 1)
    return made


def _spread(made: nn.Module) -> None:
    """Let layers pass on values of one size, so that boxes are apart enough for their order to be sure."""
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    made.train()(torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)))
    made.eval()


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
        expected = nms.non_max_suppression(network(images)[0], 0.25, 0.7, nc=4, end2end=network.end2end)
    found = detector.detect(images)
    for place, own in enumerate(expected):
        own = own[(own[:, 5] != 3)]
        count = int((found.categories[place] >= 0).sum())
        # Of so small an image the package gives no more boxes than it has places, where nothing is suppressed.
        assert count >= len(own) > 3 if network.end2end else count == len(own) > 3
        count = len(own)
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
