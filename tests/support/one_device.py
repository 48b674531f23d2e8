"""A watch over operations: tensors of two devices in one are an error. Of torch's `meta` device many let them pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_MOVES = (torch.ops.aten._to_copy, torch.ops.aten.copy_)


class OneDevice(TorchDispatchMode):
    """While it is entered, only a move joins tensors of two devices; a number without axes may lie on the CPU."""

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation.

        Raises:
            AssertionError: its tensors lie on two devices.
        """
        given = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor) and part.ndim]
        if getattr(operation, "overloadpacket", None) not in _MOVES:
            places = {part.device.type for part in given}
            assert len(places) < 2, f"{operation} on {' and '.join(sorted(places))}"
        return operation(*args, **(kwargs or {}))
