"""Taps: watch or replace the output of one module during a forward pass. The model is left as it came, always."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from audit.errors import ModelError


@contextmanager
def tapped(layer: nn.Module, on_output: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `on_output` with each output of `layer`; what it returns, unless None, takes the output's place.

    A replacement should be a clone: the next module may work in place.
    """

    def hook(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            raise ModelError(
                f"Expected the target layer to give a tensor, got {type(output).__name__}; choose another --layer"
            )
        return on_output(output)

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode and give every part its own mode back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
