"""What lies behind the target layer, certified by probing, so that the cheapest exact gradient can be used.

With A the layer's activation and m its mean over positions, the head is

- `linear`: y = W m + b. Then dy^c/dA = W^c / Z everywhere, a constant, and no backward pass is needed.
- `pooled`: y = f(m), f not linear. Then the gradient is taken at m, a vector.
- `general`: anything else. The gradient is taken at A.

Nothing is read off the names or types of layers. Probes have both signs: a ReLU after the last module (DenseNet) would
pass for linear on positive ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from audit.attribution.taps import tapped
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.layers import Layout

_PROBES = 6
_DIRECTIONS = 3
_TOLERANCE = 1e-4
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Head:
    """The certificate of a classifier's head at its target layer.

    Attributes:
        kind: `linear`, `pooled` or `general`.
        grid: (h, w) of the layer for the classifier's own input size.
        channels: number of channels of the layer.
        layout: of the layer's output.
        weights: [outputs, channels] dy/dm, for a linear head only.
    """

    kind: str
    grid: tuple[int, int]
    channels: int
    layout: Layout
    weights: Tensor | None = None

    def to(self, device: torch.device) -> Head:
        """The same with its weights on a device; itself where they are there."""
        if self.weights is None or self.weights.device == device:
            return self
        return replace(self, weights=self.weights.to(device))


def certify(classifier: Classifier) -> Head:
    """Probe the head of a classifier in eval mode with random activations of both signs.

    Raises:
        ModelError: the target layer is not reached, its output has no grid, or the outputs no gradient there.
    """
    shape, layout = _activation_shape(classifier)
    channels, grid = shape[0], (shape[1], shape[2])
    general = Head("general", grid, channels, layout)
    if layout.prefix:  # the tokens ahead of the grid have a part in the outputs
        return general
    probes = _draw_probes(shape).to(classifier.device)
    means = probes.mean(dim=(2, 3), keepdim=True)
    if not _depends_on_mean_only(classifier, layout, probes, means):
        return general
    slopes = _slopes(classifier, layout, means)
    if not _close(slopes, slopes[:, :1].expand_as(slopes)):
        return replace(general, kind="pooled")
    return replace(general, kind="linear", weights=_jacobian(classifier, layout, channels))


def _activation_shape(classifier: Classifier) -> tuple[tuple[int, int, int], Layout]:
    """(channels, h, w) of the target layer on its grid, and its layout."""
    activations: list[Tensor] = []
    with torch.inference_mode(), tapped(classifier.target_layer, activations.append):
        classifier.module(classifier.example())
    if not activations:
        raise ModelError(f"The model never runs its layer {classifier.layer!r}; choose another --layer")
    layout = Layout.of(activations[-1].shape)
    if layout is None:
        raise ModelError(
            f"Expected layer {classifier.layer!r} to give [B, channels, h, w], or tokens of a square grid, "
            f"got {tuple(activations[-1].shape)}; choose another --layer"
        )
    _, channels, height, width = layout.to_grid(activations[-1]).shape
    return (channels, height, width), layout


def _draw_probes(shape: tuple[int, int, int]) -> Tensor:
    """[probes, channels, h, w], of both signs and several scales, so that saturations show."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(-1, 1, _PROBES).view(-1, 1, 1, 1)
    offset = torch.randn(_PROBES, shape[0], 1, 1, generator=generator)
    return scale * (torch.randn(_PROBES, *shape, generator=generator) + offset)


def _run_head(classifier: Classifier, layout: Layout, activation: Tensor) -> Tensor:
    """Outputs of the head for an activation of any batch size: the trunk runs once, on one grey image."""

    def put(_output: Tensor) -> Tensor:
        torch.set_grad_enabled(activation.requires_grad)
        return layout.from_grid(activation).clone()

    with torch.no_grad(), tapped(classifier.target_layer, put):
        output: Tensor = classifier.module(classifier.example())
    return output


def _depends_on_mean_only(classifier: Classifier, layout: Layout, probes: Tensor, means: Tensor) -> bool:
    try:
        pooled = _run_head(classifier, layout, means)
    except Exception:  # a head that flattens takes no 1x1 activation, and a detector no batch of another size
        return False
    return _close(_run_head(classifier, layout, probes), pooled)


def _slopes(classifier: Classifier, layout: Layout, means: Tensor) -> Tensor:
    """[directions, probes, channels] gradient of random mixtures of the outputs at each probe's mean."""
    leaf = means.clone().requires_grad_()
    output = _run_head(classifier, layout, leaf)
    generator = torch.Generator().manual_seed(1)
    mixtures = torch.randn(_DIRECTIONS, output.shape[1], generator=generator).to(output.device)
    return torch.stack([gradient((output @ mix).sum(), leaf, classifier) for mix in mixtures]).flatten(2)


def gradient(value: Tensor, leaf: Tensor, classifier: Classifier, **options: Any) -> Tensor:
    """Gradient of a value of the outputs at the target layer; the graph is kept.

    Raises:
        ModelError: there is none.
    """
    slopes = None
    if value.requires_grad:
        slopes = torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True, **options)[0]
    if slopes is None:
        raise ModelError(
            f"The model's outputs have no gradient at its layer {classifier.layer!r}; choose another --layer"
        )
    return slopes


def _jacobian(classifier: Classifier, layout: Layout, channels: int) -> Tensor:
    """[outputs, channels] dy/dm of a linear head: one row of the batch for each output."""
    count = _run_head(classifier, layout, torch.zeros(1, channels, 1, 1, device=classifier.device)).shape[1]
    rows = []
    for start in range(0, count, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, count)
        leaf = torch.zeros(stop - start, channels, 1, 1, device=classifier.device, requires_grad=True)
        output = _run_head(classifier, layout, leaf)
        rows.append(torch.autograd.grad(output[:, start:stop].diagonal().sum(), leaf)[0])
    return torch.cat(rows).flatten(1)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= _TOLERANCE * b.abs().max())
