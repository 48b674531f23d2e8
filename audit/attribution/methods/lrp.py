"""Layer-wise relevance propagation for convolutional networks, by zennit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from audit.attribution.method import Attribution, Choose
from audit.attribution.methods.backprop import Gradients, InputGradient, without_parameter_gradients
from audit.attribution.methods.relevance import in_proportion
from audit.attribution.taps import ONE_AT_A_TIME, probing
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution


class LRP(InputGradient):
    """LRP (Bach et al., PLoS ONE 2015) with zennit's composite epsilon-plus-flat (after Montavon et al. 2019).

    Linear layers pass relevance on by the epsilon rule, convolutions by z+, the first by the flat rule; pooling, and
    sums of branches, in proportion. Batch normalisation is merged into the convolution before it. The class begins with
    a relevance of 1, and the map is summed over colours.

    zennit sees modules. Sums and means that a network makes by functions, as residual networks do, are looked after
    here, so that networks of any library will do.

    Raises:
        ModelError: zennit is not installed, or the network has a step without a rule, as a gate or attention; or its
            batch normalisation cannot be merged.
    """

    name = "lrp"
    description = "relevance of the class passed back layer by layer: epsilon, z+ and flat rules, at the pixels"
    paper = "Bach et al., PLoS ONE 2015"

    def __init__(self, classifier: Classifier, execution: Execution = PLAIN) -> None:
        super().__init__(classifier, execution)
        self._composite = _composite()
        self._check(classifier)  # the network as it came: rounding would hide what merging changes

    def _check(self, classifier: Classifier) -> None:
        """Refuse a network that the rules are not about."""
        module, steps = classifier.module, _InProportion()
        noise = torch.randn(classifier.example().shape, generator=torch.Generator().manual_seed(0))
        noise = noise.to(classifier.device)
        with probing(module), without_parameter_gradients(module), torch.enable_grad():
            with steps:
                plain = module(noise.clone().requires_grad_()).detach()
            if steps.without_rule:
                raise _refused(f"without {steps.without_rule[0]}")
            try:
                with self._composite.context(module):
                    merged = module(noise).detach()
            except RuntimeError:
                raise _refused("whose batch normalisation follows its convolutions") from None
        if not torch.allclose(plain, merged, rtol=1e-3, atol=1e-3 * float(plain.abs().max())):
            raise _refused("whose batch normalisation follows its convolutions")

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        colours, class_ids, outputs = self.gradients(images, choose)
        self.progress(len(images))
        maps = self._blank_overflow(colours.sum(dim=2), class_ids, outputs)
        return self._finish(maps, class_ids, outputs)

    def gradients(self, images: Tensor, choose: Choose) -> Gradients:
        """Inputs [B, 3, H, W] -> relevance of each colour for the classes that `choose` picks from the logits."""
        with ONE_AT_A_TIME, self._composite.context(self.classifier.module):
            return super().gradients(images, choose)

    def rule(self) -> AbstractContextManager[object]:
        return _InProportion()


class _InProportion(TorchFunctionMode):
    """Sums and means of activations, made by functions, pass relevance on in proportion.

    Attributes:
        without_rule: names of the steps seen for which there is no rule.
    """

    def __init__(self) -> None:
        super().__init__()
        self.without_rule: list[str] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(function, "__name__", "").strip("_"), kwargs or {}
        if name in _SUMS and len(args) == 2 and not kwargs and all(map(_is_active, args)):
            total = in_proportion(torch.add, args[0].clone(), args[1])
            return args[0].copy_(total) if function is Tensor.add_ else total
        if name in _MEANS and args and _is_active(args[0]):
            return in_proportion(lambda values: function(values, *args[1:], **kwargs), args[0])
        if name in _WITHOUT_RULE or (name in _GATES and len(args) == 2 and all(map(_is_active, args))):
            self.without_rule.append(_GATES.get(name, name))
        return function(*args, **kwargs)


_SUMS = ("add", "iadd", "radd")
_MEANS = ("mean", "adaptive_avg_pool2d", "avg_pool2d")
_WITHOUT_RULE = ("scaled_dot_product_attention", "multi_head_attention_forward", "softmax", "layer_norm", "group_norm")
_GATES = {"mul": "gates", "imul": "gates", "matmul": "products of activations"}


def _is_active(value: Any) -> bool:
    """Whether a value follows from the image."""
    return isinstance(value, Tensor) and value.requires_grad


def _refused(what: str) -> ModelError:
    return ModelError(f"Expected a network {what} for --method lrp; use --method gradcam, or attnlrp for transformers")


def _composite() -> Any:
    try:
        from zennit.canonizers import SequentialMergeBatchNorm
        from zennit.composites import EpsilonPlusFlat
    except ImportError:
        raise ModelError("zennit is not installed; install it with: pip install 'camaudit[lrp]'") from None
    return EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()])
