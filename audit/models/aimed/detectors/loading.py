"""From a network of a known family to a detector that answers for a data set's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from audit.errors import ModelError
from audit.models.aimed.detectors.detector import AimedNetwork, Detector
from audit.models.aimed.detectors.family import Family
from audit.models.aimed.detectors.trunk import find_trunk_layer
from audit.models.class_names import OutputNames, names_on
from audit.models.classifier import Preprocessing


def make_detector(
    family: Family,
    preprocessing: Preprocessing,
    stated: tuple[str, ...] | None = None,
    code: Any = None,
    classes: Sequence[str] | None = None,
    mapping_file: str | None = None,
    layer: str | None = None,
) -> Detector:
    """A detector, its layer found where none is named.

    Args:
        stated: names of its categories, that of the background among them or not.
        code: the Python module whose function built it, which may name them too.
        classes: of the data set; None for the network's own.
        layer: dotted name inside the network.

    Raises:
        ModelError: more or fewer names than categories, classes that do not map, or a layer that does not exist.
    """
    size = preprocessing.fit.size
    module = AimedNetwork(family).eval()
    example = torch.zeros(1, 3, size, size)
    columns = _count_columns(family, example)
    background = family.background
    named = None if background is None else names_on(family.network, code, count=columns)
    names = stated or family.names or named
    if names is not None and background is not None and len(names) == columns:
        names = tuple(name for place, name in enumerate(names) if place != background % columns)
    categories = columns if background is None else columns - 1
    known = OutputNames.of(names, family.network, code, categories)
    mapping = replace(known, stated=stated is not None).mapping(classes, mapping_file)
    if background == 0:  # categories begin behind it
        mapping = replace(mapping, outputs=tuple(tuple(out + 1 for out in outputs) for outputs in mapping.outputs))
    return Detector(module, preprocessing, mapping, _layer(module, layer, example), family.activation)


def _count_columns(family: Family, example: Tensor) -> int:
    with torch.inference_mode():
        try:
            return int(family.at(example, family.somewhere(example)).logits.shape[2])
        except Exception as error:
            size = example.shape[-1]
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ModelError(f"The detector cannot take an input of {size}x{size}: {reason}") from None


def _layer(module: AimedNetwork, layer: str | None, example: Tensor) -> str:
    if layer is None:
        family = module.family
        return f"network.{find_trunk_layer(module.network, family.trunk, family.levels, example)}"
    known = dict(module.named_modules())
    place = layer if layer in known else f"network.{layer}"
    if place not in known:
        near = ", ".join(name for name, _ in module.network.named_children())
        raise ModelError(f"Expected --layer to name a module, got {layer!r}; top-level modules: {near}")
    return place
