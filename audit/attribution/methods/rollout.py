"""Attention rollout with gradients: relevance of tokens carried through the attention of all blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from audit.attribution.method import Attribution, Choose, Cost
from audit.attribution.methods.attention import AttentionMethod, ExplicitAttention
from audit.attribution.methods.backprop import without_parameter_gradients
from audit.attribution.taps import tapped


class GradientRollout(AttentionMethod):
    """Attention rollout with gradients (Chefer et al., ICCV 2021, eq. 5 and 6): R <- R + E_h((dy^c/dA * A)+) R.

    A [heads, tokens, tokens] is the attention of a block, E_h the mean over heads, R begins as the identity. The map is
    the row of R that the head reads, less its beginning: for a class token its own row; where several tokens are
    read, as by a mean, their rows weighted by the size of the gradient that reaches each behind the last block.

    The authors' method of CVPR 2021 multiplies the same factors, with relevance by LRP in the place of A.
    """

    name = "gradient-rollout"
    description = "attention times its gradient, positive part, mean of heads, multiplied through all blocks"
    paper = "Chefer et al., ICCV 2021"
    backward_passes = "1, from the outputs to the first block"

    def cost(self, targets: int) -> Cost:
        return Cost(1, targets)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        with without_parameter_gradients(self.classifier.module), torch.enable_grad():
            attentions, tokens, attended = self._run(images)
            outputs = attended.detach()
            class_ids = choose(self.classifier.class_logits(outputs))
            sums = self._target_sums(attended, class_ids)
            rows = [torch.autograd.grad(value, [tokens, *attentions], retain_graph=True) for value in sums]
        self.progress(len(images))
        maps = [self.on_grid(_carried(slopes[0], attentions, slopes[1:])) for slopes in rows]
        return self._finish(torch.stack(maps, dim=1), class_ids, outputs)

    def _run(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Attention of every block, the last's tokens, and the outputs; the graph begins at the first attention."""
        attentions: list[Tensor] = []
        tokens: list[Tensor] = []

        def keep(attention: Tensor) -> Tensor:
            if attention.shape[-1] == attention.shape[-2]:
                attentions.append(attention if attentions else attention.detach().requires_grad_())
                return attentions[-1]
            return attention

        with tapped(self.modules()[-1], tokens.append), ExplicitAttention(keep):
            outputs: Tensor = self.classifier.module(images)
        return attentions, tokens[-1], outputs


def _carried(read: Tensor, attentions: list[Tensor], slopes: tuple[Tensor, ...]) -> Tensor:
    """Relevance [B, tokens] of what the head reads, carried from the last block to the first.

    Args:
        read: [B, tokens, C] gradient at the last block's tokens.
        attentions: [B, heads, tokens, tokens] of each block.
        slopes: gradients there.
    """
    size = read.norm(dim=2)
    start = size / size.sum(dim=1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)
    relevance: Tensor = start
    for attention, slope in zip(reversed(attentions), reversed(slopes), strict=True):
        step = (attention.detach() * slope).relu().mean(dim=1)
        relevance = relevance + torch.einsum("bi,bij->bj", relevance, step)
    carried: Tensor = relevance - start
    return carried
