from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from audit.attribution import GradCAM
from audit.images import Fit
from audit.models.aimed.detectors import Detector, family_of, make_detector
from audit.models.classifier import Preprocessing
from tests.support.made_detectors import CATEGORIES, DETECTORS, SIZE, lively

NAMES = tuple(f"class {index}" for index in range(CATEGORIES))


def detector_of(name: str) -> Detector:
    family = family_of(lively(DETECTORS[name]()))
    assert family is not None
    names = NAMES[1:] if family.background == 0 else NAMES
    return make_detector(family, Preprocessing(Fit(SIZE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), names)


@pytest.fixture(params=list(DETECTORS))
def detector(request: pytest.FixtureRequest) -> Detector:
    return detector_of(request.param)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_detections_are_those_of_torchvisions_own_forward(detector: Detector, images: Tensor) -> None:
    with torch.inference_mode():
        expected = detector.network.network(list(images))
    found = detector.detect(images)
    for place, own in enumerate(expected):
        count = len(own["scores"])
        assert count > 3
        assert (found.categories[place, count:] == -1).all()
        assert torch.equal(found.categories[place, :count], own["labels"])
        torch.testing.assert_close(found.scores[place, :count], own["scores"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.boxes[place, :count], own["boxes"], rtol=1e-4, atol=1e-3)


def test_asked_again_about_an_unchanged_image_a_candidate_has_its_score(detector: Detector, images: Tensor) -> None:
    found = detector.detect(images).first(5)
    with detector.network.aimed(found), torch.inference_mode():
        scores = detector.probabilities(detector.module(images))
    torch.testing.assert_close(scores[found.categories >= 0], found.scores[found.categories >= 0])


def test_copies_of_one_image_are_asked_about_its_candidates(detector: Detector, images: Tensor) -> None:
    found = detector.detect(images).first(4)
    changed = torch.cat([images[1:2], 1 - images[1:2]])
    with detector.network.aimed(found.of(1)), torch.inference_mode():
        scores = detector.probabilities(detector.module(changed))
    torch.testing.assert_close(scores[0], found.scores[1])
    assert not torch.allclose(scores[1], found.scores[1])


def test_a_kept_boxs_score_has_the_gradient_that_autograd_gives_torchvisions(
    detector: Detector, images: Tensor
) -> None:
    leaf = images[:1].clone().requires_grad_()
    own = detector.network.network([leaf[0]])[0]
    found = detector.detect(images[:1])
    for place in (0, 3):
        (expected,) = torch.autograd.grad(own["scores"][place], leaf, retain_graph=True)
        with detector.network.aimed(found):
            scores = detector.probabilities(detector.module(leaf))
        (slope,) = torch.autograd.grad(scores[0, place], leaf)
        assert expected.abs().max() > 0
        torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()) + 1e-9)


def test_grad_cam_of_detections_is_the_formula_at_the_layer(detector: Detector, images: Tensor) -> None:
    found = detector.detect(images).first(3)
    activations: list[Tensor] = []
    handle = detector.target_layer.register_forward_hook(lambda _m, _i, output: activations.append(output))
    with GradCAM(detector) as explain, detector.network.aimed(found):
        activations.clear()
        outputs = detector.module(images)
        handle.remove()
        maps, logits = explain(images, torch.arange(3).expand(3, -1))
    expected = torch.stack(list(_grad_cam(activations[-1], outputs[:, :3])), dim=1)
    torch.testing.assert_close(logits, outputs[:, :3].detach())
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-6)
    assert maps.max() > 0


def _grad_cam(activation: Tensor, logits: Tensor) -> Iterator[Tensor]:
    for slot in range(logits.shape[1]):
        (slopes,) = torch.autograd.grad(logits[:, slot].sum(), activation, retain_graph=True)
        yield (slopes.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).relu().detach()


def test_the_default_layer_is_the_last_that_every_level_rests_on() -> None:
    layers = {name: detector_of(name).layer for name in DETECTORS}
    body = "network.backbone.body.2"
    assert layers == {name: "network.backbone.features" if name == "ssd" else body for name in DETECTORS}


def test_detections_of_classes_that_the_data_set_has_not_are_left_out(images: Tensor) -> None:
    family = family_of(lively(DETECTORS["retinanet"]()))
    assert family is not None
    preprocessing = Preprocessing(Fit(SIZE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    detector = make_detector(family, preprocessing, NAMES, classes=("class 2", "class 0", "unicorn"))
    found = detector.detect(images)
    assert set(found.categories.unique().tolist()) <= {-1, 0, 2}
    assert set(detector.classes_of(found.categories).unique().tolist()) <= {-1, 0, 1}
    everything = detector_of("retinanet").detect(images)
    assert ((everything.categories == 1) | (everything.categories == 3)).any()
