"""Any scalar of a network's output as a target: a caption's log-probability, an answer's logit, a box's score.

Grad-CAM asks of the score y^c only that it can be differentiated (Selvaraju et al., ICCV 2017, section 3, which also
takes captions and answers to questions). So a network whose output is no row of logits becomes one whose outputs are
the scalars wanted, and every method explains it as it explains a classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.models.classifier import Classifier, Preprocessing
from audit.models.layers import find_target_layer

Scalar = Callable[[Any], Tensor]
"""From all that a network gives for images [B, 3, H, W], of any structure, to one value an image [B]."""


class ScalarNetwork(nn.Module):
    """A network that gives scalars of another one's output: images [B, 3, H, W] -> [B, scalars]."""

    def __init__(self, network: nn.Module, scalars: Mapping[str, Scalar]) -> None:
        super().__init__()
        self.network = network
        self._scalars = dict(scalars)

    def forward(self, images: Tensor) -> Tensor:
        output = self.network(images)
        return torch.stack([scalar(output) for scalar in self._scalars.values()], dim=1)

    def check(self, images: Tensor) -> None:
        """Refuse scalars that do not give one value an image."""
        with torch.inference_mode():
            output = self.network(images)
            for name, scalar in self._scalars.items():
                value = scalar(output)
                came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                if came != (len(images),):
                    raise ModelError(f"Expected scalar {name!r} to give [B] = ({len(images)},), got {came}; correct it")


def scalar_outputs(
    module: nn.Module,
    scalars: Mapping[str, Scalar],
    *,
    preprocessing: Preprocessing,
    layer: str | None = None,
) -> Classifier:
    """A classifier whose classes are scalars of a module's output; probabilities are the values as they are.

    Args:
        module: called with images [B, 3, size, size]; it may give anything. What else it takes, such as a question,
            belongs into a module around it. It is put in eval mode.
        scalars: a name for each, and how it comes from what the module gives: [B], an image's value its own, with
            the graph that led to it.
        preprocessing: makes the images.
        layer: dotted name of the target layer inside `module`; found by running it if None.

    Raises:
        ValueError: no scalars.
        ModelError: the layer does not exist, or a scalar is not [B].

    Example:
        classifier = scalar_outputs(network, {"either": group(3, 7)}, preprocessing=Preprocessing(Fit(224)))
    """
    if not scalars:
        raise ValueError("Expected at least one scalar, got none; name one, as {'caption': log_probability}")
    if layer is not None and layer not in dict(module.named_modules()):
        near = ", ".join(name for name, _ in module.named_children())
        raise ModelError(f"Expected `layer` to name a module, got {layer!r}; top-level modules: {near}")
    size = preprocessing.fit.size
    network = ScalarNetwork(module, scalars).eval()
    network.check(torch.zeros(2, 3, size, size))
    mapping = ClassMapping(tuple(scalars), tuple((index,) for index in range(len(scalars))))
    place = f"network.{layer}" if layer else find_target_layer(network, torch.zeros(1, 3, size, size))
    return Classifier(network, preprocessing, mapping, place, "none")


def group(*outputs: int) -> Scalar:
    """The logit of "any of these outputs", their logsumexp, for a network that gives logits [B, outputs].

    >>> group(0, 2)(torch.tensor([[0.0, 5.0, 0.0]]))
    tensor([0.6931])
    """
    return lambda logits: torch.logsumexp(logits[:, list(outputs)], dim=1)
