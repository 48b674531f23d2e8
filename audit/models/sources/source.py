"""What a source of models is, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from audit.errors import ModelError
from audit.images import Fit
from audit.models.classifier import Preprocessing
from audit.models.sources.spec import ModelSpec
from audit.models.weights import first_line, load_state

IMAGENET_PREPROCESSING = Preprocessing(Fit(224, "crop", 256))


@dataclass(frozen=True)
class Built:
    """A built module and what its origin says about it.

    Attributes:
        classes: a name for each output.
        code: the Python module whose function built it, which may name them too.
        details: what a run's record says of it beside.
    """

    module: nn.Module
    classes: tuple[str, ...] | None = None
    preprocessing: Preprocessing = IMAGENET_PREPROCESSING
    activation: str = "softmax"
    code: ModuleType | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where models come from that are named `PREFIX:NAME`. What it runs is a library's code, never a stranger's.

    Attributes:
        prefix: the word ahead of the colon; `audit.trusted.KNOWN_CODE` has it too.
        load: the model of a name, with the weights and all else that a spec asks for.
        architecture: a module of a name with so many outputs and fresh weights.
        open_vocabulary: whether its outputs are whatever classes are asked for: those of the spec, else the data set's.
    """

    prefix: str
    load: Callable[[str, ModelSpec], Built]
    architecture: Callable[[str, int], nn.Module]
    open_vocabulary: bool = False


def with_weights(built: Built, weights: str, rebuild: Callable[[int], nn.Module] | None) -> Built:
    """Load a state dict, or draw random weights; where its head has another size, rebuild the module for it."""
    if weights.startswith("random:"):
        return replace(built, module=randomised(built.module))
    state = load_state(weights)
    module_state = built.module.state_dict()
    head = next((key for key in reversed(module_state) if module_state[key].ndim), None)
    if rebuild is not None and head in state and state[head].shape != module_state[head].shape:
        built = replace(built, module=rebuild(len(state[head])), classes=None)
    load_into(built.module, state, weights)
    return built


def load_into(module: nn.Module, state: dict[str, Tensor], path: str) -> None:
    """Put the tensors of a file into a module.

    Raises:
        ModelError: they do not fit.
    """
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        lines = str(error).splitlines()
        detail = lines[1].strip() if len(lines) > 1 else first_line(error)
        raise ModelError(f"The weights in {path} do not fit {type(module).__name__}: {detail}") from None


@contextmanager
def seeded(weights: str | None) -> Iterator[None]:
    """With `random:SEED`, what is drawn here follows from the seed; the caller's generator is as before."""
    kind, _, seed = (weights or "").partition(":")
    if kind == "random" and not seed.isdigit():
        raise ModelError(f"Expected random weights as random:SEED with a whole number, got {weights!r}")
    with torch.random.fork_rng(devices=[]):
        if kind == "random":
            torch.manual_seed(int(seed))
        yield


def randomised(module: nn.Module) -> nn.Module:
    """The module with fresh weights, also where it came with others."""
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    return module


def described(error: BaseException) -> str:
    """An error of someone else's code in one line."""
    return f"{type(error).__name__}: {first_line(error)}"
