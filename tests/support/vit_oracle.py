"""A ViT of torchvision step by step, from its weights, and what LeGrad, rollout and AttnLRP say of it by their papers.

The gradients are autograd's over these plain steps; relevance is propagated rule by rule, as relevance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

HEADS, WIDTH, SIDE, PATCH, BLOCKS, CLASSES = 2, 24, 64, 16, 3, 10


def build() -> VisionTransformer:
    """The network, its head and positions away from zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = VisionTransformer(SIDE, PATCH, BLOCKS, HEADS, WIDTH, 48, num_classes=CLASSES)
        for parameter in module.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return module.eval().requires_grad_(False)


class Pass(NamedTuple):
    """What a pass leaves: attention [heads, n, n] of each block, tokens [n, C] behind each, and the logits."""

    attentions: list[Tensor]
    tokens: list[Tensor]
    logits: Tensor


def embed(module: Any, image: Tensor) -> Tensor:
    patches = image.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    tokens = patches @ module.conv_proj.weight.flatten(1).T + module.conv_proj.bias
    return torch.cat([module.class_token[0], tokens]) + module.encoder.pos_embedding[0]


def attention_of(layer: Any, tokens: Tensor) -> Tensor:
    """[heads, n, n] softmax(Q K' / sqrt(d)) head by head."""
    normed = layer.ln_1(tokens)
    weight, bias = layer.self_attention.in_proj_weight, layer.self_attention.in_proj_bias
    query, key = (
        normed @ weight[:WIDTH].T + bias[:WIDTH],
        normed @ weight[WIDTH : 2 * WIDTH].T + bias[WIDTH : 2 * WIDTH],
    )
    size = WIDTH // HEADS
    parts = [slice(head * size, (head + 1) * size) for head in range(HEADS)]
    return torch.stack([(query[:, part] @ key[:, part].T / size**0.5).softmax(dim=1) for part in parts])


def through(layer: Any, tokens: Tensor, attention: Tensor) -> Tensor:
    """Tokens behind a block whose attention is given."""
    weight, bias = layer.self_attention.in_proj_weight, layer.self_attention.in_proj_bias
    value = layer.ln_1(tokens) @ weight[2 * WIDTH :].T + bias[2 * WIDTH :]
    size = WIDTH // HEADS
    mixed = torch.cat([attention[head] @ value[:, head * size : (head + 1) * size] for head in range(HEADS)], dim=1)
    tokens = tokens + layer.self_attention.out_proj(mixed)
    return tokens + layer.mlp(layer.ln_2(tokens))


def read(module: Any, tokens: Tensor) -> Tensor:
    return module.heads(module.encoder.ln(tokens)[0])


def run(module: Any, image: Tensor, leaf: bool) -> Pass:
    """A pass; with `leaf` the first attention begins the graph."""
    tokens, attentions, behind = embed(module, image), [], []
    for layer in module.encoder.layers:
        attention = attention_of(layer, tokens)
        attentions.append(attention.detach().requires_grad_() if leaf and not attentions else attention)
        tokens = through(layer, tokens, attentions[-1])
        behind.append(tokens)
    return Pass(attentions, behind, read(module, tokens))


