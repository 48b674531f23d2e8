"""Weighted activations: maps that are a sum over the layer's channels, each weighted by what it does for the class.

With A^k channel k of the target layer (h x w, Z = h w positions), y^c the logit of class c and g_ij^k = dy^c/dA_ij^k:

- CAM (Zhou et al., CVPR 2016, eq. 2): L^c = sum_k w_k^c A^k, for global average pooling and linear weights w.
- Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): alpha_k^c = (1/Z) sum_ij g_ij^k, L^c = ReLU(sum_k alpha_k^c A^k).
- The others are variations on these two; each class gives its formula.

Each class gives its weights; `slopes` are g, broadcast over positions where they do not differ (see
`WeightedActivations.weights`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.attribution.engine import WeightedActivations, weigh
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution


class GradCAM(WeightedActivations):
    """Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): what speaks for the class."""

    name = "gradcam"
    description = "ReLU of the activations weighted by the mean gradient of the class logit"
    paper = "Selvaraju et al., ICCV 2017"

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        return _mean(slopes)


class CAM(WeightedActivations):
    """Class activation map (Zhou et al., CVPR 2016, eq. 2), negative evidence kept.

    Raises:
        ModelError: the head is not global average pooling followed by a linear layer.
    """

    name = "cam"
    description = "activations weighted by the class's row of the linear layer behind global average pooling"
    paper = "Zhou et al., CVPR 2016"
    backward_passes = "none"

    def __init__(self, classifier: Classifier, execution: Execution = PLAIN) -> None:
        super().__init__(classifier, execution)
        if self.head != "linear":
            layer = classifier.layer
            raise ModelError(
                f"CAM needs global average pooling and a linear layer behind {layer!r}; use --method gradcam"
            )

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        return slopes * activation.shape[2:].numel()

    def combine(self, weights: Tensor, activation: Tensor) -> Tensor:
        return weigh(weights, activation)


class GradCAMPlusPlus(WeightedActivations):
    """Grad-CAM++ (Chattopadhay et al., WACV 2018): a weight for each position, so that small regions count in full.

    w_k = sum_ij alpha_ij^k ReLU(g_ij^k) and L = ReLU(sum_k w_k A^k), with alpha for an exponential of the score,
    alpha_ij^k = g^2 / (2 g^2 + g^3 sum_ab A_ab^k) (eq. 19), here divided by g^2: where g is 0, ReLU(g) is too. The
    factor exp(y^c) of the paper's gradient is the same at all positions and left out.

    Peers depart from the paper: pytorch-grad-cam adds 1e-6 to the denominator, which outweighs g^2 where gradients are
    small; torchcam puts g^3 inside the sum over positions. For a layer with negative outputs, which the paper does not
    consider, the denominator may come near 0 and the map be unreliable.
    """

    name = "gradcam++"
    description = "Grad-CAM with positive gradients only, weighted by position through higher derivatives"
    paper = "Chattopadhay et al., WACV 2018"

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        total = activation.sum(dim=(2, 3), keepdim=True)[:, None]
        positive = slopes.relu()
        return _mean(positive / (2 + positive * total)) * activation.shape[2:].numel()


class XGradCAM(WeightedActivations):
    """XGrad-CAM (Fu et al., BMVC 2020): gradients averaged by each position's share of its channel's activation.

    w_k = sum_ij g_ij^k A_ij^k / sum_ab A_ab^k and L = ReLU(sum_k w_k A^k). A channel whose activation sums to 0, for a
    layer behind a ReLU one that is 0 everywhere, has weight 0. Equal to Grad-CAM where g is the same at all positions.
    """

    name = "xgradcam"
    description = "Grad-CAM with the gradient averaged by each position's share of the activation"
    paper = "Fu et al., BMVC 2020"

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        total = activation.sum(dim=(2, 3), keepdim=True)
        share = activation / total.where(total != 0, torch.inf)
        return torch.einsum("bkchw,bchw->bkc", slopes, share)[:, :, :, None, None]


class HiResCAM(WeightedActivations):
    """HiResCAM (Draelos and Carin 2020), negative evidence kept: L = sum_k g^k A^k, element by element.

    For a linear or pooled head it is Grad-CAM before its ReLU; for one linear layer behind the flattened activation the
    map adds up to the logit less its bias.
    """

    name = "hirescam"
    description = "activations times gradients, element by element, summed over channels"
    paper = "Draelos and Carin, arXiv 2011.08891, 2020"

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        return slopes

    def combine(self, weights: Tensor, activation: Tensor) -> Tensor:
        return weigh(weights, activation)


class LayerCAM(WeightedActivations):
    """LayerCAM (Jiang et al., IEEE TIP 2021) of one layer: L = ReLU(sum_k ReLU(g^k) A^k), element by element."""

    name = "layercam"
    description = "activations times positive gradients, element by element, summed over channels"
    paper = "Jiang et al., IEEE TIP 2021"

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        return slopes.relu()


class EigenCAM(WeightedActivations):
    """Eigen-CAM (Muhammad and Yeasin, IJCNN 2020): A projected on its first principal direction.

    It asks for no class: every target of an image has the same map. See `first_component` for the sign, which the paper
    leaves open. Peers depart from the paper: pytorch-grad-cam takes the mean over positions off first, leaves the sign
    to chance and drops what is negative.
    """

    name = "eigencam"
    description = "first principal component of the activations; the same map for every class"
    paper = "Muhammad and Yeasin, IJCNN 2020"
    backward_passes = "none"

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        alike = torch.ones((), device=slopes.device)  # of no class: all channels count alike
        return alike.expand(slopes.shape[:3])[:, :, :, None, None]

    def combine(self, weights: Tensor, activation: Tensor) -> Tensor:
        return first_component(activation)[:, None].expand(-1, weights.shape[1], -1, -1)


class EigenGradCAM(WeightedActivations):
    """Eigen-CAM of the activations times their gradients, element by element, so that it depends on the class.

    Made known by pytorch-grad-cam, without a paper of its own; there the mean over positions is taken off first, here
    not, as in Eigen-CAM's paper. Its sign is the one that agrees with HiResCAM: heat speaks for the class.
    """

    name = "eigengradcam"
    description = "first principal component of the activations times gradients"
    paper = "after Muhammad and Yeasin, IJCNN 2020"

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        return slopes

    def combine(self, weights: Tensor, activation: Tensor) -> Tensor:
        return first_component(weights * activation[:, None])


class Counterfactual(GradCAM):
    """Counterfactual Grad-CAM (Selvaraju et al., ICCV 2017, on counterfactual explanations): what speaks against.

    Grad-CAM with the gradient of -y^c.
    """

    name = "counterfactual"
    description = "Grad-CAM of the negated class logit: what speaks against the class"

    def weights(self, slopes: Tensor, activation: Tensor) -> Tensor:
        return super().weights(-slopes, activation)


def first_component(values: Tensor) -> Tensor:
    """Values [..., channels, h, w] projected on their first right singular vector, positions as rows -> [..., h, w].

    Singular vectors have no sign of their own: the projection gets the one in which it agrees (inner product) with the
    sum over channels, so it is nowhere negative if the values are not. NaN where any value is not finite.
    """
    scale = values.abs().amax(dim=(-3, -2, -1), keepdim=True)
    # Scaled, squares of small gradients do not vanish; what is not finite would stop the whole batch.
    rows = (values / scale).nan_to_num(0, 0, 0).flatten(-2).mT
    positions, channels = rows.shape[-2:]
    if positions <= channels:
        strengths, vectors = torch.linalg.eigh(rows @ rows.mT)
        projection = vectors[..., -1] * strengths[..., -1:].clamp(min=0).sqrt()
    else:
        projection = (rows @ torch.linalg.eigh(rows.mT @ rows)[1][..., -1:]).squeeze(-1)
    agreement = (projection * rows.sum(dim=-1)).sum(dim=-1, keepdim=True)
    signed = torch.where(agreement >= 0, projection, -projection)
    return signed.view(values.shape[:-3] + values.shape[-2:]) * scale.squeeze(-3)


def _mean(slopes: Tensor) -> Tensor:
    return slopes.mean(dim=(3, 4), keepdim=True)
