"""Networks of many families: the layer found, the head certified, and the maps that pytorch-grad-cam gives there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import SwinTransformer, VisionTransformer, get_model
from torchvision.models.vgg import make_layers

from audit.attribution import GradCAM
from audit.datasets.classes import ClassMapping
from audit.images.views import Fit
from audit.models import Classifier, Preprocessing, find_target_layer

OUTPUTS = 10


@dataclass(frozen=True)
class Family:
    """A network, its input's side, and what is to be found in it."""

    build: Callable[[], nn.Module]
    size: int
    layer: str
    head: str
    side: int
    layout: str = "channels_first"
    prefix: int = 0


def torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    return partial(get_model, name, weights=None, num_classes=OUTPUTS, **options)


def timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        module: nn.Module = pytest.importorskip("timm").create_model(name, num_classes=OUTPUTS, **options)
        return module

    return build


def small_vgg() -> nn.Module:
    """VGG's layers with fewer channels and a smaller head: its own has a hundred million weights."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, OUTPUTS))
    parts = {"features": make_layers([8, "M", 16, "M", 32]), "avgpool": nn.AdaptiveAvgPool2d(7), "classifier": head}
    return nn.Sequential(OrderedDict(parts))


def torchvision_vit() -> nn.Module:
    module = VisionTransformer(64, 16, 3, 2, 24, 48, num_classes=OUTPUTS)
    module.get_submodule("heads.head").reset_parameters()  # zeros, else: nothing to explain
    return module


VIT: dict[str, Any] = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 2}
SWIN: dict[str, Any] = {"img_size": 64, "window_size": 4, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2)}

FAMILIES = {
    "a plain network (VGG)": Family(small_vgg, 32, "avgpool", "general", 7),
    "ResNet": Family(torchvision("resnet18"), 64, "layer4", "linear", 2),
    "DenseNet": Family(torchvision("densenet121"), 64, "features", "general", 2),
    "MobileNetV2": Family(torchvision("mobilenet_v2"), 64, "features", "linear", 2),
    "MobileNetV3": Family(torchvision("mobilenet_v3_small"), 64, "features", "pooled", 2),
    "EfficientNet": Family(torchvision("efficientnet_b0"), 64, "features", "linear", 2),
    "ConvNeXt": Family(torchvision("convnext_tiny"), 64, "features", "pooled", 2),
    "RegNet": Family(torchvision("regnet_y_400mf"), 64, "trunk_output", "linear", 2),
    "ShuffleNet": Family(torchvision("shufflenet_v2_x0_5"), 64, "conv5", "linear", 2),
    "GoogLeNet": Family(torchvision("googlenet", init_weights=False), 64, "inception5b", "linear", 2),
    "SqueezeNet": Family(torchvision("squeezenet1_1"), 64, "classifier.2", "linear", 3),
    "ViT": Family(
        torchvision_vit,
        64,
        "encoder.layers.encoder_layer_2.ln_1",
        "general",
        4,
        "tokens",
        1,
    ),
    "Swin": Family(
        lambda: SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=OUTPUTS), 64, "permute", "linear", 8
    ),
    "ViT of timm": Family(timm("vit_tiny_patch16_224", **VIT), 64, "blocks.2.norm1", "general", 4, "tokens", 1),
    "ViT of timm that averages its tokens": Family(
        timm("vit_tiny_patch16_224", **VIT, global_pool="avg", class_token=False),
        64,
        "norm",
        "pooled",
        4,
        "tokens",
    ),
    "ViT with register tokens": Family(
        timm("vit_tiny_patch16_224", **VIT, reg_tokens=4), 64, "blocks.2.norm1", "general", 4, "tokens", 5
    ),
    "DeiT with its distillation token": Family(
        timm("deit_tiny_distilled_patch16_224", **VIT), 64, "blocks.2.norm1", "general", 4, "tokens", 2
    ),
    "Swin of timm": Family(timm("swin_tiny_patch4_window7_224", **SWIN), 64, "norm", "linear", 8, "channels_last"),
    "ConvNeXt of timm": Family(timm("convnext_atto"), 64, "norm_pre", "pooled", 2),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[Family, Classifier]:
    """A network with random weights and a classifier at the layer that the table names."""
    chosen = FAMILIES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = chosen.build().eval().requires_grad_(False)  # gradients of weights take the peer longest
    mapping = ClassMapping(tuple(map(str, range(OUTPUTS))), tuple((index,) for index in range(OUTPUTS)))
    return chosen, Classifier(module, Preprocessing(Fit(chosen.size)), mapping, chosen.layer)


def as_grid(output: Tensor, family: Family) -> Tensor:
    """A layer's output as [B, C, h, w], as pytorch-grad-cam's documentation does it."""
    if family.layout == "tokens":
        output = output[:, family.prefix :].reshape(len(output), family.side, family.side, -1)
    return output if family.layout == "channels_first" else output.transpose(2, 3).transpose(1, 2)


def peers_maps(family: Family, classifier: Classifier, images: Tensor, class_ids: Tensor) -> Tensor:
    """pytorch-grad-cam's maps [B, K, h, w] without its scaling to 0..1 and to the size of the image."""
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    transform = partial(as_grid, family=family)
    with (
        pytest.MonkeyPatch.context() as patch,
        package.GradCAM(classifier.module, [classifier.target_layer], reshape_transform=transform) as peer,
    ):
        patch.setattr(package.base_cam, "scale_cam_image", lambda maps, _size=None: np.float32(maps))
        # It keeps the activation itself, which a step in place behind it (DenseNet) would change: that gets a copy.
        handle = classifier.target_layer.register_forward_hook(lambda _module, _inputs, output: output.clone())
        rows = [
            peer(images.clone().requires_grad_(), [ClassifierOutputTarget(index) for index in ids])
            for ids in class_ids.T.tolist()
        ]
        handle.remove()
    return torch.stack([torch.from_numpy(row) for row in rows], dim=1)