def legrad(module: Any, image: Tensor, class_id: int, layers: int = 0, mean: bool = False) -> Tensor:
    """[h, w] by eq. 8 to 10 of Bousselham et al.: one block after another, its own attention as the only variable."""
    tokens, maps = embed(module, image), []
    for layer in module.encoder.layers:
        attention = attention_of(layer, tokens).detach().requires_grad_()
        behind = through(layer, tokens, attention)
        logit = read(module, behind.mean(dim=0, keepdim=True) if mean else behind)[class_id]
        (slopes,) = torch.autograd.grad(logit, attention)
        total = torch.zeros(slopes.shape[2])
        for head in range(HEADS):
            for query in range(slopes.shape[1]):
                total += slopes[head, query].clamp(min=0)
        maps.append(total / HEADS / slopes.shape[1])
        tokens = behind.detach()
    chosen = maps[-layers:] if layers else maps
    return (sum(chosen) / len(chosen))[1:].view(SIDE // PATCH, -1)


def rollout(module: Any, image: Tensor, class_id: int) -> Tensor:
    """[h, w] by eq. 5 and 6 of Chefer et al. (ICCV 2021), with the whole matrix R; the row of the class token."""
    made = run(module, image, leaf=True)
    slopes = torch.autograd.grad(made.logits[class_id], made.attentions)
    relevance = torch.eye(made.attentions[0].shape[1])
    for attention, slope in zip(made.attentions, slopes, strict=True):
        mean = sum((attention.detach()[head] * slope[head]).clamp(min=0) for head in range(HEADS)) / HEADS
        relevance = relevance + mean @ relevance
    return relevance[0, 1:].view(SIDE // PATCH, -1)


def attnlrp(module: Any, image: Tensor, class_id: int) -> Tensor:
    """[H, W] relevance of the pixels, by the rules of Achtibat et al. without gamma, from the logit down."""
    made = run(module, image, leaf=False)
    begins = [embed(module, image), *made.tokens[:-1]]
    start = torch.zeros(CLASSES)
    start[class_id] = made.logits[class_id]
    head = module.heads.head
    normed = module.encoder.ln(made.tokens[-1])
    relevance = torch.zeros_like(normed)
    relevance[0] = linear(normed[:1], head.weight, head.bias, start[None])[0]
    relevance = norm(module.encoder.ln, made.tokens[-1], relevance)
    for layer, tokens, attention in reversed(list(zip(module.encoder.layers, begins, made.attentions, strict=True))):
        relevance = block(layer, tokens, attention, relevance)
    embedded = begins[0][1:] - module.encoder.pos_embedding[0, 1:]
    own = relevance[1:] * embedded / safe(begins[0][1:])  # the rest is the positions'
    patches = image.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    back = linear(patches, module.conv_proj.weight.flatten(1), module.conv_proj.bias, own)
    cells = back.view(SIDE // PATCH, SIDE // PATCH, 3, PATCH, PATCH).sum(dim=2)
    return cells.permute(0, 2, 1, 3).reshape(SIDE, SIDE)


def block(layer: Any, tokens: Tensor, attention: Tensor, relevance: Tensor) -> Tensor:
    """Relevance of a block's tokens from that of what it gives."""
    middle = through_attention(layer, tokens, attention)
    normed = layer.ln_2(middle)
    up = layer.mlp[0](normed)
    down = layer.mlp[3](F.gelu(up))
    kept, passed = shared(middle, down, relevance)
    passed = linear(F.gelu(up), layer.mlp[3].weight, layer.mlp[3].bias, passed)
    passed = linear(normed, layer.mlp[0].weight, layer.mlp[0].bias, passed)  # through GELU as it came
    relevance = kept + norm(layer.ln_2, middle, passed)
    kept, passed = shared(tokens, middle - tokens, relevance)
    return kept + norm(layer.ln_1, tokens, attended(layer, layer.ln_1(tokens), attention, passed))


def through_attention(layer: Any, tokens: Tensor, attention: Tensor) -> Tensor:
    weight, bias = layer.self_attention.in_proj_weight, layer.self_attention.in_proj_bias
    value = layer.ln_1(tokens) @ weight[2 * WIDTH :].T + bias[2 * WIDTH :]
    size = WIDTH // HEADS
    mixed = torch.cat([attention[head] @ value[:, head * size : (head + 1) * size] for head in range(HEADS)], dim=1)
    return tokens + layer.self_attention.out_proj(mixed)


def attended(layer: Any, normed: Tensor, attention: Tensor, relevance: Tensor) -> Tensor:
    """Relevance of what enters the attention: through values, and through the softmax to queries and keys."""
    part = layer.self_attention
    query, key, value = (
        normed @ w.T + b for w, b in zip(part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3), strict=True)
    )
    size = WIDTH // HEADS
    spans = [slice(head * size, (head + 1) * size) for head in range(HEADS)]
    mixed = torch.cat([attention[head] @ value[:, span] for head, span in enumerate(spans)], dim=1)
    relevance = linear(mixed, part.out_proj.weight, part.out_proj.bias, relevance)
    to_query, to_key, to_value = (torch.zeros_like(query) for _ in range(3))
    for head, span in enumerate(spans):
        weights = attention[head]
        ratio = relevance[:, span] / safe(weights @ value[:, span])
        to_value[:, span] = value[:, span] * (weights.T @ ratio) / 2
        to_weights = weights * (ratio @ value[:, span].T) / 2
        scores = query[:, span] @ key[:, span].T / size**0.5
        to_scores = scores * (to_weights - weights * to_weights.sum(dim=1, keepdim=True))
        ratio = to_scores / safe(scores) / size**0.5
        to_query[:, span] = query[:, span] * (ratio @ key[:, span]) / 2
        to_key[:, span] = key[:, span] * (ratio.T @ query[:, span]) / 2
    parts = zip(part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3), (to_query, to_key, to_value), strict=True)
    return sum(linear(normed, weight, bias, own) for weight, bias, own in parts)


def linear(values: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor) -> Tensor:
    """The epsilon rule: R_i = x_i sum_j w_ji R_j / (sum_i w_ji x_i + b_j)."""
    return values * ((relevance / safe(values @ weight.T + bias)) @ weight)


def norm(layer: nn.LayerNorm, values: Tensor, relevance: Tensor) -> Tensor:
    """A layer norm as the linear layer that it is once its deviation is held."""
    deviation = (values.var(dim=1, unbiased=False, keepdim=True) + layer.eps).sqrt()
    ratio = relevance / safe(layer(values)) * layer.weight / deviation
    return values * (ratio - ratio.mean(dim=1, keepdim=True))


def shared(first: Tensor, second: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """A sum gives each part its share."""
    ratio = relevance / safe(first + second)
    return first * ratio, second * ratio


def safe(values: Tensor) -> Tensor:
    return torch.where(values == 0, 1e-12, values)
