"""A classifier as the audit needs it: a module with its preprocessing, the data set's classes and a target layer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images import Fit

ACTIVATIONS = ("softmax", "sigmoid", "none")
"""How outputs become probabilities: `softmax` for one class an image, `sigmoid` for a multi-label classifier; `none`
for values that are not logits, one a class, which stay as they are, whether in 0..1 or not."""


@dataclass(frozen=True)
class Preprocessing:
    """From upright images to the network's input: a fit, then per-channel normalisation of values in 0..1."""

    fit: Fit
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def normalise(self, batch: NDArray[np.uint8] | Tensor) -> Tensor:
        """Fitted images [B, size, size, 3] uint8 -> input [B, 3, size, size] float32."""
        pixels = torch.as_tensor(batch)
        # Whole rows beside rows of repeated means: with three channels innermost nothing is vectorised.
        rows = pixels.flatten(2).to(torch.float32)
        mean, std = (
            (torch.tensor(values, device=rows.device) * 255).repeat(pixels.shape[2]) for values in (self.mean, self.std)
        )
        return rows.sub_(mean).div_(std).view(pixels.shape).permute(0, 3, 1, 2)


class _Tables:
    """Tensors that follow a module from device to device, copied when it has moved and no oftener.

    Whoever asks first may be in inference mode, whose tensors no gradient could go past later.
    """

    def __init__(self, *rows: Sequence[Any] | NDArray[Any]) -> None:
        with torch.inference_mode(False):
            self._tensors = tuple(map(torch.tensor, rows))

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        if self._tensors[0].device != device:
            with torch.inference_mode(False):
                self._tensors = tuple(tensor.to(device) for tensor in self._tensors)
        return self._tensors


@dataclass(frozen=True)
class Classifier:
    """A module in eval mode with all that is needed to ask it about a data set's classes.

    Attributes:
        module: maps input [B, 3, size, size] to outputs [B, outputs].
        preprocessing: makes that input.
        mapping: the data set's classes and the outputs that name each.
        layer: dotted name of the target layer, whose output has a grid (`audit.models.layers.Layout`).
        activation: one of `ACTIVATIONS`.
        details: what a run's record says of the model beside, as the words that it was asked for.
    """

    module: nn.Module
    preprocessing: Preprocessing
    mapping: ClassMapping
    layer: str
    activation: str = "softmax"
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.activation == "none" and any(len(outputs) > 1 for outputs in self.mapping.outputs):
            raise ModelError("Expected one output a class with the activation none, got several; map each class to one")

    @property
    def classes(self) -> tuple[str, ...]:
        """The data set's class names; a class id is a position here."""
        return self.mapping.classes

    @property
    def device(self) -> torch.device:
        """Where the module's weights lie; the CPU for a module without any."""
        weights = next(self.module.parameters(), None)
        return torch.device("cpu") if weights is None else weights.device

    @cached_property
    def target_layer(self) -> nn.Module:
        """The module named by `layer`."""
        return self.module.get_submodule(self.layer)

    @cached_property
    def named(self) -> NDArray[np.bool_]:
        """[C] whether the model has an output for the class."""
        return np.array([bool(outputs) for outputs in self.mapping.outputs])

    @property
    def known(self) -> Tensor:
        """[C] `named`, on the device."""
        return self._tables.on(self.device)[0]

    @property
    def members(self) -> Tensor:
        """[C, G] the outputs of each class, the first repeated where a class has fewer than G; on the device."""
        return self._tables.on(self.device)[1]

    @property
    def membership(self) -> Tensor:
        """[C, G] 0 where `members` holds an output of the class, -inf where it is filled up; on the device."""
        return self._tables.on(self.device)[2]

    @cached_property
    def _tables(self) -> _Tables:
        outputs = self.mapping.outputs
        longest = max(map(len, outputs))
        members = [list(o) + [o[0] if o else 0] * (longest - len(o)) for o in outputs]
        membership = [[0.0] * len(o) + [-torch.inf] * (longest - len(o)) for o in outputs]
        return _Tables(self.named, members, membership)

    def class_logits(self, outputs: Tensor) -> Tensor:
        """Outputs [B, outputs] -> logits of the data set's classes [B, C]; -inf for a class without output.

        A class named by several outputs has their logsumexp, the logit of "any of them" under softmax.
        """
        if self.members.shape[1] == 1:
            return outputs[:, self.members[:, 0]] + self.membership[:, 0]
        return torch.logsumexp(outputs[:, self.members] + self.membership, dim=2)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Outputs [B, outputs] -> probability of each class [B, C], in 0..1; with the activation `none` its logit."""
        logits = self.class_logits(outputs)
        if self.activation == "none":
            return logits
        if self.activation == "sigmoid":
            return logits.sigmoid()
        return (logits - torch.logsumexp(outputs, dim=1, keepdim=True)).exp()

    def example(self) -> Tensor:
        """A grey input [1, 3, size, size]."""
        return torch.zeros(1, 3, self.preprocessing.fit.size, self.preprocessing.fit.size, device=self.device)


def weights_fingerprint(module: nn.Module) -> str:
    """sha256 over names, shapes, types and values of all parameters and buffers; first 16 hex digits."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
