"""Weighted activations: maps that are a sum over the layer's channels, each with one weight for each class.

With A^k channel k of the target layer (h x w, Z = h w positions) and y^c the logit of class c:

- CAM (Zhou et al., CVPR 2016, eq. 2): L^c = sum_k w_k^c A^k, for global average pooling and linear weights w.
- Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): alpha_k^c = (1/Z) sum_ij dy^c/dA_ij^k,
  L^c = ReLU(sum_k alpha_k^c A^k).

A class that several outputs name has y^c = logsumexp of theirs, so dy^c is theirs weighted by their softmax.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from audit.attribution.heads import Head, certify
from audit.attribution.taps import evaluating, tapped
from audit.errors import ModelError
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
        run = {"linear": self._closed_form, "pooled": self._at_mean, "general": self._at_layer}[self.head.kind]
        maps, ids, outputs = run(images, choose)
        empty = (ids < 0) | ~torch.from_numpy(self.classifier.named)[ids]
        maps = maps.masked_fill(empty[:, :, None, None], torch.nan)
        return Attribution(
            maps, ids.clone(), self.classifier.class_logits(outputs), self.classifier.probabilities(outputs)
        )

    @abstractmethod
    def combine(self, alpha: Tensor, activation: Tensor) -> Tensor:
        """alpha [B, K, channels] (1/Z sum_ij dy/dA_ij) and A [B, channels, h, w] -> maps [B, K, h, w]."""

    def _closed_form(self, images: Tensor, choose: Choose) -> tuple[Tensor, Tensor, Tensor]:
        seen: list[Tensor] = []
        assert self.head.weights is not None
        with torch.inference_mode():
            # A copy: the next module may work in place.
            with tapped(self.classifier.target_layer, lambda output: seen.append(output.clone())):
                outputs = self.classifier.module(images)
            activation = seen[-1]
            ids = choose(self.classifier.class_logits(outputs))
            alpha = self._class_weights(outputs, ids) / activation.shape[2:].numel()
            maps = self.combine(alpha, activation)
        return maps, ids, outputs

    def _class_weights(self, outputs: Tensor, ids: Tensor) -> Tensor:
        """[B, K, channels] dy^c/dm of a linear head for the classes of each image."""
        weights = self.head.weights
        assert weights is not None
        members = self.classifier.members[ids]
        if members.shape[2] == 1:
            return weights[members[:, :, 0]]
        share = torch.softmax(_gather(outputs, members) + self.classifier.membership[ids], dim=2).nan_to_num()
        return torch.einsum("bkg,bkgc->bkc", share, weights[members])

    def _at_mean(self, images: Tensor, choose: Choose) -> tuple[Tensor, Tensor, Tensor]:
        seen: list[Tensor] = []

        def pool(output: Tensor) -> Tensor:
            seen.append(output)
            return output.mean(dim=(2, 3), keepdim=True)

        mean, outputs = self._forward_from_layer(images, pool)
        ids = choose(self.classifier.class_logits(outputs.detach()))
        slopes = self._gradients(outputs, ids, mean)
        positions = seen[-1].shape[2:].numel()
        maps = self.combine(slopes.flatten(2) / positions, seen[-1])
        return maps, ids, outputs.detach()

    def _at_layer(self, images: Tensor, choose: Choose) -> tuple[Tensor, Tensor, Tensor]:
        activation, outputs = self._forward_from_layer(images, lambda output: output)
        ids = choose(self.classifier.class_logits(outputs.detach()))
        slopes = self._gradients(outputs, ids, activation)
        maps = self.combine(slopes.mean(dim=(3, 4)), activation.detach())
        return maps, ids, outputs.detach()

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


class GradCAM(WeightedActivations):
    """Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): what speaks for the class."""

    name = "gradcam"
    description = "ReLU of the activations weighted by the mean gradient of the class logit"
    paper = "Selvaraju et al., ICCV 2017"

    def combine(self, alpha: Tensor, activation: Tensor) -> Tensor:
        return _weigh(alpha, activation).relu_()


class CAM(WeightedActivations):
    """Class activation map (Zhou et al., CVPR 2016, eq. 2), negative evidence kept.

    Raises:
        ModelError: the head is not global average pooling followed by a linear layer.
    """

    name = "cam"
    description = "activations weighted by the class's row of the linear layer behind global average pooling"
    paper = "Zhou et al., CVPR 2016"

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        if self.head.kind != "linear":
            layer = classifier.layer
            raise ModelError(
                f"CAM needs global average pooling and a linear layer behind {layer!r}; use --method gradcam"
            )

    def combine(self, alpha: Tensor, activation: Tensor) -> Tensor:
        return _weigh(alpha * activation.shape[2:].numel(), activation)


def _weigh(alpha: Tensor, activation: Tensor) -> Tensor:
    h, w = activation.shape[2:]
    return torch.bmm(alpha, activation.flatten(2)).view(*alpha.shape[:2], h, w)


def _gather(outputs: Tensor, members: Tensor) -> Tensor:
    """outputs [B, outputs] at members [B, K, G] -> [B, K, G]."""
    return outputs.gather(1, members.flatten(1)).view_as(members)


METHODS: dict[str, type[WeightedActivations]] = {method.name: method for method in (GradCAM, CAM)}
"""Methods by the name that `camaudit run --method` takes."""
