"""LeGrad: how a class logit read off each block's tokens changes with that block's attention."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from audit.attribution.method import Attribution, Choose, Cost
from audit.attribution.methods.attention import AttentionMethod, ExplicitAttention
from audit.attribution.methods.backprop import without_parameter_gradients
from audit.attribution.taps import tapped
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution

READOUTS = ("head", "mean")
"""Which tokens of a block the class is read off: those that the network's head reads, or the mean of all."""


class LeGrad(AttentionMethod):
    """LeGrad (Bousselham et al., ICCV 2025, arXiv 2404.03214): L = mean over blocks l of mean_{h,i} ReLU(dy_l^c/dA_l).

    A_l [heads, tokens, tokens] is the attention of block l, and y_l^c the class logit with that block's tokens in the
    place of the last block's. The mean goes over heads h and queries i; what is left is a value for each key. The map
    is given as it is, where the paper scales it to 0..1.

    The authors' package explains the last two blocks of a CLIP and reads the mean of all tokens: `layers=2` and
    `readout=mean` give its maps. Where it has a rule of its own for heads that pool by attention, here the attention of
    the blocks is taken for these as well.

    Args:
        layers: how many blocks are taken, counted from the last; 0 for all.
        readout: one of `READOUTS`.

    Raises:
        ValueError: fewer layers than none, or another readout.
        ModelError: see `find_blocks`.
    """

    name = "legrad"
    description = "positive gradient of the class logit at each block's attention, mean of blocks, heads and queries"
    paper = "Bousselham et al., ICCV 2025"
    backward_passes = "1, from the outputs to each block's attention"

    def __init__(
        self, classifier: Classifier, execution: Execution = PLAIN, *, layers: int = 0, readout: str = "head"
    ) -> None:
        super().__init__(classifier, execution)
        if layers < 0:
            raise ValueError(f"Expected `layers` of at least 0, got {layers}")
        if readout not in READOUTS:
            raise ValueError(f"Expected `readout` to be one of {', '.join(READOUTS)}, got {readout!r}")
        self.layers = layers
        self.readout = readout

    def cost(self, targets: int) -> Cost:
        return Cost(1, targets)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        with without_parameter_gradients(self.classifier.module), torch.enable_grad():
            attentions, read = self._read(images)
            outputs = read[-len(images) :].detach()  # of the last block as it is
            class_ids = choose(self.classifier.class_logits(outputs))
            sums = self._target_sums(read[: -len(images)], class_ids.repeat(len(attentions), 1))
            rows = [torch.autograd.grad(value, attentions, retain_graph=True) for value in sums]
        self.progress(len(images))
        means = [torch.stack([slopes.relu().mean(dim=(1, 2)) for slopes in row]).mean(dim=0) for row in rows]
        maps = torch.stack([self.on_grid(tokens) for tokens in means], dim=1)
        return self._finish(maps, class_ids, outputs)

    def _read(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Attention of the blocks taken, and outputs [(taken + 1) B, outputs]: read off each, then as they are."""
        attentions: list[Tensor] = []
        tokens: list[Tensor] = []
        blocks = self.modules()

        def begin(attention: Tensor) -> Tensor:
            if attention.shape[-1] != attention.shape[-2]:
                return attention
            attentions.append(attention.detach().requires_grad_())
            return attentions[-1]

        def part(output: Tensor, last: bool) -> Tensor:
            tokens.append(output)
            # Apart from the next block, so that a logit's gradient stays within the block that it is read off.
            return self._gathered(tokens) if last else output.detach()

        with ExitStack() as taps:
            for block in blocks:
                taps.enter_context(tapped(block, partial(part, last=block is blocks[-1])))
            with ExplicitAttention(begin):
                outputs: Tensor = self.classifier.module(images)
        return attentions[-self.layers :], outputs

    def _gathered(self, tokens: list[Tensor]) -> Tensor:
        """Tokens of the blocks taken, as they are to be read, and those of the last as they are: batches end to end."""
        taken = tokens[-self.layers :]
        if self.readout == "mean":
            taken = [own.mean(dim=1, keepdim=True).expand_as(own) for own in taken]
        return torch.cat([*taken, tokens[-1]])
