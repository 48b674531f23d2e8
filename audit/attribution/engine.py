"""The engine: batches of images to maps, with the cheapest exact gradient at the target layer.

A method says how the slopes dy^c/dA become weights of the layer's activation A, and these a map. The engine obtains
both in the cheapest exact way that the certificate of the head allows (`audit.attribution.heads`).

A class that several outputs name has y^c = logsumexp of theirs, so dy^c is theirs weighted by their softmax.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from audit.attribution.heads import Head, certify, gradient
from audit.attribution.method import Attribution, Choose, Cost, Method, Weighted, gather
from audit.attribution.taps import ONE_AT_A_TIME, probing, tapped
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Compiled, Execution
from audit.models.layers import Layout

_NUMBERS_AT_ONCE = 2**24
"""Of gradients at the layer, taken together: 64 MiB, and as much again for each step behind it."""


class _Evidence(NamedTuple):
    """What one batch leaves for `weights` and for the tables."""

    slopes: Tensor
    activation: Tensor
    class_ids: Tensor
    outputs: Tensor


class WeightedActivations(Method):
    """Maps by weighted activations, batched over images and over classes of each image."""

    backward_passes = "1, from the outputs to the layer; none behind a linear head"

    def __init__(self, classifier: Classifier, execution: Execution = PLAIN) -> None:
        super().__init__(classifier, execution)
        with probing(classifier.module):
            self.certificate: Head = certify(classifier)  # of the network as it came: rounding would hide a bend
        self._compiled: Compiled | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        if self.execution.compiled and self.compiles:
            network = _TappedNetwork(self.classifier.module, self.certificate.layout)
            # While a network is compiled its hooks are traced with it, if they are there before.
            self._exits.enter_context(tapped(self.classifier.target_layer, network.keep, any_thread=True))
            self._compiled = Compiled(network)
        return self

    def __exit__(self, *_error: object) -> None:
        super().__exit__()
        self._compiled = None

    @property
    def grid(self) -> tuple[int, int]:
        return self.certificate.grid

    @property
    def head(self) -> str:
        return self.certificate.kind

    @property
    def any_shape(self) -> bool:
        return self.certificate.layout.kind != "tokens"

    @property
    def compiles(self) -> bool:
        return self._pass() in (self._closed_form, self._forward_only)

    def cost(self, targets: int) -> Cost:
        return Cost(1, 0 if self._pass() in (self._closed_form, self._forward_only) else targets)

    def outputs(self, images: Tensor) -> Tensor:
        with ONE_AT_A_TIME:
            self.progress(len(images))
            return self._forward(images.to(self.classifier.device))[1]

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        """Explain the classes that `choose` picks from the logits; the forward pass runs once."""
        slopes, activation, ids, outputs = self._pass()(images, choose)
        self.progress(len(images))
        weights = self.weights(slopes, activation)
        return self._finish(self.combine(weights, activation), ids, outputs, Weighted(activation, weights))

    @abstractmethod
    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        """Slopes dy/dA and A [B, channels, h, w] -> what each channel of A counts for the class, of the slopes' shape.

        Slopes are [B, K, channels, h, w], or [B, K, channels, 1, 1] where they are the same at all positions, as for a
        linear or pooled head: write for both by broadcasting, and give either. They are zeros for a method without
        backward passes, unless the head is linear.
        """

    def combine(self, weights: Tensor, activation: Tensor) -> Tensor:
        """Weights and A -> maps [B, K, h, w]: unless a method says otherwise, the ReLU of their sum over channels."""
        return weigh(weights, activation).relu_()

    def _pass(self) -> Callable[[Tensor, Choose], _Evidence]:
        if self.head == "linear":
            return self._closed_form
        if self.backward_passes == "none":
            return self._forward_only
        return self._at_mean if self.head == "pooled" else self._at_layer

    def _closed_form(self, images: Tensor, choose: Choose) -> _Evidence:
        activation, outputs = self._forward(images)
        ids = choose(self.classifier.class_logits(outputs))
        slopes = self._class_weights(outputs, ids) / activation.shape[2:].numel()
        return _Evidence(slopes[:, :, :, None, None], activation, ids, outputs)

    def _forward_only(self, images: Tensor, choose: Choose) -> _Evidence:
        activation, outputs = self._forward(images)
        ids = choose(self.classifier.class_logits(outputs))
        slopes = torch.zeros((), device=outputs.device).expand(*ids.shape, activation.shape[1], 1, 1)
        return _Evidence(slopes, activation, ids, outputs)

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's activation [B, channels, h, w] and the outputs, without a graph."""
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            if self._compiled is not None:
                activation, outputs = self._compiled(images)
                return activation, outputs
            network = _TappedNetwork(self.classifier.module, self.certificate.layout)
            with tapped(self.classifier.target_layer, network.keep):
                activation, outputs = network(images)
            return activation, outputs

    def _class_weights(self, outputs: Tensor, ids: Tensor) -> Tensor:
        """[B, K, channels] dy^c/dm of a linear head for the classes of each image."""
        self.certificate = self.certificate.to(outputs.device)
        weights = self.certificate.weights
        assert weights is not None
        members = self.classifier.members[ids]
        if members.shape[2] == 1:
            return weights[members[:, :, 0]]
        share = torch.softmax(gather(outputs, members) + self.classifier.membership[ids], dim=2).nan_to_num()
        # Laid out over all outputs, for one matrix product: gathering weights would copy them for every target.
        return torch.zeros(*ids.shape, len(weights), device=outputs.device).scatter_add_(2, members, share) @ weights

    def _at_mean(self, images: Tensor, choose: Choose) -> _Evidence:
        activations: list[Tensor] = []
        layout = self.certificate.layout

        def pool(output: Tensor) -> Tensor:
            activations.append(layout.to_grid(output))
            return layout.from_grid(activations[-1].mean(dim=(2, 3), keepdim=True))

        mean, outputs = self._forward_from_layer(images, pool)
        ids = choose(self.classifier.class_logits(outputs.detach()))
        slopes = self._gradients(outputs, ids, mean) / activations[-1].shape[2:].numel()
        return _Evidence(slopes, activations[-1].float(), ids, outputs.detach())

    def _at_layer(self, images: Tensor, choose: Choose) -> _Evidence:
        leaf, outputs = self._forward_from_layer(images, lambda output: output)
        ids = choose(self.classifier.class_logits(outputs.detach()))
        slopes = self._gradients(outputs, ids, leaf)
        activation = self.certificate.layout.to_grid(leaf.detach())
        return _Evidence(slopes, activation.float(), ids, outputs.detach())

    def _forward_from_layer(self, images: Tensor, transform: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Run the model with a graph that begins at the transformed layer output; the trunk keeps none."""
        leaves: list[Tensor] = []

        def begin_graph(output: Tensor) -> Tensor:
            leaf = transform(output).detach().requires_grad_()
            leaves.append(leaf)
            torch.set_grad_enabled(True)  # undone by the no_grad block around the forward pass
            return leaf.clone()

        with torch.no_grad(), tapped(self.classifier.target_layer, begin_graph):
            outputs = self.classifier.module(images.contiguous(memory_format=torch.channels_last))
        return leaves[-1], outputs

    def _gradients(self, outputs: Tensor, ids: Tensor, leaf: Tensor) -> Tensor:
        """[B, K, channels, h, w] float32 gradient of each target's logit, on the grid of the leaf."""
        sums = self._target_sums(outputs, ids)
        at_once = max(_NUMBERS_AT_ONCE // leaf.numel(), 1)
        to_grid = self.certificate.layout.to_grid
        rows = [to_grid(row).float() for part in torch.split(sums, at_once) for row in self._gradients_of(part, leaf)]
        return torch.stack(rows, dim=1)

    def _gradients_of(self, values: Tensor, leaf: Tensor) -> Tensor:
        """[K, *leaf] gradients of values [K]: together, which reads the weights of the head once, where that works."""
        one_each = torch.eye(len(values), device=values.device)
        try:
            return gradient(values, leaf, self.classifier, grad_outputs=one_each, is_grads_batched=True)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError:  # a step of the network that has no batched gradient
            return torch.stack([gradient(value, leaf, self.classifier) for value in values])


def weigh(weights: Tensor, activation: Tensor) -> Tensor:
    """Sum over channels of weights [B, K, channels, h, w] or [B, K, channels, 1, 1] times A -> [B, K, h, w].

    The latter takes one matrix product, and no tensor of the former's size.
    """
    return torch.einsum("bkchw,bchw->bkhw", weights, activation)


class _TappedNetwork(nn.Module):
    """A network that gives its target layer's activation beside its outputs, once `keep` taps that layer."""

    def __init__(self, network: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.network = network
        self._layout = layout
        self._kept: list[Tensor] = []

    def keep(self, output: Tensor) -> None:
        self._kept.append(output.clone())  # a copy: the next module may work in place

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] -> activation [B, channels, h, w] and outputs [B, outputs], both float32."""
        self._kept.clear()
        outputs = self.network(images)
        return self._layout.to_grid(self._kept.pop()).float(), outputs.float()