def most_evident(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Maps [B, 3, h, w] and ids [B, 3] of the classes with the highest peaks: without one there is nothing to see."""
    with GradCAM(classifier) as explain:
        every, _ = explain(images, torch.arange(OUTPUTS).expand(len(images), -1))
        class_ids = every.amax(dim=(2, 3)).topk(3).indices
        return explain(images, class_ids)[0], class_ids


def test_the_default_layer_is_found_by_running_the_network(family: tuple[Family, Classifier]) -> None:
    expected, classifier = family
    assert find_target_layer(classifier.module, classifier.example()) == expected.layer
    assert not any(part._forward_hooks for part in classifier.module.modules())


def test_the_head_and_the_grid_are_those_of_the_family(family: tuple[Family, Classifier]) -> None:
    expected, classifier = family
    found = GradCAM(classifier).certificate
    assert (found.kind, found.grid) == (expected.head, (expected.side, expected.side))
    assert (found.layout.kind, found.layout.prefix) == (expected.layout, expected.prefix)


def test_pytorch_grad_cam_gives_the_same_maps(family: tuple[Family, Classifier]) -> None:
    expected, classifier = family
    images = torch.randn(2, 3, expected.size, expected.size, generator=torch.Generator().manual_seed(8))
    maps, class_ids = most_evident(classifier, images)
    assert maps.amax(dim=(2, 3)).min() > 0
    peers = peers_maps(expected, classifier, images, class_ids)
    # Scaled, in double precision: the maps of random networks can be as small as 1e-13.
    a, b = (found.double().flatten(2) / found.double().amax(dim=(2, 3))[:, :, None] for found in (maps, peers))
    assert F.cosine_similarity(a, b, dim=2).min() > 0.9999
    torch.testing.assert_close(maps.amax(), peers.amax(), rtol=1e-2, atol=0)
