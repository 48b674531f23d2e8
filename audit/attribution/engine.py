"""The engine: batches of images to maps, with the cheapest exact gradient at the target layer.

A method says how the layer's activation A and the slopes dy^c/dA become a map. The engine obtains both in the cheapest
exact way that the certificate of the head allows (`audit.attribution.heads`).

A class that several outputs name has y^c = logsumexp of theirs, so dy^c is theirs weighted by their softmax.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from audit.attribution.heads import Head, certify
from audit.attribution.taps import evaluating, tapped
from audit.models.classifier import Classifier

Choose = Callable[[Tensor], Tensor]
"""From class logits [B, C] to the class ids [B, K] to explain; -1 leaves a slot empty."""


@dataclass(frozen=True)
class Attribution:
    """What explaining a batch gives.

    Attributes:
        maps: [B, K, h, w] float32 raw maps; NaN in empty slots and for classes without an output.
        class_ids: [B, K] int64; -1 in empty slots.
        logits: [B, C] float32; -inf for classes without an output.
        probabilities: [B, C] float32.
    """

    maps: Tensor
    class_ids: Tensor
    logits: Tensor
    probabilities: Tensor


class _Evidence(NamedTuple):
    """What one batch leaves for `combine` and for the tables."""

    slopes: Tensor
    activation: Tensor
    class_ids: Tensor
    outputs: Tensor


class WeightedActivations(ABC):
    """Maps by weighted activations, batched over images and over classes of each image; a context manager.

    Args:
        classifier: whose module is put in eval mode until the context ends.

    Example:
        with GradCAM(classifier) as explain:
            maps, logits = explain(images, class_ids)
    """

    name: ClassVar[str]
    description: ClassVar[str]
    paper: ClassVar[str]
    forward_passes: ClassVar[int] = 1
    """Of an image."""
    backward_passes: ClassVar[int] = 1
    """Of a target, from the outputs to the layer; none where the head is linear. 0: the method needs no gradients."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self._exits = ExitStack()
        with evaluating(classifier.module):
            self.head: Head = certify(classifier)

    def __enter__(self) -> Self:
        self._exits.enter_context(evaluating(self.classifier.module))
        return self

    def __exit__(self, *_error: object) -> None:
        self._exits.close()

    def __call__(self, images: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [B, 3, H, W] and class ids [B, K] -> raw maps [B, K, h, w] float32 and class logits [B, C]."""
        found = self.attribute(images, lambda _logits: class_ids)
        return found.maps, found.logits

    def attribute(self, images: Tensor, choose: Choose) -> Attribution:
        """Explain the classes that `choose` picks from the logits; the forward pass runs once."""
        slopes, activation, ids, outputs = self._pass()(images, choose)
        maps = self.combine(slopes, activation)
        empty = (ids < 0) | ~torch.from_numpy(self.classifier.named)[ids]
        maps = maps.masked_fill(empty[:, :, None, None], torch.nan)
        return Attribution(
            maps, ids.clone(), self.classifier.class_logits(outputs), self.classifier.probabilities(outputs)
        )

    @abstractmethod
    def combine(self, slopes: Tensor, activation: Tensor) -> Tensor:
        """Slopes dy/dA and A [B, channels, h, w] -> maps [B, K, h, w].

        Slopes are [B, K, channels, h, w], or [B, K, channels, 1, 1] where they are the same at all positions, as for a
        linear or pooled head: write for both by broadcasting. They are zeros for a method without backward passes,
        unless the head is linear.
        """

    def _pass(self) -> Callable[[Tensor, Choose], _Evidence]:
        if self.head.kind == "linear":
            return self._closed_form
        if not self.backward_passes:
            return self._forward_only
        return self._at_mean if self.head.kind == "pooled" else self._at_layer

    def _closed_form(self, images: Tensor, choose: Choose) -> _Evidence:
        activation, outputs = self._forward(images)
        ids = choose(self.classifier.class_logits(outputs))
        slopes = self._class_weights(outputs, ids) / activation.shape[2:].numel()
        return _Evidence(slopes[:, :, :, None, None], activation, ids, outputs)

    def _forward_only(self, images: Tensor, choose: Choose) -> _Evidence:
        activation, outputs = self._forward(images)
        ids = choose(self.classifier.class_logits(outputs))
        slopes = torch.zeros(()).expand(*ids.shape, activation.shape[1], 1, 1)
        return _Evidence(slopes, activation, ids, outputs)

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's activation and the outputs, without a graph."""
        seen: list[Tensor] = []
        # A copy: the next module may work in place.
        keep = tapped(self.classifier.target_layer, lambda output: seen.append(output.clone()))
        with torch.inference_mode(), keep:
            outputs = self.classifier.module(images)
        return seen[-1], outputs

    def _class_weights(self, outputs: Tensor, ids: Tensor) -> Tensor:
        """[B, K, channels] dy^c/dm of a linear head for the classes of each image."""
        weights = self.head.weights
        assert weights is not None
        members = self.classifier.members[ids]
        if members.shape[2] == 1:
            return weights[members[:, :, 0]]
        share = torch.softmax(_gather(outputs, members) + self.classifier.membership[ids], dim=2).nan_to_num()
        return torch.einsum("bkg,bkgc->bkc", share, weights[members])

    def _at_mean(self, images: Tensor, choose: Choose) -> _Evidence:
        seen: list[Tensor] = []

        def pool(output: Tensor) -> Tensor:
            seen.append(output)
            return output.mean(dim=(2, 3), keepdim=True)

        mean, outputs = self._forward_from_layer(images, pool)
        ids = choose(self.classifier.class_logits(outputs.detach()))
        slopes = self._gradients(outputs, ids, mean) / seen[-1].shape[2:].numel()
        return _Evidence(slopes, seen[-1], ids, outputs.detach())

    def _at_layer(self, images: Tensor, choose: Choose) -> _Evidence:
        activation, outputs = self._forward_from_layer(images, lambda output: output)
        ids = choose(self.classifier.class_logits(outputs.detach()))
        slopes = self._gradients(outputs, ids, activation)
        return _Evidence(slopes, activation.detach(), ids, outputs.detach())

    def _forward_from_layer(self, images: Tensor, transform: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Run the model with a graph that begins at the transformed layer output; the trunk keeps none."""
        leaves: list[Tensor] = []

        def begin_graph(output: Tensor) -> Tensor:
            leaf = transform(output).detach().requires_grad_()
            leaves.append(leaf)
            torch.set_grad_enabled(True)  # undone by the no_grad block around the forward pass
            return leaf.clone()

        with torch.no_grad(), tapped(self.classifier.target_layer, begin_graph):
            outputs = self.classifier.module(images)
        return leaves[-1], outputs

    def _gradients(self, outputs: Tensor, ids: Tensor, leaf: Tensor) -> Tensor:
        """[B, K, *leaf] gradient of each target's logit; images of a batch do not touch one another in eval mode."""
        with torch.enable_grad():
            members = self.classifier.members[ids]
            known = torch.from_numpy(self.classifier.named)[ids] & (ids >= 0)
            # A logsumexp of nothing has a NaN gradient, which would reach the image's other targets.
            membership = self.classifier.membership[ids].masked_fill(~known[:, :, None], 0)
            values = torch.logsumexp(_gather(outputs, members) + membership, dim=2)
            sums = torch.where(known, values, 0).sum(dim=0)
        rows = [torch.autograd.grad(total, leaf, retain_graph=True)[0] for total in sums]
        return torch.stack(rows, dim=1)


def _gather(outputs: Tensor, members: Tensor) -> Tensor:
    """outputs [B, outputs] at members [B, K, G] -> [B, K, G]."""
    return outputs.gather(1, members.flatten(1)).view_as(members)
