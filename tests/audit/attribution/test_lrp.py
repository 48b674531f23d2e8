"""LRP of convolutional networks: the maps of zennit's own attributor, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model
from torchvision.models.vgg import make_layers

from audit.attribution import LRP
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images import Fit
from audit.models import Classifier, Preprocessing, weights_fingerprint

pytest.importorskip("zennit", reason="zennit is not installed")
SIDE = 64


def of(module: nn.Module) -> Classifier:
    mapping = ClassMapping(tuple("abcde"), tuple((index,) for index in range(5)))
    return Classifier(module.eval(), Preprocessing(Fit(SIDE)), mapping, "")


def drawn(build: Callable[[], nn.Module]) -> Classifier:
    """A network with random weights, running statistics of its own, and logits that are not nearly zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = build()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean = 0.1 * torch.randn(part.num_features)
                part.running_var = 0.5 + torch.rand(part.num_features)
                part.weight.data.uniform_(0.5, 1.5)
    return of(module)


def vgg() -> nn.Module:
    head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 4, 16), nn.ReLU(), nn.Linear(16, 5))
    return nn.Sequential(make_layers([8, "M", 16, "M", 32], batch_norm=True), nn.AdaptiveAvgPool2d(2), head)


NETWORKS = {
    "ResNet": (partial(get_model, "resnet18", weights=None, num_classes=5), "ResNetCanonizer"),
    "ResNet with bottlenecks": (partial(get_model, "resnet50", weights=None, num_classes=5), "ResNetCanonizer"),
    "VGG": (vgg, "SequentialMergeBatchNorm"),
}


def of_zennit(classifier: Classifier, canonizer: str, image: Tensor, class_id: int) -> Tensor:
    """Relevance [H, W] as zennit's attributor gives it, its canonizer for the architecture."""
    import zennit.canonizers
    import zennit.torchvision
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlusFlat

    place: Any = zennit.torchvision if hasattr(zennit.torchvision, canonizer) else zennit.canonizers
    composite = EpsilonPlusFlat(canonizers=[getattr(place, canonizer)()])
    with Gradient(model=classifier.module, composite=composite) as attributor:
        _, relevance = attributor(image[None].clone(), torch.eye(5)[[class_id]])
    return relevance[0].sum(dim=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_those_of_zennits_attributor_and_the_network_is_as_it_came(name: str) -> None:
    build, canonizer = NETWORKS[name]
    classifier = drawn(build)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    before = weights_fingerprint(classifier.module)
    with LRP(classifier) as explain:
        maps, logits = explain(images, torch.tensor([[0, 3], [4, -1]]))
    assert weights_fingerprint(classifier.module) == before
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in classifier.module.modules())
    with torch.inference_mode():
        torch.testing.assert_close(logits, classifier.module(images), rtol=1e-3, atol=1e-4)
    assert maps[1, 1].isnan().all()
    for row, slot, class_id in ((0, 0, 0), (0, 1, 3), (1, 0, 4)):
        expected = of_zennit(classifier, canonizer, images[row], class_id)
        assert F.cosine_similarity(maps[row, slot].flatten(), expected.flatten(), dim=0) > 0.9999
        torch.testing.assert_close(maps[row, slot].sum(), expected.sum(), rtol=1e-2, atol=1e-4)


class Residual(nn.Module):
    """Sums and a mean made by functions, one of them in place, in a network without biases."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first = nn.Conv2d(3, 6, 3, 2, 1, bias=False)
        self.second = nn.Conv2d(6, 6, 3, 1, 1, bias=False)
        self.last = nn.Linear(6, 5, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        stem = F.relu(self.first(images))
        branch = self.second(stem)
        if self.how == "function":
            branch = branch + stem
        elif self.how == "place":
            branch += stem
        else:
            branch.add_(stem)
        return self.last(branch.relu().mean(dim=(2, 3)))


def test_sums_made_by_functions_keep_the_relevance_whatever_they_are_called() -> None:
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    maps = []
    for how in ("function", "place", "method"):
        with LRP(drawn(partial(Residual, how))) as explain:
            maps.append(explain(images, torch.tensor([[0, 3], [4, 1]]))[0])
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps[0], maps[2])
    torch.testing.assert_close(maps[0].sum(dim=(2, 3)), torch.ones(2, 2), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("convnext_tiny", "without layer_norm"),
        ("mobilenet_v3_small", "without gates"),
        ("densenet121", "whose batch normalisation follows its convolutions"),
    ],
)
def test_networks_with_steps_without_a_rule_are_refused(name: str, why: str) -> None:
    module = get_model(name, weights=None, num_classes=5)
    with pytest.raises(ModelError, match=f"Expected a network {why} for --method lrp"):
        LRP(of(module))
