"""Maps placed where the cells of a layer look: against gradients on the input, and a bright dot whose cell is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_compositions import staged
from torch import Tensor, nn
from torchvision import models

from audit.attribution import GradCAM, make_method
from audit.attribution.inside.activations import Activations
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images import View, upsample
from audit.images.views import Fit
from audit.models import Classifier, Preprocessing, load_classifier
from audit.models.lattices import Lattice, find_lattice

SIDE = 192
DOT = (25, 145)
"""Row and column of a pixel on which a cell of `Unpadded` is centred: 9 + 8 i."""


class Unpadded(nn.Module):
    """Two convolutions and a pooling that pad nothing, then the mean: brighter pixels, a higher logit."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 1, 7, stride=2), nn.MaxPool2d(3, stride=2, ceil_mode=True), nn.Conv2d(1, 1, 3, stride=2)
        )
        for part in (self.features[0], self.features[2]):
            nn.init.constant_(part.weight, 0.1)
            nn.init.zeros_(part.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).mean(dim=(2, 3))


def unpadded() -> Classifier:
    mapping = ClassMapping(("bright",), ((0,),))
    return Classifier(Unpadded().eval(), Preprocessing(Fit(SIDE, "squash")), mapping, "features")


def dotted() -> Tensor:
    images = torch.zeros(1, 3, SIDE, SIDE)
    images[:, :, DOT[0], DOT[1]] = 1
    return images


def centre_of_heat(method: str, images: Tensor) -> tuple[float, float]:
    """Row and column of the middle of a map's heat, as it is drawn over the image."""
    options = {"scales": "1,2"} if "multiscale" in method else {}
    with make_method(method, unpadded(), options=options) as explain:
        heat = upsample(explain(images)[0][0, 0].numpy(), View(0, 0, SIDE, SIDE), SIDE, SIDE)
    rows, columns = (heat.sum(axis=axis) @ np.arange(SIDE) / heat.sum() for axis in (1, 0))
    return float(rows), float(columns)


@pytest.mark.parametrize("method", ["aligned:gradcam", "flip:aligned:hirescam", "flip:multiscale:aligned:gradcam"])
def test_heat_lies_on_the_dot_that_makes_it(method: str) -> None:
    assert centre_of_heat(method, dotted()) == pytest.approx(DOT, abs=1.0)


def test_heat_spread_evenly_lies_beside_the_dot() -> None:
    assert abs(centre_of_heat("gradcam", dotted())[0] - DOT[0]) > 3


def _without_maxima(module: nn.Module) -> nn.Module:
    """A network through which all of a receptive field is felt alike: positive weights, means for maxima."""
    for name, part in module.named_children():
        if isinstance(part, nn.MaxPool2d):
            mean = nn.AvgPool2d(part.kernel_size, part.stride, part.padding, part.ceil_mode)
            setattr(module, name, mean)
        elif isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 1 / part.weight[0].numel())
        _without_maxima(part)
    return module


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (models.squeezenet1_0, "features.8"),
        (models.resnet18, "layer2"),
        (models.vgg11, "features.10"),
        (models.densenet121, "features.transition1"),
        (models.googlenet, "maxpool3"),
        (models.alexnet, "features.5"),
    ],
)
def test_centres_are_those_of_the_gradient_of_single_cells(build: Callable[..., nn.Module], layer: str) -> None:
    extra = {"init_weights": False} if build is models.googlenet else {}
    module = _without_maxima(build(weights=None, **extra).eval())
    images = torch.ones(1, 3, 256, 256, requires_grad=True)
    kept: list[Tensor] = []
    module.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    module(images)
    side = kept[0].shape[-1]
    lattice = find_lattice(module, torch.zeros(1, 3, 256, 256), side)
    middle = side // 2
    felt = torch.autograd.grad(kept[0][0, :, middle, middle].sum(), images)[0][0].abs().sum(dim=0).double()
    rows = (felt.sum(dim=1) / felt.sum()) @ (torch.arange(256).double() + 0.5)
    assert float(rows) == pytest.approx(lattice.first + lattice.step * middle, abs=0.05)


def test_where_cells_lie_evenly_maps_stay_as_they_are() -> None:
    classifier = load_classifier("torchvision:convnext_tiny", "random:0", size=64)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain, placed = (make_method(name, classifier)(images)[0] for name in ("gradcam", "aligned:gradcam"))
    torch.testing.assert_close(placed, plain, rtol=0, atol=1e-6 * float(plain.max()))


def test_values_are_brought_to_even_cells_along_the_line_between_two_centres() -> None:
    # Four cells of 16 pixels that look at 6, 10, 14, 18 of an input of 16: even ones look at 2, 6, 10, 14.
    values = torch.tensor([[0.0, 1.0, 4.0, 9.0]])
    assert Lattice(6, 4).spread(values, (1, 16)).tolist() == [[0.0, 0.0, 1.0, 4.0]]
    assert Lattice(4, 4).spread(values, (1, 16)).tolist() == [[0.0, 0.5, 2.5, 6.5]]


def test_activations_lie_where_their_cells_look() -> None:
    activations = Activations(unpadded(), ["features", "features.0"], aligned=True)
    for layer in activations(dotted()):
        heat = upsample(layer[0, 0].numpy(), View(0, 0, SIDE, SIDE), SIDE, SIDE)
        row = heat.sum(axis=1) @ np.arange(SIDE) / heat.sum()
        assert row == pytest.approx(DOT[0], abs=1.0)


@pytest.mark.parametrize("inner", ["layercam-fused", "occlusion", "smoothgrad:gradcam"])
def test_maps_that_are_not_of_the_layers_cells_are_refused(inner: str) -> None:
    expected = rf"^Expected aligned just before a method with a map of the layer's cells, got {inner.split(':')[0]}$"
    with pytest.raises(ValueError, match=expected):
        make_method(f"aligned:{inner}", staged())


def test_a_layer_whose_cells_are_not_made_by_convolutions_is_refused() -> None:
    classifier = load_classifier("torchvision:swin_t", "random:0", size=64)
    with pytest.raises(
        ModelError, match=r"^Cannot tell where the .* cells of SwinTransformer look; leave out aligned$"
    ):
        make_method("aligned:gradcam", classifier)
    assert make_method("gradcam", classifier).grid == (2, 2)


def test_the_classifier_is_left_as_it_came() -> None:
    classifier = unpadded()
    make_method("aligned:gradcam", classifier)
    assert not any(part._forward_hooks for part in classifier.module.modules())
    assert isinstance(make_method("aligned:gradcam", classifier).inner, GradCAM)  # type: ignore[attr-defined]
