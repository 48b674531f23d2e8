"""Taps: watch or replace the output of one module during a forward pass. The model is left as it came, always.

A network belongs to one thread at a time. Hooks, eval mode and `requires_grad` are switches on a module that all
threads of a process share. So whoever runs a network holds `ONE_AT_A_TIME` meanwhile, a tap acts on the thread that set
it alone, and a module's own modes come back when the last of those who wanted eval mode is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from audit.errors import ModelError

ONE_AT_A_TIME = threading.RLock()
"""Held while a network of this process is run or probed. The holder may take it again."""


@contextmanager
def tapped(layer: nn.Module, on_output: Callable[[Tensor], Tensor | None], any_thread: bool = False) -> Iterator[None]:
    """Call `on_output` with each output of `layer`; what it returns, unless None, takes the output's place.

    A replacement should be a clone: the next module may work in place.

    Args:
        any_thread: act on the passes of every thread, for a tap that outlives a call.
    """
    owner = threading.get_ident()

    def hook(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            raise ModelError(
                f"Expected the target layer to give a tensor, got {type(output).__name__}; choose another --layer"
            )
        return on_output(output)

    def hook_of_owner(module: nn.Module, inputs: object, output: object) -> Tensor | None:
        return hook(module, inputs, output) if threading.get_ident() == owner else None

    handle = layer.register_forward_hook(hook if any_thread else hook_of_owner)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def probing(module: nn.Module) -> Iterator[None]:
    """Eval mode for a few passes, which no other thread's come between."""
    with ONE_AT_A_TIME, evaluating(module):
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode and give every part its own mode back when nobody wants eval mode any more."""
    with _SWITCHING:
        held = _held.setdefault(module, _Modes({name: part.training for name, part in module.named_modules()}))
        held.wanted += 1
        module.eval()
    try:
        yield
    finally:
        with _SWITCHING:
            held.wanted -= 1
            if not held.wanted:
                _held.pop(module, None)  # it is gone where the module is collected with who held it
                for name, part in module.named_modules():
                    part.training = held.training.get(name, part.training)


@dataclass
class _Modes:
    """The modes that a module's parts came with, and how many want eval mode instead."""

    training: dict[str, bool]
    wanted: int = 0


_held: WeakKeyDictionary[nn.Module, _Modes] = WeakKeyDictionary()
_SWITCHING = threading.RLock()
"""Held for a moment; by a thread that holds it already too, where its memory is swept in that moment."""
