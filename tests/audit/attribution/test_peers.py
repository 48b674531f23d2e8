"""The same maps as other packages give, at the layer's own resolution, for several classes of an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from audit.attribution import CAM, GradCAM
from audit.models import Classifier, load_classifier

NETWORKS = ("resnet18", "vgg11", "densenet121", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny")
SIZE = 112


@pytest.fixture(scope="module", params=NETWORKS)
def explained(request: pytest.FixtureRequest) -> tuple[Classifier, Tensor, Tensor, Tensor]:
    """A network with random weights, two images, the three of twelve classes with most evidence, and our maps."""
    classifier = load_classifier(f"torchvision:{request.param}", "random:0", size=SIZE)
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(8))
    with GradCAM(classifier) as explain:
        tried = explain.attribute(images, lambda logits: logits.topk(12).indices)
        best = tried.maps.amax(dim=(2, 3)).topk(3).indices
        class_ids = tried.class_ids.gather(1, best)
        maps, _ = explain(images, class_ids)
    # Without a positive peak there is nothing to compare.
    assert (maps.amax(dim=(2, 3)) > 0).all()
    return classifier, images, class_ids, maps


def assert_alike(found: Tensor, expected: Tensor) -> None:
    """Cosine above 0.9999 for every target of [B, K, h, w]."""
    assert found.shape == expected.shape
    # In double precision, and scaled: the maps of random networks can be as small as 1e-13.
    a, b = (maps.double().flatten(2) / maps.double().amax(dim=(2, 3))[:, :, None] for maps in (found, expected))
    assert F.cosine_similarity(a, b, dim=2).min() > 0.9999


@contextmanager
def plain_gradcam(classifier: Classifier) -> Iterator[Any]:
    """pytorch-grad-cam's GradCAM without its scaling of maps to 0..1 and to the size of the image.

    It keeps the activation itself, which DenseNet's next step, a ReLU in place, would change: that gets a copy.
    """
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    with pytest.MonkeyPatch.context() as patch, package.GradCAM(classifier.module, [classifier.target_layer]) as peer:
        patch.setattr(package.base_cam, "scale_cam_image", lambda maps, _size=None: np.float32(maps))
        handle = classifier.target_layer.register_forward_hook(lambda _module, _inputs, output: output.clone())
        yield peer
        handle.remove()


def test_pytorch_grad_cam_gives_the_same_maps(explained: tuple[Classifier, Tensor, Tensor, Tensor]) -> None:
    classifier, images, class_ids, maps = explained
    with plain_gradcam(classifier) as peer:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        targets = [[ClassifierOutputTarget(index) for index in ids] for ids in class_ids.T.tolist()]
        rows = [torch.from_numpy(peer(images, own)) for own in targets]
    assert_alike(maps, torch.stack(rows, dim=1))


def test_captum_gives_the_same_maps(explained: tuple[Classifier, Tensor, Tensor, Tensor]) -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    classifier, images, class_ids, maps = explained
    peer = attr.LayerGradCam(classifier.module, classifier.target_layer)
    rows = [peer.attribute(images, target=ids, relu_attributions=True)[:, 0] for ids in class_ids.T]
    assert_alike(maps, torch.stack(rows, dim=1).detach())


def test_torchcam_gives_the_same_maps(explained: tuple[Classifier, Tensor, Tensor, Tensor]) -> None:
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    classifier, images, class_ids, maps = explained
    rows = []
    with methods.GradCAM(classifier.module, target_layer=classifier.layer) as peer:
        for ids in class_ids.T.tolist():
            scores = classifier.module(images.clone().requires_grad_())
            rows.append(peer(ids, scores, normalized=False)[0])
    assert_alike(maps, torch.stack(rows, dim=1).detach())


def test_torchcams_cam_is_ours_without_its_negative_part() -> None:
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    classifier = load_classifier("torchvision:resnet18", "random:0", size=SIZE)
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(8))
    with CAM(classifier) as explain:
        maps, logits = explain(images, torch.tensor([[1], [2]]))
    with methods.CAM(classifier.module, target_layer=classifier.layer, fc_layer="fc") as peer, torch.no_grad():
        expected = peer([1, 2], classifier.module(images), normalized=False)[0]
    torch.testing.assert_close(maps[:, 0].relu(), expected.relu(), rtol=1e-4, atol=1e-6)
    assert logits.shape == (2, 1000)
