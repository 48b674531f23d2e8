"""What layers of a network hold of an image, for those who compare its places with one another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from audit.attribution.taps import probing, tapped
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.lattices import Lattice, find_lattice
from audit.models.layers import Grid, find_grids, find_stage_layers


class Activations:
    """Activations of layers of a classifier, from one forward pass.

    Args:
        layers: dotted names; by default the last of each grid size up to the target layer, the three deepest.
        aligned: bring them to where their cells look, as `aligned:METHOD` does maps.

    Attributes:
        layers: their names, from fine to coarse.

    Raises:
        ModelError: a layer has no grid, or it cannot be told where its cells look.

    Example:
        shallow, middle, deep = Activations(classifier)(images)
    """

    def __init__(self, classifier: Classifier, layers: Sequence[str] = (), aligned: bool = False) -> None:
        self._classifier = classifier
        with probing(classifier.module):
            grids = find_grids(classifier.module, classifier.example())
        names = list(layers) or find_stage_layers(grids, classifier.layer)
        if missing := [name for name in names if name not in grids]:
            raise ModelError(f"Expected layers with a grid, but {missing[0]!r} has none; known are {', '.join(grids)}")
        self.layers = tuple(sorted(names, key=lambda name: -grids[name].side))
        self._grids: dict[str, Grid] = {name: grids[name] for name in self.layers}
        with probing(classifier.module):
            self._lattices = {name: self._lattice(grids[name].side) for name in self.layers} if aligned else {}

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Inputs [B, 3, H, W] -> [B, channels, h, w] float32 of each layer.

        H and W may be any that the network takes.
        """
        kept: dict[str, Tensor] = {}
        module = self._classifier.module
        with probing(module), torch.inference_mode(), ExitStack() as taps:
            for name in self.layers:
                taps.enter_context(tapped(module.get_submodule(name), partial(kept.__setitem__, name)))
            module(images)
        return [self._placed(name, kept[name], images.shape[-2:]) for name in self.layers]

    def _placed(self, name: str, output: Tensor, pixels: Sequence[int]) -> Tensor:
        """A layer's output on its grid, cells lying evenly on the input as far as that was asked."""
        values = self._grids[name].layout.to_grid(output).float()
        return self._lattices[name].spread(values, pixels) if self._lattices else values

    def _lattice(self, side: int) -> Lattice:
        return find_lattice(self._classifier.module, self._classifier.example(), side)
