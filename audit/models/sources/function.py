"""Models that a function builds: `module:function` or `PATH.py:function`. It is anyone's code, named by the user."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from audit.errors import ModelError
from audit.models.sources.source import Built, described, with_weights
from audit.models.sources.spec import ModelSpec


def load(spec: ModelSpec) -> Built:
    """What the function makes without arguments, with the weights that a spec asks for."""
    build, code = _function(spec.model)
    try:
        module = build()
    except Exception as error:
        raise ModelError(f"{spec.model} cannot build its model: {described(error)}") from None
    if not isinstance(module, nn.Module):
        raise ModelError(f"Expected {spec.model} to return a torch module, got {type(module).__name__}")
    built = Built(module, code=code)
    return built if spec.weights is None else with_weights(built, spec.weights, None)


def build_with(function: str, class_count: int) -> nn.Module:
    """What `module:function` or `PATH.py:function` makes of a class count."""
    module = _function(function)[0](class_count)
    if not isinstance(module, nn.Module):
        raise ModelError(f"Expected {function} to return a torch module, got {type(module).__name__}")
    return module


def _function(name: str) -> tuple[Callable[..., Any], ModuleType]:
    """The function named `module:function` or `PATH.py:function`, and that module."""
    place, _, attribute = name.rpartition(":")
    try:
        module = _module_from_file(place) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:  # it is anyone's code
        raise ModelError(f"Cannot import {place!r} of model {name!r}: {described(error)}") from None
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ModelError(f"Expected a function {attribute!r} in {place}, found none")
    return function, module


def _module_from_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
