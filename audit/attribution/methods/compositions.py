"""Compositions: methods made of other methods' maps.

- Guided Grad-CAM (Selvaraju et al., ICCV 2017): guided backpropagation times Grad-CAM.
- LayerCAM of several layers (Jiang et al., IEEE TIP 2021).

Classes are always chosen from the logits of the image as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Self

import torch
from torch import Tensor

from audit.attribution.method import Attribution, Choose, Cost, Method
from audit.attribution.methods.around import resized
from audit.attribution.methods.backprop import GuidedBackprop
from audit.attribution.methods.weighted import GradCAM
from audit.attribution.taps import probing, tapped
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution
from audit.models.layers import Grid, find_grids, find_stage_layers

_SHALLOW = 4
"""A layer is shallow if its grid is so many times as wide as the deepest one's."""


class GuidedGradCAM(Method):
    """Guided Grad-CAM (Selvaraju et al., ICCV 2017, section 3.2): guided backpropagation where Grad-CAM is warm.

    The map of guided backpropagation times that of Grad-CAM, the latter brought to the input's size bilinearly (corners
    not aligned). Captum's default takes the nearest cell instead; its values keep colours and signs, of which the
    largest magnitude is kept here.

    Raises:
        ModelError: the network has no ReLU, for which guided backpropagation has a rule.
    """

    name = "guided-gradcam"
    description = "guided backpropagation times Grad-CAM at the input's resolution"
    paper = "Selvaraju et al., ICCV 2017"
    forward_passes = "2"
    backward_passes = "1, and that of `gradcam`"
    pixels = True

    def __init__(self, classifier: Classifier, execution: Execution = PLAIN) -> None:
        # Compiled, Grad-CAM's tap would keep what guided backpropagation leaves at the layer.
        self._coarse = GradCAM(classifier, replace(execution, compiled=False))
        super().__init__(self._coarse.classifier)  # in the precision asked for already
        self.execution = execution
        self._fine = GuidedBackprop(self.classifier)
        for part in (self._coarse, self._fine):
            part.progress = lambda images: self.progress(images)

    def __enter__(self) -> Self:
        self._exits.enter_context(self._coarse)
        return self

    @property
    def grid(self) -> tuple[int, int]:
        return self._fine.grid

    @property
    def any_shape(self) -> bool:
        return self._coarse.any_shape

    @property
    def head(self) -> str:
        return self._coarse.head

    def cost(self, targets: int) -> Cost:
        coarse, fine = self._coarse.cost(targets), self._fine.cost(targets)
        return Cost(coarse.forward + fine.forward, coarse.backward + fine.backward)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        coarse = self._coarse.attribute(images, choose)
        fine = self._fine.attribute(images, lambda _logits: coarse.class_ids).maps
        return replace(coarse, maps=fine * resized(coarse.maps, fine.shape[-2:]))


