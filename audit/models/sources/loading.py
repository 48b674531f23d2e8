"""From the name of a model to a classifier that answers for a data set's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audit.datasets.classes import VOC_CLASSES, ClassMapping
from audit.errors import ModelError
from audit.images.views import CROPS
from audit.models.aimed.detectors import family_of, make_detector
from audit.models.aimed.regions import RegionClassifier, RegionNetwork, find_region_layer, logits_of, segments
from audit.models.aimed.words import WordClassifier, WordNetwork, check_values, reads_texts
from audit.models.class_names import OutputNames
from audit.models.classifier import ACTIVATIONS, Classifier, Preprocessing
from audit.models.layers import find_target_layer
from audit.models.sources import checkpoint, function
from audit.models.sources.registry import SOURCES
from audit.models.sources.source import Built, described, seeded
from audit.models.sources.spec import ModelSpec
from audit.trusted import STATE_SUFFIXES


def load_classifier(
    model: str | ModelSpec, weights: str | None = None, classes: str | Sequence[str] | None = None, **options: Any
) -> Classifier:
    """Build a classifier that answers for a data set's classes.

    Args:
        model: a `ModelSpec`, or the name that begins one; `weights` and `options` are then its other fields.
        classes: the data set's class names, `"voc"`, or None for the model's own: those of the spec, of its origin, or
            of an attribute; else `class 7`; see `audit.models.class_names`.

    Raises:
        ModelError: unknown name, weights that do not fit, a layer that does not exist, classes that do not map, more or
            fewer names than outputs.
    """
    spec = model if isinstance(model, ModelSpec) else ModelSpec(model, weights, **options)
    data = VOC_CLASSES if classes == "voc" else classes
    spec = _with_words(spec, data)
    with seeded(spec.weights):
        built = _build(spec)
    module = built.module.eval()
    family = family_of(module)
    if family is not None:
        named, fitted = spec.classes or built.classes, _preprocessing(spec, family.preprocessing or built.preprocessing)
        return make_detector(family, fitted, named, built.code, data, spec.mapping, spec.layer)
    preprocessing = _preprocessing(spec, built.preprocessing)
    example = torch.zeros(1, 3, preprocessing.fit.size, preprocessing.fit.size)
    if reads_texts(module):
        return _word_classifier(built, preprocessing, example, spec.classes or data, spec)
    output = _output(module, example, spec)
    if segments(output):
        return _region_classifier(built, preprocessing, example, logits_of(output).shape[1], data, spec)
    outputs = _count(output, spec)
    names = OutputNames.of(spec.classes or built.classes, built.module, built.code, outputs)
    mapping = names.mapping(data, spec.mapping)
    layer = spec.layer or find_target_layer(module, example)
    _check_layer(module, layer)
    return Classifier(module, preprocessing, mapping, layer, _activation(spec, built), built.details)


def _with_words(spec: ModelSpec, classes: Sequence[str] | None) -> ModelSpec:
    """The spec, with the data set's classes where its model's outputs are whatever classes are asked for."""
    source = SOURCES.get(spec.model.rpartition(":")[0])
    if source is None or not source.open_vocabulary:
        if spec.prompts:
            raise ModelError(f"Expected no --prompts for {spec.model}, which has classes of its own; leave them out")
        return spec
    return replace(spec, classes=spec.classes or (tuple(classes) if classes else None))


def _build(spec: ModelSpec) -> Built:
    kind, _, name = spec.model.rpartition(":")
    if kind in SOURCES:
        return SOURCES[kind].load(name, spec)
    if Path(spec.model).suffix in STATE_SUFFIXES:
        return checkpoint.load(spec)
    if kind:
        return function.load(spec)
    words = ", ".join(f"{prefix}:NAME" for prefix in SOURCES)
    raise ModelError(f"Expected a model as {words}, PATH.pt or module:function, got {spec.model!r}")


def _preprocessing(spec: ModelSpec, default: Preprocessing) -> Preprocessing:
    fit = default.fit
    mode = spec.mode or fit.mode
    size = spec.size or fit.size
    resize = spec.resize or (round(fit.resize * size / fit.size) if fit.resize else None)
    try:
        fit = replace(fit, size=size, mode=mode, resize=resize if mode in CROPS else None)
    except ValueError as error:
        raise ModelError(str(error)) from None
    return Preprocessing(fit, spec.mean or default.mean, spec.std or default.std)


def _activation(spec: ModelSpec, built: Built) -> str:
    activation = spec.activation or built.activation
    if activation not in ACTIVATIONS:
        raise ModelError(f"Expected the activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return activation


def _word_classifier(
    built: Built, preprocessing: Preprocessing, example: Tensor, words: Sequence[str] | None, spec: ModelSpec
) -> WordClassifier:
    """Of a network of images and texts, whose classes are the words that are asked about."""
    if not words:
        raise ModelError(
            f"Expected words to ask {spec.model} about, got none; label images with them, or use --classes"
        )
    network = WordNetwork(built.module, " ".join(words[:3])).eval()
    check_values(network, example, spec.model)
    mapping = ClassMapping(tuple(words), tuple((place,) for place in range(len(words))))
    layer = _inside(network, spec.layer) if spec.layer else find_target_layer(network, example)
    _check_layer(network, layer)
    return WordClassifier(network, preprocessing, mapping, layer, "none", built.details)


def _region_classifier(
    built: Built,
    preprocessing: Preprocessing,
    example: Tensor,
    categories: int,
    data: Sequence[str] | None,
    spec: ModelSpec,
) -> RegionClassifier:
    """Of a network that segments."""
    names = OutputNames.of(spec.classes or built.classes, built.module, built.code, categories)
    mapping = names.mapping(data, spec.mapping)
    network = RegionNetwork(built.module, mapping, categories).eval()
    layer = _inside(network, spec.layer) if spec.layer else find_region_layer(network, example, categories)
    _check_layer(network, layer)
    return RegionClassifier(network, preprocessing, mapping, layer, "softmax", built.details)


def _output(module: nn.Module, example: Tensor, spec: ModelSpec) -> Any:
    with torch.inference_mode():
        try:
            return module(example)
        except Exception as error:
            size = example.shape[-1]
            raise ModelError(f"{spec.model} cannot take an input of {size}x{size}: {described(error)}") from None


def _count(output: Any, spec: ModelSpec) -> int:
    """Outputs of a classifier."""
    if not isinstance(output, Tensor) or output.ndim != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(f"Expected {spec.model} to give logits [B, classes], got {shape}")
    return int(output.shape[1])


def _inside(network: nn.Module, layer: str) -> str:
    """The name of a layer as users know it, or as a run keeps it, in the module around their network."""
    return layer if layer in dict(network.named_modules()) else f"network.{layer}"


def _check_layer(module: nn.Module, layer: str) -> None:
    names = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        near = [name for name in names if "." not in name]
        raise ModelError(f"Expected --layer to name a module, got {layer!r}; top-level modules: {', '.join(near)}")
