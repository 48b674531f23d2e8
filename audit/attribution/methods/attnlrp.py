"""AttnLRP: relevance propagated through a transformer, attention and all, down to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audit.attribution.method import Attribution, Choose
from audit.attribution.methods.attention import ExplicitAttention
from audit.attribution.methods.backprop import InputGradient
from audit.attribution.methods.relevance import by_gamma
from audit.attribution.taps import probing
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution


class AttnLRP(InputGradient):
    """AttnLRP (Achtibat et al., ICML 2024), as input times a gradient whose steps follow its rules.

    - softmax (eq. 13) and linear steps: the gradient as it is, or for the latter the gamma rule (`by_gamma`)
    - the product of two activations (eq. 14, 15), of matrices or element by element: half to each factor
    - an activation function (eq. 9) and a division by a norm: relevance passes as it came, so x f(x)/x with the ratio
      held; layer normalisation (3.3.3) holds its deviation

    The map is the sum over colours of the normalised input times that gradient, signed. Without gamma, and but for what
    biases take, it adds up to the logit. The authors give relevance through linear steps by the gamma rule for vision
    transformers, and choose gamma by trial.

    Args:
        gamma: of linear layers.
        conv_gamma: of convolutions.

    Raises:
        ValueError: a gamma below 0.
        ModelError: the network has no attention.
    """

    name = "attnlrp"
    description = "relevance through attention, norms and linear layers by LRP's rules, at the pixels"
    paper = "Achtibat et al., ICML 2024"

    def __init__(
        self,
        classifier: Classifier,
        execution: Execution = PLAIN,
        *,
        gamma: float = 0.05,
        conv_gamma: float = 0.25,
    ) -> None:
        super().__init__(classifier, execution)
        if min(gamma, conv_gamma) < 0:
            raise ValueError(f"Expected a gamma of at least 0, got {min(gamma, conv_gamma)}")
        self.gamma = gamma
        self.conv_gamma = conv_gamma
        if not _attends(self.classifier):
            raise ModelError("Expected a network with attention for --method attnlrp, found none; use --method lrp")

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        colours, class_ids, outputs = self.gradients(images, choose)
        self.progress(len(images))
        maps = (colours * images[:, None]).sum(dim=2)
        return self._finish(self._blank_overflow(maps, class_ids, outputs), class_ids, outputs)

    def rule(self) -> AbstractContextManager[object]:
        return _Rules(self.gamma, self.conv_gamma)


def _attends(classifier: Classifier) -> bool:
    calls: list[int] = []

    def look(attention: Tensor) -> Tensor:
        calls.append(len(attention))
        return attention

    with probing(classifier.module), torch.inference_mode(), ExplicitAttention(look):
        classifier.module(classifier.example())
    return bool(calls)


class _Rules(ExplicitAttention):
    """The rules for every call made meanwhile, by a module or as a function. Parameters have no gradient."""

    def __init__(self, gamma: float, conv_gamma: float) -> None:
        super().__init__(lambda attention: attention)
        self._gamma = gamma
        self._steps: dict[str, Callable[..., Any]] = {
            "linear": self.linear,
            "conv2d": partial(_convolution, conv_gamma),
            "layer_norm": _layer_norm,
            "rms_norm": _rms_norm,
            "normalize": _normalise,
            "matmul": self.product,
            "bmm": self.product,
            "mul": lambda a, b: halved(a) * halved(b),
            "div": lambda a, b: a / b.detach(),
            "truediv": lambda a, b: a / b.detach(),
        }

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(function, "__name__", "").strip("_"), kwargs or {}
        if name in _ACTIVATIONS and args and _is_active(args[0]):
            return _held(args[0], function(*args, **kwargs))
        if name in _OF_TWO and not (len(args) == 2 and all(map(_is_active, args)) and not kwargs):
            return function(*args, **kwargs)
        if name in self._steps:
            return self._steps[name](*args, **kwargs)
        return super().__torch_function__(function, types, args, kwargs)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        return halved(left) @ halved(right)

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return by_gamma(F.linear, input, weight, bias, self._gamma)


_ACTIVATIONS = ("gelu", "silu", "mish", "hardswish", "elu", "sigmoid", "hardsigmoid", "tanh")
_OF_TWO = ("matmul", "bmm", "mul", "div", "truediv")
"""Steps with a rule where both arguments follow from the image."""


def halved(values: Tensor) -> Tensor:
    """The values, with half of their gradient."""
    return torch.lerp(values, values.detach(), 0.5)


def _held(values: Tensor, output: Tensor) -> Tensor:
    """The output as values times what it is of them, the ratio held."""
    ratio = output.detach() / torch.where(values == 0, 1, values.detach())
    return values * torch.where(values == 0, 0.5, ratio) + torch.where(values == 0, output.detach(), 0)


def _is_active(value: Any) -> bool:
    """Whether a value follows from the image."""
    return isinstance(value, Tensor) and value.requires_grad


def _convolution(
    gamma: float, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    return by_gamma(lambda x, w, b: F.conv2d(x, w, b, *args, **kwargs), input, weight, bias, gamma)


# The parameters are called as torch calls them, since calls may name them.
def _layer_norm(
    input: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_cudnn: Any,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    centred = input - input.mean(dim=axes, keepdim=True)
    deviation = (centred.detach().square().mean(dim=axes, keepdim=True) + eps).sqrt()
    return _affine(centred / deviation, weight, bias)


def _rms_norm(
    input: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    least = torch.finfo(input.dtype).eps if eps is None else eps
    size = (input.detach().square().mean(dim=axes, keepdim=True) + least).sqrt()
    return _affine(input / size, weight, None)


def _affine(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    values = values if weight is None else values * weight
    return values if bias is None else values + bias


def _normalise(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, **_out: Any) -> Tensor:
    size: Tensor = input.detach().norm(p, dim, keepdim=True)
    return input / size.clamp(min=eps)
