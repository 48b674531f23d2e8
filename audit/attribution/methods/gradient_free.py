"""Gradient-free class activation maps: a layer's channels weighted by what passes say of each, ReLU(sum_k w_k^c A^k).

- Score-CAM (Wang et al., CVPRW 2020): channels weighted by y^c of the image seen through them.
- Ablation-CAM (Desai and Ramaswamy, WACV 2020): channels weighted by how far y^c drops when one of them is zero.

One set of passes serves all targets of an image.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from audit.attribution.heads import Head, certify
from audit.attribution.method import Attribution, Choose, Cost, Method, Weighted, gather
from audit.attribution.methods.perturbation import LEAST_BATCH, outputs_through, parts_of, read_scores
from audit.attribution.taps import probing, tapped
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution

_NUMBERS_AT_ONCE = 2**24
"""Of ablated activations: 64 MiB."""


class WeightedByPasses(Method):
    """Maps ReLU(sum_k w_k^c A^k) whose weights come from forward passes, of the class logit y^c."""

    def __init__(self, classifier: Classifier, execution: Execution = PLAIN) -> None:
        super().__init__(classifier, execution)
        with probing(classifier.module):
            self.certificate: Head = certify(classifier)  # of the network as it came: rounding would hide a bend

    @property
    def grid(self) -> tuple[int, int]:
        return self.certificate.grid

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        """Explain the classes that `choose` picks from the logits of the image as it is."""
        images = images.contiguous(memory_format=torch.channels_last)
        activation, outputs = self._tapped_outputs(images)
        ids = choose(self.classifier.class_logits(outputs))
        weights = self.weights(images, activation, outputs, ids)
        maps = torch.einsum("bck,bchw->bkhw", weights, activation).relu()
        return self._finish(maps, ids, outputs, Weighted(activation, weights.mT[:, :, :, None, None]))

    @abstractmethod
    def weights(self, images: Tensor, activation: Tensor, outputs: Tensor, ids: Tensor) -> Tensor:
        """Weights [B, channels, K] of A [B, channels, h, w] for class ids [B, K]."""

    def _tapped_outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A [B, channels, h, w] and outputs, both float32. Not compiled: a compiled network does not see new hooks."""
        kept: list[Tensor] = []
        keep = tapped(self.classifier.target_layer, lambda output: kept.append(output.clone()))
        with torch.inference_mode(), keep:
            outputs = self.classifier.module(images)
            activation = self.certificate.layout.to_grid(kept.pop()).float()
        self.progress(len(images))
        return activation, outputs


class ScoreCAM(WeightedByPasses):
    """Score-CAM (Wang et al., CVPRW 2020, algorithm 1): w_k = softmax over k of y^c(I * s(Up(A^k))) - y^c(0).

    Up is bilinear (align_corners = false), s scales what it gives to 0..1 (eq. 6), the score is the logit. The softmax
    takes no notice of the baseline y^c(0), which is the same for all channels: no pass is spent on it. A channel that
    is the same everywhere has no part, neither in the map nor in the softmax.

    Others differ: the authors' code weights the channels by the probability p(c) of the masked image, without baseline
    or softmax, and adds them up at the input's resolution; pytorch-grad-cam upsamples with align_corners = true;
    torchcam scales channels before it upsamples them. Both count constant channels in the softmax, as black masks.
    """

    name = "scorecam"
    description = "activations weighted by the softmax of the class logits of the image seen through each channel"
    paper = "Wang et al., CVPRW 2020"
    forward_passes = "1 + channels of the layer"

    @property
    def compiles(self) -> bool:
        return True

    def cost(self, targets: int) -> Cost:
        return Cost(1 + self.certificate.channels, 0)

    def weights(self, images: Tensor, activation: Tensor, outputs: Tensor, ids: Tensor) -> Tensor:
        constant = (activation.amax(dim=(2, 3)) == activation.amin(dim=(2, 3)))[:, :, None]
        scores = [
            read_scores(self._through(images, activation[:, which]), ids, self.classifier.class_logits)
            for which in (part.to(activation.device) for part in parts_of(activation.shape[1], len(images)))
        ]
        shares = torch.cat(scores, dim=1).masked_fill(constant, -torch.inf).softmax(dim=1)
        return torch.where(constant, 0, shares)

    def _through(self, images: Tensor, channels: Tensor) -> Tensor:
        """Outputs [B, n, outputs] of images seen through channels [B, n, h, w] of their own."""
        masks = F.interpolate(channels, images.shape[2:], mode="bilinear", align_corners=False)
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        return outputs_through(self, images, (masks - low) / (high - low).where(high > low, 1))


