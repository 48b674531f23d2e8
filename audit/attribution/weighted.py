"""Weighted activations: maps that are a sum over the layer's channels, each weighted by what it does for the class.

With A^k channel k of the target layer (h x w, Z = h w positions), y^c the logit of class c and g_ij^k = dy^c/dA_ij^k:

- CAM (Zhou et al., CVPR 2016, eq. 2): L^c = sum_k w_k^c A^k, for global average pooling and linear weights w.
- Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): alpha_k^c = (1/Z) sum_ij g_ij^k, L^c = ReLU(sum_k alpha_k^c A^k).

`slopes` are g, broadcast over positions where they do not differ (see `WeightedActivations.combine`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.attribution.engine import WeightedActivations
from audit.errors import ModelError
from audit.models.classifier import Classifier


class GradCAM(WeightedActivations):
    """Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): what speaks for the class."""

    name = "gradcam"
    description = "ReLU of the activations weighted by the mean gradient of the class logit"
    paper = "Selvaraju et al., ICCV 2017"

    def combine(self, slopes: Tensor, activation: Tensor) -> Tensor:
        return weigh(_mean(slopes), activation).relu_()


class CAM(WeightedActivations):
    """Class activation map (Zhou et al., CVPR 2016, eq. 2), negative evidence kept.

    Raises:
        ModelError: the head is not global average pooling followed by a linear layer.
    """

    name = "cam"
    description = "activations weighted by the class's row of the linear layer behind global average pooling"
    paper = "Zhou et al., CVPR 2016"
    backward_passes = 0

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        if self.head.kind != "linear":
            layer = classifier.layer
            raise ModelError(
                f"CAM needs global average pooling and a linear layer behind {layer!r}; use --method gradcam"
            )

    def combine(self, slopes: Tensor, activation: Tensor) -> Tensor:
        return weigh(slopes * activation.shape[2:].numel(), activation)


def weigh(weights: Tensor, activation: Tensor) -> Tensor:
    """Sum over channels of weights [B, K, channels, h, w] or [B, K, channels, 1, 1] times A -> [B, K, h, w].

    The latter takes one matrix product, and no tensor of the former's size.
    """
    return torch.einsum("bkchw,bchw->bkhw", weights, activation)


def _mean(slopes: Tensor) -> Tensor:
    return slopes.mean(dim=(3, 4), keepdim=True)


METHODS: dict[str, type[WeightedActivations]] = {method.name: method for method in (GradCAM, CAM)}
"""Methods by the name that `camaudit run --method` takes."""
