"""A simple method with a value a pixel: input times gradient, channels added. Its maps have both signs."""

from __future__ import annotations

import torch
from torch import Tensor

from audit.attribution import Attribution, Cost, Method
from audit.attribution.method import Choose


class InputTimesGradient(Method):
    """sum_channels x dy^c/dx, signed."""

    name = "input-x-gradient"
    description = "Input times gradient, channels added"
    paper = "none"
    backward_passes = "1"
    pixels = True

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        """Explain the classes that `choose` picks."""
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            outputs = self.classifier.module(leaf)
            ids = choose(self.classifier.class_logits(outputs.detach()))
            sums = self._target_sums(outputs, ids)
            slopes = torch.stack([torch.autograd.grad(total, leaf, retain_graph=True)[0] for total in sums], dim=1)
        return self._finish((images[:, None] * slopes).sum(dim=2), ids, outputs.detach())

    @property
    def grid(self) -> tuple[int, int]:
        size = self.classifier.preprocessing.fit.size
        return size, size

    def cost(self, targets: int) -> Cost:
        return Cost(1, targets)
