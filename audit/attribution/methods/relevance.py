"""Steps of layer-wise relevance propagation, as gradients that a step gives back in the place of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_STABILISER = 1e-6

Linear = Callable[..., Tensor]
"""A function of tensors that is linear in the first, as a convolution; called with a weight and a bias."""


def stabilised(values: Tensor) -> Tensor:
    """Values as denominators: away from 0 by a little, on their own side."""
    return values + torch.where(values >= 0, _STABILISER, -_STABILISER)


def in_proportion(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """A sum, or a mean, whose relevance goes to what was added in proportion: R_i = x_i f'(R / f(x))_i.

    The gradient that arrives and that is given back is relevance.
    """
    output: Tensor = _InProportion.apply(function, *inputs)
    return output


def by_gamma(function: Linear, values: Tensor, weight: Tensor, bias: Tensor | None, gamma: float) -> Tensor:
    """A linear step under the generalised gamma rule (Montavon et al. 2019; Andeol et al. 2021).

    The gradient that arrives and that is given back is relevance divided by activation. For outputs above 0, weights
    count w + gamma w+ where the input is above 0 and w + gamma w- where it is below, so that what speaks for the output
    counts more; for outputs below 0 the other way round. Without gamma this is the plain gradient (the epsilon rule).
    """
    if not gamma:
        return function(values, weight, bias)
    output: Tensor = _ByGamma.apply(function, values, weight, bias, gamma)
    return output


class _InProportion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(*inputs)
        return function(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        leaves = [values.detach().requires_grad_() for values in ctx.saved_tensors]
        with torch.enable_grad():
            output = ctx.function(*leaves)
        shares = torch.autograd.grad(output, leaves, gradients[0] / stabilised(output.detach()))
        return None, *(leaf.detach() * share for leaf, share in zip(leaves, shares, strict=True))


class _ByGamma(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Linear, values: Tensor, weight: Tensor, bias: Tensor | None, gamma: float
    ) -> Tensor:
        output = function(values, weight, bias)
        ctx.function, ctx.gamma, ctx.bias = function, gamma, bias
        ctx.save_for_backward(values, weight, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        values, weight, output = ctx.saved_tensors
        more, less = ((part, _with_more(ctx.bias, ctx.gamma, sign)) for part, sign in _raised(weight, ctx.gamma))
        above, below = (part.detach().requires_grad_() for part in (values.clamp(min=0), values.clamp(max=0)))
        with torch.enable_grad():
            positive = ctx.function(above, *more) + ctx.function(below, less[0], None)
            negative = ctx.function(above, *less) + ctx.function(below, more[0], None)
        relevance = gradients[0] * output
        shares = (
            relevance * (output > 0) / stabilised(positive.detach()),
            relevance * (output < 0) / stabilised(negative.detach()),
        )
        up, down = torch.autograd.grad((positive, negative), (above, below), shares)
        return None, torch.where(values >= 0, up, down), None, None, None


def _raised(weight: Tensor, gamma: float) -> list[tuple[Tensor, int]]:
    return [(_with_more(weight, gamma, sign), sign) for sign in (1, -1)]


def _with_more(weight: Any, gamma: float, sign: int) -> Any:
    """Weights with their positive (1) or negative (-1) part raised."""
    return None if weight is None else weight + gamma * sign * (sign * weight).clamp(min=0)
