"""Which layer of a detector to explain by default: the last that all levels of its pyramid rest on.

Behind it levels go apart: a box that is found on one of them would have no gradient at a layer of another. In SSD each
level is made from the one before, so it is the layer of the finest. In a feature pyramid network (Lin et al., CVPR
2017) all levels hear the last layer of the body through the way down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from audit.errors import ModelError
from audit.models.layers import Layout


def find_trunk_layer(
    network: nn.Module, trunk: Sequence[str], levels_of: Callable[[Tensor], list[Tensor]], example: Tensor
) -> str:
    """Name of the last module of a trunk to finish with a grid, h and w above 1, on which all levels depend.

    Args:
        trunk: dotted names, in the network, of the parts in which it is looked for; empty for all of it.
        levels_of: gives the levels for `example` [1, 3, S, S].

    Raises:
        ModelError: there is none.
    """
    finished: list[tuple[str, Tensor]] = []

    def watch(name: str) -> None:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.requires_grad and _has_grid(output):
                finished.append((name, output))

        handles.append(network.get_submodule(name).register_forward_hook(note))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for name, _ in network.named_modules():
            if name and (not trunk or any(f"{name}.".startswith(f"{part}.") for part in trunk)):
                watch(name)
        with torch.enable_grad():
            levels = levels_of(example.clone().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(name for name, _ in finished)  # an activation that many layers share is no layer
    for name, output in reversed(finished):
        if times[name] == 1 and all(_rests_on(level, output) for level in levels):
            return name
    raise ModelError("Expected a layer [B, C, h, w] that all levels of the detector rest on; name one with --layer")


def _has_grid(output: Tensor) -> bool:
    layout = Layout.of(output.shape)
    return layout is not None and layout.to_grid(output).shape[-1] > 1


def _rests_on(level: Tensor, output: Tensor) -> bool:
    if level is output:
        return True
    (slope,) = torch.autograd.grad(level.sum(), output, retain_graph=True, allow_unused=True)
    return slope is not None