class LayerCAMFused(Method):
    """LayerCAM of several layers, fused (Jiang et al., IEEE TIP 2021, section III): fine detail from the shallow ones.

    Each layer's map M is LayerCAM's, divided by its peak. Maps of shallow layers are scaled by tanh(gamma M / max M)
    (eq. 9), which the paper does for the first three of five stages: here for layers whose grid is four or more times
    as wide as the deepest's. The fused map is the largest value at each position, all maps brought to the finest grid
    bilinearly (corners not aligned). A layer without positive evidence adds nothing.

    Peers depart from the paper: torchcam scales the maps of all layers, after subtracting their smallest value;
    pytorch-grad-cam takes the mean without scaling.

    Args:
        layers: dotted names, in any order, or one string `layer2,layer3,layer4`. By default the last of each grid size
            up to the target layer, the three deepest.
        gamma: steepness of the scaling, positive; 2 in the paper.

    Raises:
        ValueError: gamma is not positive.
        ModelError: fewer than two layers, or one without a grid.
    """

    name = "layercam-fused"
    description = "LayerCAM of several layers, shallow ones scaled, the largest at each position"
    paper = "Jiang et al., IEEE TIP 2021"
    backward_passes = "1, from the outputs to the shallowest layer"

    def __init__(
        self,
        classifier: Classifier,
        execution: Execution = PLAIN,
        *,
        layers: Sequence[str] | str = (),
        gamma: float = 2.0,
    ) -> None:
        super().__init__(classifier, execution)
        if not gamma > 0:
            raise ValueError(f"Expected a `gamma` above 0, got {gamma}")
        self.gamma = gamma
        with probing(classifier.module):
            grids = find_grids(classifier.module, classifier.example())
        self.layers = _names(layers) or find_stage_layers(grids, classifier.layer)
        chosen = self._chosen(grids)
        self._layouts = [grid.layout for grid in chosen]
        self._side = max(grid.side for grid in chosen)
        inside = self.classifier.layer.removesuffix(classifier.layer)  # where a network in another precision has it
        self._modules = [self.classifier.module.get_submodule(inside + name) for name in self.layers]

    @property
    def grid(self) -> tuple[int, int]:
        return self._side, self._side

    def cost(self, targets: int) -> Cost:
        return Cost(1, targets)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        activations, outputs = self._forward(images)
        class_ids = choose(self.classifier.class_logits(outputs.detach()))
        targets = [self._layer_maps(total, activations) for total in self._target_sums(outputs, class_ids)]
        maps = [torch.stack(rows, dim=1) for rows in zip(*targets, strict=True)]
        self.progress(len(images))
        return self._finish(self._fuse(maps), class_ids, outputs.detach())

    def _chosen(self, grids: dict[str, Grid]) -> list[Grid]:
        for name in self.layers:
            if name not in grids:
                raise ModelError(f"Expected layers with a grid, but {name!r} has none; known are {', '.join(grids)}")
        if len(self.layers) < 2:
            raise ModelError(
                f"Expected several layers for --method {self.name}, got only {', '.join(self.layers)}; "
                "name more with the option `layers`, or use --method layercam"
            )
        return [grids[name] for name in self.layers]

    def _forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The layers' outputs, and the network's, with a graph that begins at the first layer reached."""
        kept: dict[int, Tensor] = {}

        def keep(place: int, output: Tensor) -> Tensor:
            torch.set_grad_enabled(True)  # undone by the no_grad block around the forward pass
            kept[place] = output if output.requires_grad else output.detach().requires_grad_()
            return kept[place].clone()

        with torch.no_grad(), ExitStack() as taps:
            for place, module in enumerate(self._modules):
                taps.enter_context(tapped(module, partial(keep, place)))
            outputs = self.classifier.module(images.contiguous(memory_format=torch.channels_last))
        return [kept[place] for place in range(len(self._modules))], outputs

    def _layer_maps(self, total: Tensor, activations: list[Tensor]) -> list[Tensor]:
        """LayerCAM [B, h, w] of each layer, for one target of each image."""
        slopes = torch.autograd.grad(total, activations, retain_graph=True, materialize_grads=True)
        maps = []
        for layout, slope, activation in zip(self._layouts, slopes, activations, strict=True):
            values, rises = (layout.to_grid(part).float() for part in (activation.detach(), slope))
            maps.append((rises.relu() * values).sum(dim=1).relu_())
        return maps

    def _fuse(self, maps: list[Tensor]) -> Tensor:
        """Maps [B, K, h, w] of each layer -> [B, K, H, W] on the finest grid."""
        sides = [layer_maps.shape[-1] for layer_maps in maps]
        fused = torch.zeros(())
        for layer_maps, side in zip(maps, sides, strict=True):
            scaled = by_peak(layer_maps)
            if round(side / min(sides)) >= _SHALLOW:
                scaled = torch.tanh(self.gamma * scaled)
            fused = torch.maximum(fused, resized(scaled, (max(sides), max(sides))))
        return fused


def by_peak(maps: Tensor) -> Tensor:
    """Maps [..., h, w] divided by their peaks, where these are positive."""
    peaks = maps.amax(dim=(-2, -1), keepdim=True)
    return maps / peaks.where(peaks > 0, 1)


def _names(given: Sequence[str] | str) -> list[str]:
    """`a, b` or a sequence as a list; a lone number names a layer too."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        return list(given)
    return [name.strip() for name in str(given).split(",") if name.strip()]
