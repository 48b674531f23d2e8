"""Where the cells of a layer look: the centres of their receptive fields, found from the convolutions on the way.

Cells are mostly drawn as if they were spread evenly over the input. But where a network pads nothing, as SqueezeNet in
its first layers, the outermost look at places well inside the image. Where it pads by one and takes every second place,
as ResNet, each looks at the first of two places and not between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from audit.errors import ModelError
from audit.images.views import interpolation_matrix


@dataclass(frozen=True, slots=True)
class Lattice:
    """Centres of the receptive fields of a layer's cells, along either side of the input.

    Attributes:
        first: of the first cell, pixels from the input's edge; 0.5 is the middle of the outermost pixel.
        step: from one cell to the next, pixels.
    """

    first: float
    step: float

    def edges(self, cells: int) -> tuple[float, float]:
        """Where the first of so many cells begins and the last ends, pixels from the input's edge."""
        low = self.first - self.step / 2
        return low, low + self.step * cells

    def spread(self, values: Tensor, pixels: Sequence[float]) -> Tensor:
        """Values [..., h, w] of the cells -> of as many cells that lie evenly on the input of (H, W) pixels.

        Bilinear between the centres, constant beyond the outermost.
        """
        down, across = (
            self._weights(cells, side).to(values.device) for cells, side in zip(values.shape[-2:], pixels, strict=True)
        )
        return down @ values @ across.T

    def _weights(self, cells: int, side: float) -> Tensor:
        """[cells, cells]; the scale is one on which even cells end at 0, 1, 2 and so on."""
        low, high = (edge * cells / side for edge in self.edges(cells))
        return torch.tensor(interpolation_matrix(cells, low, high, 0, cells))


_PIXELS = Lattice(0.5, 1.0)
_SLIDING = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_Known = dict[int, set[Lattice | None]]
"""Side of a grid -> where its cells look, by each way that leads there; None for a way that is not understood."""


def find_lattice(module: nn.Module, example: Tensor, side: int) -> Lattice:
    """Where the cells of the grid look that has `side` cells a side on `example` [1, 3, H, H].

    A kernel k with dilation d and padding p at a stride s has its first centre d (k - 1) / 2 - p cells beyond that of
    its input, and the next ones s cells apart (Dumoulin and Visin, arXiv 1603.07285, 2016). Grids are told apart by
    their size: what happens between layers of one size moves no centre.

    Raises:
        ModelError: the grid is made by other means than convolution and pooling, or two ways to it disagree.
    """
    known: _Known = {example.shape[-1]: {_PIXELS}}
    sliding = [part for part in module.modules() if isinstance(part, _SLIDING)]
    handles = [part.register_forward_hook(partial(_follow, known)) for part in sliding]
    try:
        with torch.inference_mode():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    ways = known.get(side, {None})
    lattice = next(iter(ways)) if len(ways) == 1 else None
    if lattice is None:
        name = type(module).__name__
        raise ModelError(f"Cannot tell where the {side} x {side} cells of {name} look; leave out aligned")
    return lattice


def _follow(known: _Known, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Note where the cells of a module's output look, by those of its input."""
    before, after = inputs[0].shape[-1], output.shape[-1]
    if before != after:
        ways = known.get(before, {None})
        known.setdefault(after, set()).update(_through(module, way, before, after) for way in ways)


def _through(module: nn.Module, lattice: Lattice | None, before: int, after: int) -> Lattice | None:
    """Where the output's cells look; None for paddings that a module works out by itself, or that sides differ in."""
    sides = {_geometry(module, axis) for axis in (0, 1)}
    if lattice is None or len(sides) > 1 or module.padding in ("same", "valid"):
        return None
    kernel, stride, padding, dilation = sides.pop()
    reach = dilation * (kernel - 1)
    rest = before + 2 * padding - reach - 1
    if after not in (rest // stride + 1, -(-rest // stride) + 1):  # the latter in ceil mode
        return None
    return Lattice(lattice.first + lattice.step * (reach / 2 - padding), lattice.step * stride)


def _geometry(module: nn.Module, axis: int) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and dilation along an axis."""
    values = (getattr(module, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))
    kernel, stride, padding, dilation = (value[axis] if isinstance(value, tuple) else value for value in values)
    return kernel, stride, padding, dilation