class AblationCAM(WeightedByPasses):
    """Ablation-CAM (Desai and Ramaswamy, WACV 2020): w_k = y^c - y_k^c, with y_k^c the logit when A^k is zero.

    The paper divides by y^c (eq. 6), the same for all channels; here not: a negative y^c would turn the map round.
    pytorch-grad-cam divides, and puts a very negative number in the place of A^k unless the layer's least value is 0.

    Behind a linear head y_k = y - W_k mean(A^k): no further pass. Else only what is behind the layer matters: the trunk
    runs once for many ablated activations, where the network takes them beside a trunk of one image (tried once, on
    noise), and the mean of A is enough behind a pooled head. Each ablated channel counts as a pass.
    """

    name = "ablationcam"
    description = "activations weighted by the drop of the class logit when their channel is zero"
    paper = "Desai and Ramaswamy, WACV 2020"
    forward_passes = "1 + channels of the layer, from the layer on where possible; 1 behind a linear head"

    @property
    def head(self) -> str:
        return self.certificate.kind

    def cost(self, targets: int) -> Cost:
        return Cost(1 if self.head == "linear" else 1 + self.certificate.channels, 0)

    def weights(self, images: Tensor, activation: Tensor, outputs: Tensor, ids: Tensor) -> Tensor:
        whole = read_scores(outputs[:, None], ids, self.classifier.class_logits)
        if self.head == "linear":
            return whole - self._closed_form(activation, outputs, ids)
        return whole - torch.cat([self._ablated(images[i : i + 1], ids[i : i + 1]) for i in range(len(images))])

    def _closed_form(self, activation: Tensor, outputs: Tensor, ids: Tensor) -> Tensor:
        """[B, channels, K] class logits without each channel, from the weights of a linear head."""
        self.certificate = self.certificate.to(outputs.device)
        weights = self.certificate.weights
        assert weights is not None
        rows, mean = [], activation.mean(dim=(2, 3))[:, :, None]
        for slot in ids.T.clamp(min=0):
            members, membership = self.classifier.members[slot], self.classifier.membership[slot]
            left = (gather(outputs, members[:, None]) + membership[:, None]) - weights[members].mT * mean
            rows.append(left.logsumexp(dim=2))
        return torch.stack(rows, dim=2)

    def _ablated(self, image: Tensor, ids: Tensor) -> Tensor:
        """[1, channels, K] class logits of one image [1, 3, H, W] without each channel."""
        rows = []
        for channels in torch.split(torch.arange(self.certificate.channels, device=image.device), self._at_once):
            copies = image if self._trunk_runs_alone else image.expand(len(channels), -1, -1, -1)
            outputs = _without(self.classifier, self.certificate, copies, channels)
            rows.append(read_scores(outputs[None], ids, self.classifier.class_logits))
            self.progress(len(channels))
        return torch.cat(rows, dim=1)

    @property
    def _at_once(self) -> int:
        if not self._trunk_runs_alone:
            return LEAST_BATCH
        height, width = self.grid if self.head == "general" else (1, 1)
        return max(_NUMBERS_AT_ONCE // (self.certificate.channels * height * width), LEAST_BATCH)

    @cached_property
    def _trunk_runs_alone(self) -> bool:
        """Whether ablated activations of any number fit beside a trunk of one image, and give what they should."""
        noise = torch.randn(self.classifier.example().shape, generator=torch.Generator().manual_seed(0))
        noise = noise.to(self.classifier.device)
        channels = torch.arange(self.certificate.channels, device=noise.device)[:3]
        expected = _without(self.classifier, self.certificate, noise.expand(len(channels), -1, -1, -1), channels)
        try:
            outputs = _without(self.classifier, self.certificate, noise, channels)
        except Exception:  # as where the head joins the layer's output to the trunk's by channel
            return False
        return outputs.shape == expected.shape and torch.allclose(outputs, expected, rtol=1e-2, atol=1e-3)


def _without(classifier: Classifier, head: Head, images: Tensor, channels: Tensor) -> Tensor:
    """Outputs [n, outputs] when one channel each is zero in the layer's output, for n images or for n times one."""

    def ablate(output: Tensor) -> Tensor:
        if head.kind == "pooled":
            output = head.layout.from_grid(head.layout.to_grid(output).mean(dim=(2, 3), keepdim=True))
        copies = output.expand(len(channels), *output.shape[1:]).clone(memory_format=torch.contiguous_format)
        rows = torch.arange(len(channels), device=copies.device)
        head.layout.to_grid(copies)[rows, channels] = 0  # a view of the copies
        return copies

    with torch.inference_mode(), tapped(classifier.target_layer, ablate):
        outputs: Tensor = classifier.module(images)
    return outputs
