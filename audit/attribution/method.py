"""What every attribution method is: batches of images and class ids in, raw maps and logits out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from audit.attribution.taps import ONE_AT_A_TIME, evaluating
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Compiled, Execution, in_precision

Choose = Callable[[Tensor], Tensor]
"""From class logits [B, C] to the class ids [B, K] to explain; -1 leaves a slot empty."""


class Cost(NamedTuple):
    """Passes of one image through the network, of any length; a backward pass of one target counts as one."""

    forward: int
    backward: int


class Weighted(NamedTuple):
    """What maps are a weighted sum of.

    Attributes:
        activation: [B, channels, h, w] float32 of the target layer.
        weights: [B, K, channels, h, w], or [B, K, channels, 1, 1] where they are the same at all positions: what the
            method lets each channel count for each class.
    """

    activation: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Attribution:
    """What explaining a batch gives.

    Attributes:
        maps: [B, K, h, w] float32 raw maps; NaN in empty slots and for classes without an output.
        class_ids: [B, K] int64; -1 in empty slots.
        logits: [B, C] float32; -inf for classes without an output.
        probabilities: [B, C] float32.
        weighted: for methods whose maps are a sum over the target layer's channels.
    """

    maps: Tensor
    class_ids: Tensor
    logits: Tensor
    probabilities: Tensor
    weighted: Weighted | None = None

    def on(self, grid: tuple[int, int]) -> Attribution:
        """The same on the grid (h, w) of square inputs: cells that the network was given nothing of have no heat."""
        if self.maps.shape[2:] == grid:
            return self
        weighted = self.weighted and Weighted(
            _padded(self.weighted.activation, grid),
            self.weighted.weights
            if self.weighted.weights.shape[3:] == (1, 1)
            else _padded(self.weighted.weights, grid),
        )
        return replace(self, maps=_padded(self.maps, grid), weighted=weighted)


class Method(ABC):
    """An attribution method for one classifier; a context manager that leaves the classifier's module as it came.

    Threads may share one: a process attributes one batch at a time.

    Args:
        classifier: whose module is in eval mode until the context ends.
        execution: how its network is run.

    Attributes:
        progress: called with the number of images of every forward pass of a method that takes many.

    Example:
        with GradCAM(classifier) as explain:
            maps, logits = explain(images, class_ids)
    """

    name: ClassVar[str]
    description: ClassVar[str]
    paper: ClassVar[str]
    forward_passes: ClassVar[str] = "1"
    """Of an image, in words where they depend on something."""
    backward_passes: ClassVar[str] = "none"
    """Of a target, in words. `none`: the method needs no gradients."""
    moves: ClassVar[bool] = False
    """Whether it looks at an image mirrored or scaled, where a detector's candidates are others."""
    pixels: bool = False
    """Whether maps have the input's resolution instead of a layer's; a method around another has that one's."""

    def __init__(self, classifier: Classifier, execution: Execution = PLAIN) -> None:
        self.classifier = in_precision(classifier, execution.precision)
        self.execution = execution
        self.progress: Callable[[int], None] = lambda _images: None
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        self._exits.enter_context(evaluating(self.classifier.module))
        return self

    def __exit__(self, *_error: object) -> None:
        self._exits.close()

    def __call__(self, images: Tensor, class_ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs [B, 3, H, W] and class ids [B, K] -> raw maps [B, K, h, w] float32 and class logits [B, C].

        Without class ids, the predicted class is explained (K = 1).
        """
        attribution = self.attribute(images, predicted if class_ids is None else lambda _logits: class_ids)
        return attribution.maps, attribution.logits

    def attribute(self, images: Tensor, choose: Choose) -> Attribution:
        """Explain the classes that `choose` picks from the logits, when no other thread runs a network.

        Images and class ids may lie anywhere; what is returned lies on the classifier's device.
        """
        device = self.classifier.device
        with ONE_AT_A_TIME:
            images = images.to(device)
            return self.explain_batch(images, lambda logits: choose(logits).to(device, non_blocking=True))

    @abstractmethod
    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        """What `attribute` gives; each method has its own."""

    @property
    @abstractmethod
    def grid(self) -> tuple[int, int]:
        """(h, w) of the maps for the classifier's own input size."""

    @abstractmethod
    def cost(self, targets: int) -> Cost:
        """Passes that an image with so many targets takes; known before any is made."""

    @property
    def any_shape(self) -> bool:
        """Whether inputs may be of any height and width, their cells those of the square's top left part."""
        return False

    @property
    def compiles(self) -> bool:
        """Whether its passes are compiled where the execution asks for it: those of them that keep no graph."""
        return False

    @property
    def head(self) -> str | None:
        """Kind of the certified head, for methods that use one; see `audit.attribution.heads`."""
        return None

    def outputs(self, images: Tensor) -> Tensor:
        """Outputs [B, outputs] float32 of the network, without a graph; counted as progress."""
        with ONE_AT_A_TIME, torch.inference_mode():
            outputs: Tensor = self._network(images.to(self.classifier.device))
        self.progress(len(images))
        return outputs

    @cached_property
    def _network(self) -> Callable[[Tensor], Tensor]:
        module = self.classifier.module
        return Compiled(module) if self.execution.compiled else module

    def _finish(
        self, maps: Tensor, class_ids: Tensor, outputs: Tensor, weighted: Weighted | None = None
    ) -> Attribution:
        """Maps of whatever was chosen, blanked where there is nothing to explain, with the tables' numbers."""
        nothing = ~self._explained(class_ids)
        maps = maps.float().masked_fill(nothing[:, :, None, None], torch.nan)
        classifier = self.classifier
        logits, probabilities = classifier.class_logits(outputs), classifier.probabilities(outputs)
        return Attribution(maps, class_ids.clone(), logits, probabilities, weighted)

    def _target_sums(self, outputs: Tensor, class_ids: Tensor) -> Tensor:
        """[K] logits of each slot's targets summed over the batch, with their graph.

        Images of a batch do not touch one another in eval mode, so the gradient of a sum holds each image's own.
        """
        with torch.enable_grad():
            members = self.classifier.members[class_ids]
            known = self._explained(class_ids)
            # A logsumexp of nothing has a NaN gradient, which would reach the image's other targets.
            membership = self.classifier.membership[class_ids].masked_fill(~known[:, :, None], 0)
            values = torch.logsumexp(gather(outputs, members) + membership, dim=2)
            return torch.where(known, values, 0).sum(dim=0)

    def _explained(self, class_ids: Tensor) -> Tensor:
        """[B, K] slots that name a class for which the model has an output."""
        return (class_ids >= 0) & self.classifier.known[class_ids]


def predicted(logits: Tensor) -> Tensor:
    """Class ids [B, 1] of the highest logits [B, C]."""
    return logits.argmax(dim=1, keepdim=True)


def _padded(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Values [..., h, w] at the top left of a grid, zeros elsewhere."""
    return torch.nn.functional.pad(values, (0, grid[1] - values.shape[-1], 0, grid[0] - values.shape[-2]))


def gather(outputs: Tensor, members: Tensor) -> Tensor:
    """Outputs [B, outputs] at members [B, K, G] -> [B, K, G]."""
    return outputs.gather(1, members.flatten(1)).view_as(members)
