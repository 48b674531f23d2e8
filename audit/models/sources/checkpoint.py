"""Models in files: checkpoints that camaudit wrote, and bare state dicts whose architecture is named beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from audit.errors import ModelError
from audit.images import Fit
from audit.models.classifier import Preprocessing
from audit.models.sources import function
from audit.models.sources.registry import SOURCES, build_architecture
from audit.models.sources.source import Built, load_into
from audit.models.sources.spec import ModelSpec
from audit.models.weights import CHECKPOINT_FORMAT, load_state
from audit.trusted import KNOWN_CODE


def load(spec: ModelSpec) -> Built:
    """A checkpoint as it was saved, or the architecture that the spec names with the weights of the file."""
    state = load_state(spec.model)
    if state.get("format") == CHECKPOINT_FORMAT:
        module = build_architecture(_trusted(state["arch"], spec), len(state["classes"]))
        load_into(module, state["state"], spec.model)
        fit = Fit(*state["fit"])
        preprocessing = Preprocessing(fit, tuple(state["mean"]), tuple(state["std"]))
        return Built(module, tuple(state["classes"]), preprocessing, state["activation"])
    if spec.arch is None:
        raise ModelError(f"{spec.model} holds weights only; name its architecture with --arch, as torchvision:resnet18")
    kind, _, name = spec.arch.rpartition(":")
    if kind in SOURCES:
        return SOURCES[kind].load(name, replace(spec, model=spec.arch, weights=spec.model, arch=None))
    built = function.load(replace(spec, model=spec.arch))
    load_into(built.module, state, spec.model)
    return built


def save_checkpoint(
    path: str | Path,
    module: nn.Module,
    arch: str,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    activation: str,
) -> None:
    """Write a checkpoint that `load_classifier` reads without further options: tensors and plain values only."""
    fit = preprocessing.fit
    torch.save(
        {
            "format": CHECKPOINT_FORMAT,
            "arch": arch,
            "classes": list(classes),
            "fit": [fit.size, fit.mode, fit.resize, fit.interpolation, fit.halved],
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "activation": activation,
            "state": module.state_dict(),
        },
        path,
    )


def _trusted(arch: str, spec: ModelSpec) -> str:
    """The architecture that a checkpoint names, unless that is someone's code which the user has not named too."""
    if arch.rpartition(":")[0] in KNOWN_CODE or arch == spec.arch:
        return arch
    raise ModelError(f"{spec.model} asks to run {arch!r}; if you trust that code, allow it with --arch {arch}")
