"""Attention, found and made explicit: which blocks of a network attend over its grid, and with which weights.

Kernels that fuse attention hide its weights A = softmax(Q K' / sqrt(d)). While `ExplicitAttention` is in force, every
call that attends is computed step by step, whichever library makes it: `scaled_dot_product_attention` (timm,
transformers, open_clip), `nn.MultiheadAttention` (torchvision, open_clip), or a softmax over a square of scores.
Nothing is changed in the network itself, so it is left as it came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from audit.attribution.method import Method
from audit.attribution.taps import probing
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution
from audit.models.layers import Layout

Look = Callable[[Tensor], Tensor]
"""Given attention [B, heads, queries, keys], gives what is to be used in its place."""


class ExplicitAttention(TorchFunctionMode):
    """Compute attention step by step, and hand every matrix of its weights to `look`."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._look = look

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention:
            return self.attend(*args, **kwargs)
        if function is F.multi_head_attention_forward:
            return self._multi_head(*args, **kwargs)
        output = function(*args, **kwargs)
        square = function in _SOFTMAX and output.ndim == 4 and output.shape[-1] == output.shape[-2] > 1
        return self._look(output) if square else output

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """What `scaled_dot_product_attention` gives in eval mode, [B, heads, queries, d]."""
        if enable_gqa:
            key, value = (part.repeat_interleave(query.shape[-3] // part.shape[-3], -3) for part in (key, value))
        scores = self.product(query, key.transpose(-2, -1)) * (scale or 1 / math.sqrt(query.shape[-1]))
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
        return self.product(self._look(scores.softmax(dim=-1)), value)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """The matrix product of two activations."""
        return left @ right

    def linear(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """A linear layer of multi-head attention."""
        return F.linear(values, weight, bias)

    def _multi_head(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed_dim_to_check: int,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        bias_k: Tensor | None,
        bias_v: Tensor | None,
        add_zero_attn: bool,
        dropout_p: float,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        attn_mask: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """What `nn.MultiheadAttention` gives in eval mode for [length, B, channels]; it has told nobody the weights."""
        if bias_k is not None or bias_v is not None or add_zero_attn or options.get("key_padding_mask") is not None:
            raise ModelError("Expected plain multi-head attention, got one with padding or tokens of its own")
        weights = [options.get(f"{name}_proj_weight") for name in "qkv"]
        if in_proj_weight is not None:
            weights = list(in_proj_weight.chunk(3))
        biases = [None] * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
        heads = []
        for values, weight, bias in zip((query, key, value), weights, biases, strict=True):
            assert weight is not None
            projected = self.linear(values, weight, bias)
            heads.append(projected.view(*projected.shape[:2], num_heads, -1).permute(1, 2, 0, 3))
        attended = self.attend(heads[0], heads[1], heads[2], attn_mask).permute(2, 0, 1, 3).flatten(2)
        return self.linear(attended, out_proj_weight, out_proj_bias), None


_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


@dataclass(frozen=True)
class Blocks:
    """The blocks of a network that attend over all tokens of its grid.

    Attributes:
        names: of the modules, each with one attention and tokens [B, prefix + h w, C] as its output, in their order.
        layout: of the tokens.
        side: of their grid, for the classifier's own input size.
    """

    names: tuple[str, ...]
    layout: Layout
    side: int


def find_blocks(classifier: Classifier, method: str) -> Blocks:
    """Find a network's blocks by running it: the largest modules with one attention each that give tokens.

    Raises:
        ModelError: the network has no attention, or attends within windows only.
    """
    calls, shapes = _attention_calls(classifier)
    names = [_block(call, calls, shapes) for call in calls]
    found = [name for name in names if name is not None]
    layouts = {Layout.of(shapes[name]) for name in found}
    layout = next(iter(layouts), None)
    if len(found) < len(names) or len(layouts) != 1 or layout is None:
        raise ModelError(
            f"Expected a network whose every block attends over all of its grid for --method {method}, found "
            f"{len(found)} such blocks; use --method gradcam"
        )
    return Blocks(tuple(found), layout, isqrt(shapes[found[0]][1] - layout.prefix))


def _attention_calls(classifier: Classifier) -> tuple[list[tuple[str, ...]], dict[str, tuple[int, ...]]]:
    """For each attention of tokens to themselves the modules that it lies in, outermost first; and what each gives.

    Attention within windows counts as lying in none.
    """
    within: list[str] = []
    calls: list[tuple[str, ...]] = []
    shapes: dict[str, tuple[int, ...]] = {}

    def look(attention: Tensor) -> Tensor:
        if attention.shape[-1] == attention.shape[-2]:  # else it pools
            calls.append(tuple(within) if len(attention) == 2 else ())
        return attention

    def leave(name: str, output: object) -> None:
        within.pop()
        if isinstance(output, Tensor) and output.ndim == 3:
            shapes[name] = tuple(output.shape)

    with probing(classifier.module), ExitStack() as hooks:
        for name, part in classifier.module.named_modules():
            enter = part.register_forward_pre_hook(lambda _part, _inputs, name=name: within.append(name))
            exit_ = part.register_forward_hook(lambda _part, _inputs, output, name=name: leave(name, output))
            hooks.callback(enter.remove)
            hooks.callback(exit_.remove)
        # Two images: a window's attention has more rows than these.
        with torch.inference_mode(), ExplicitAttention(look):
            classifier.module(classifier.example().expand(2, -1, -1, -1))
    return calls, shapes


def _block(call: tuple[str, ...], calls: list[tuple[str, ...]], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The outermost module of a call that no other call lies in, and that gives tokens with a grid."""
    others = {name for other in calls if other is not call for name in other}
    own = [name for name in call if name not in others and name in shapes]
    return next((name for name in own if Layout.of(shapes[name]) is not None), None)


class AttentionMethod(Method):
    """Maps from the attention of a network's blocks.

    Raises:
        ModelError: not every block attends over all of the grid.
    """

    def __init__(self, classifier: Classifier, execution: Execution = PLAIN) -> None:
        super().__init__(classifier, execution)
        self.blocks = find_blocks(self.classifier, self.name)

    @property
    def grid(self) -> tuple[int, int]:
        return self.blocks.side, self.blocks.side

    def on_grid(self, tokens: Tensor) -> Tensor:
        """Values of tokens [B, tokens] -> [B, h, w], without those ahead of the grid's."""
        return self.blocks.layout.to_grid(tokens[:, :, None])[:, 0]

    def modules(self) -> list[nn.Module]:
        """The blocks themselves, in their order."""
        return [self.classifier.module.get_submodule(name) for name in self.blocks.names]
