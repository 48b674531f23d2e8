"""Layers with a grid: how their output lies on the image, and which of them to explain by default.

A grid is found from shapes, never from names: `[B, C, h, w]` with h = w, `[B, h, w, C]` with h = w (Swin), or tokens
`[B, n + h w, C]` with h = w and a few tokens n ahead of the grid's (class, distillation and register tokens of ViT).
Inputs are square, so grids are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from audit.errors import ModelError

_MOST_PREFIX_TOKENS = 8


@dataclass(frozen=True)
class Layout:
    """How a layer's output lies on the grid of the image.

    Attributes:
        kind: `channels_first` [B, C, h, w], `channels_last` [B, h, w, C], or `tokens` [B, prefix + h w, C].
        prefix: tokens ahead of the grid's.
    """

    kind: str
    prefix: int = 0

    @classmethod
    def of(cls, shape: Sequence[int]) -> Self | None:
        """The layout of an output of this shape, batch included; None if it has no grid.

        >>> Layout.of((1, 197, 768))
        Layout(kind='tokens', prefix=1)
        """
        if len(shape) == 4 and shape[1] == shape[2] != shape[3]:
            return cls("channels_last")
        if len(shape) == 4:
            return cls("channels_first") if shape[2] == shape[3] else None
        if len(shape) == 3 and shape[2] > 1:  # [B, C, 1] are pooled channels, however many
            prefix = shape[1] - isqrt(shape[1]) ** 2
            return cls("tokens", prefix) if prefix <= _MOST_PREFIX_TOKENS else None
        return None

    def to_grid(self, output: Tensor) -> Tensor:
        """The output as [B, C, h, w], without prefix tokens."""
        if self.kind == "channels_first":
            return output
        if self.kind == "channels_last":
            return output.permute(0, 3, 1, 2)
        side = isqrt(output.shape[1] - self.prefix)
        return output[:, self.prefix :].mT.reshape(len(output), -1, side, side)

    def from_grid(self, grid: Tensor) -> Tensor:
        """[B, C, h, w] as the layer gives it; only where there are no prefix tokens."""
        if self.kind == "channels_first":
            return grid
        return grid.permute(0, 2, 3, 1) if self.kind == "channels_last" else grid.flatten(2).mT


class Grid(NamedTuple):
    """A layer's layout, the side of its grid, in cells, and its channels."""

    layout: Layout
    side: int
    channels: int


def find_target_layer(module: nn.Module, example: Tensor) -> str:
    """Name of the last module to finish with a grid, h and w above 1, on which the outputs depend.

    Found by running the model on `example` [1, 3, H, W] and watching. Where a container ends with the same output as
    its last part, the container is named. Behind the last attention of a ViT the outputs depend on the class token
    alone: there it is the last module of the same width through which all that is read of the grid goes, the norm
    before the attention; not the keys or the values alone, where these are modules of their own.

    Raises:
        ModelError: no module has a grid.
    """
    outputs = _outputs_with_grid(module, example)
    if not outputs:
        raise ModelError("Expected a module with a spatial output [B, C, h, w], found none; name one with --layer")
    last, shape, layout = outputs[-1]
    if not layout.prefix:
        return last
    candidates = [name for name, other, _ in outputs if other == shape]
    # Noise: of an image of zeros a network with fresh weights may make tokens of zeros, whose attention tells nothing.
    image = torch.randn(example.shape, generator=torch.Generator().manual_seed(2)).to(example.device)
    reading = (name for name in reversed(candidates) if _reads_grid(module, image, layout, name))
    later = next(reading, last)
    for earlier in reading:
        if not _reads_grid(module, image, layout, earlier, held=later):
            break
        later = earlier
    return later


def find_grids(module: nn.Module, example: Tensor) -> dict[str, Grid]:
    """Modules with a grid, h and w above 1, by name, in the order in which they finish on `example` [1, 3, H, W]."""
    grids: dict[str, Grid] = {}
    for name, shape, layout in _outputs_with_grid(module, example):
        grids.pop(name, None)
        _, channels, _, side = layout.to_grid(torch.empty(shape, device="meta")).shape
        grids[name] = Grid(layout, side, channels)
    return grids


def find_stage_layers(grids: Mapping[str, Grid], last: str, count: int = 3) -> list[str]:
    """Of each grid size the last layer up to `last`, from fine to coarse; at most `count`, ending with `last`.

    Args:
        grids: of `find_grids`.
        last: name of a layer among them.

    Raises:
        ModelError: it is not among them.
    """
    if last not in grids:
        raise ModelError(f"Expected the target layer to have a grid, but {last!r} has none; name one with --layer")
    finished = list(grids)
    up_to = finished[: finished.index(last) + 1]
    ends = {grids[name].side: name for name in up_to}
    sides = sorted((side for side in ends if side >= grids[last].side), reverse=True)
    return [ends[side] for side in sides[-count:]]


def _outputs_with_grid(module: nn.Module, example: Tensor) -> list[tuple[str, tuple[int, ...], Layout]]:
    """Modules in the order in which they finish, with their output's shape and layout."""
    outputs: list[tuple[str, tuple[int, ...], Layout]] = []
    handles = []

    def watch(name: str) -> None:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) or not output.ndim:
                return
            layout = Layout.of(output.shape) if len(output) == len(example) else None
            if layout and layout.to_grid(output).shape[-1] > 1:
                outputs.append((name, tuple(output.shape), layout))

        handles.append(module.get_submodule(name).register_forward_hook(note))

    try:
        for name, _ in module.named_modules():
            if name:
                watch(name)
        with torch.inference_mode():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _reads_grid(module: nn.Module, image: Tensor, layout: Layout, name: str, held: str | None = None) -> bool:
    """Whether the outputs change with the grid's part of a layer's output.

    Args:
        held: a later layer, whose grid is given all the while: then, whether they change by another way than it.
    """
    given = {held: _noise_on_grid(layout, seed=1)} if held else {}
    plain = _outputs_with(module, image, given)
    return not torch.equal(plain, _outputs_with(module, image, given | {name: _noise_on_grid(layout, seed=0)}))


def _noise_on_grid(layout: Layout, seed: int) -> Callable[..., Tensor]:
    """A hook that puts noise in the place of a layer's grid; the tokens ahead of it stay."""

    def disturb(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output.device)
        return torch.cat([output[:, : layout.prefix], noise[:, layout.prefix :]], dim=1)

    return disturb


def _outputs_with(module: nn.Module, image: Tensor, hooks: Mapping[str, Callable[..., Tensor]]) -> Tensor:
    """Outputs with hooks on some layers."""
    handles = [module.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        with torch.inference_mode():
            outputs: Tensor = module(image)
    finally:
        for handle in handles:
            handle.remove()
    return outputs
