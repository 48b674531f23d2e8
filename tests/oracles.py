"""Slow oracles: each formula once more, in plain loops, sharing nothing with the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]


def bilinear_at(cells: NDArray[np.floating], y: float, x: float) -> float:
    """Value at (y, x) in cell units, the first cell's centre at 0.5; constant beyond the outermost centres."""
    h, w = cells.shape
    y, x = min(max(y - 0.5, 0), h - 1), min(max(x - 0.5, 0), w - 1)
    total = 0.0
    for i in {floor(y), ceil(y)}:
        for j in {floor(x), ceil(x)}:
            total += (1 - abs(y - i)) * (1 - abs(x - j)) * float(cells[i, j])
    return total


def gradcam(module: nn.Module, layer: nn.Module, image: Tensor, outputs: Sequence[int], rectify: bool = True) -> Tensor:
    """Grad-CAM [h, w] of one image [3, H, W] and the logsumexp of some outputs; its graph spans the whole model."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output.retain_grad()
        kept.append(output)
        return output.clone()

    handle = layer.register_forward_hook(keep)
    with torch.enable_grad():
        logits = module(image[None].clone().requires_grad_())[0]
        torch.autograd.backward(torch.logsumexp(logits[list(outputs)], dim=0))
    handle.remove()
    module.zero_grad(set_to_none=True)
    activation, gradient = kept[-1].detach()[0], kept[-1].grad
    assert gradient is not None
    total = torch.zeros(activation.shape[1:])
    for channel, slope in zip(activation, gradient[0], strict=True):
        total += slope.mean() * channel
    return total.clamp(min=0) if rectify else total


def pulled(module: nn.Module, layer: nn.Module, image: Tensor, outputs: Sequence[int]) -> tuple[Floats, Floats]:
    """Activation and gradient [channels, h, w] of one image and the logsumexp of some outputs, in double precision."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    handle = layer.register_forward_hook(keep)
    with torch.enable_grad():
        logits = module(image[None].clone().requires_grad_())[0]
        gradient = torch.autograd.grad(torch.logsumexp(logits[list(outputs)], dim=0), kept[-1])[0]
    handle.remove()
    return kept[-1].detach()[0].double().numpy(), gradient[0].double().numpy()


def _weighted(weights: Sequence[float], activation: Floats) -> Floats:
    total = np.zeros(activation.shape[1:])
    for weight, channel in zip(weights, activation, strict=True):
        total += weight * channel
    return total


def counterfactual(activation: Floats, gradient: Floats) -> Floats:
    """Grad-CAM of the negated score [h, w]."""
    return np.maximum(_weighted([-slopes.mean() for slopes in gradient], activation), 0)


def gradcam_plus_plus(activation: Floats, gradient: Floats) -> Floats:
    """Grad-CAM++ [h, w] (Chattopadhay et al. 2018) with alpha as printed in eq. 19, cell by cell."""
    weights = []
    for channel, slopes in zip(activation, gradient, strict=True):
        alphas = [g**2 / (2 * g**2 + channel.sum() * g**3) if g > 0 else 0.0 for g in slopes.flat]
        weights.append(sum(alpha * max(g, 0) for alpha, g in zip(alphas, slopes.flat, strict=True)))
    return np.maximum(_weighted(weights, activation), 0)


def xgradcam(activation: Floats, gradient: Floats) -> Floats:
    """XGrad-CAM [h, w] (Fu et al. 2020); channels without activation add nothing."""
    weights = []
    for channel, slopes in zip(activation, gradient, strict=True):
        total = channel.sum()
        weights.append(sum(g * a / total for g, a in zip(slopes.flat, channel.flat, strict=True)) if total else 0.0)
    return np.maximum(_weighted(weights, activation), 0)


def hirescam(activation: Floats, gradient: Floats) -> Floats:
    """HiResCAM [h, w] (Draelos and Carin 2020)."""
    total = np.zeros(activation.shape[1:])
    for channel, slopes in zip(activation, gradient, strict=True):
        total += channel * slopes
    return total


def layercam(activation: Floats, gradient: Floats) -> Floats:
    """LayerCAM [h, w] (Jiang et al. 2021)."""
    return np.maximum(hirescam(activation, np.maximum(gradient, 0)), 0)


def eigencam(activation: Floats, _gradient: Floats) -> Floats:
    """Eigen-CAM [h, w] (Muhammad and Yeasin 2020) by a full singular value decomposition, agreeing with the sum."""
    rows = activation.reshape(len(activation), -1).T
    found = rows @ np.linalg.svd(rows)[2][0]
    sign = -1 if found @ rows.sum(axis=1) < 0 else 1
    return (sign * found).reshape(activation.shape[1:])


def eigengradcam(activation: Floats, gradient: Floats) -> Floats:
    """Eigen-CAM of the products [h, w]."""
    return eigencam(activation * gradient, gradient)


def class_logit(outputs: Floats, group: Sequence[int]) -> float:
    """Logit of "any of the group's outputs" of one row of outputs."""
    return float(np.log(sum(np.exp(outputs[index]) for index in group))) if group else -np.inf


def level_of(value: float) -> int:
    """The largest of 256 levels l with l / 256 <= value, 0 if none."""
    return max([level for level in range(256) if level / 256 <= value], default=0)


def level_counts(heat: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels [256] of each level among the chosen."""
    counts = np.zeros(256, np.int64)
    for value, wanted in zip(heat.flat, chosen.flat, strict=True):
        counts[level_of(float(value))] += bool(wanted)
    return counts


def segment(heat: NDArray[np.floating], class_ids: Sequence[int], threshold: float) -> NDArray[np.int64]:
    """Class + 1 of the highest of the maps [K, H, W] where it reaches the threshold, else 0; ties to the earlier."""
    rows, columns = heat.shape[1:]
    found = np.zeros((rows, columns), np.int64)
    for row in range(rows):
        for column in range(columns):
            best = max(range(len(heat)), key=lambda k: (heat[k, row, column], -k))
            if heat[best, row, column] >= threshold:
                found[row, column] = class_ids[best] + 1
    return found


def confusion_matrix(
    pairs: Sequence[tuple[NDArray[np.integer], NDArray[np.integer]]], class_count: int
) -> NDArray[np.int64]:
    """Pixels [true, predicted] pooled over pairs of a true and a predicted segmentation; void (-1) left out."""
    matrix = np.zeros((class_count + 1, class_count + 1), np.int64)
    for true, predicted in pairs:
        for t, p in zip(true.flat, predicted.flat, strict=True):
            if t >= 0:
                matrix[t, p] += 1
    return matrix


def class_ious(matrix: NDArray[np.int64]) -> Floats:
    """IoU of each class of a confusion matrix; NaN where it never occurs."""
    ious = np.full(len(matrix), np.nan)
    for i in range(len(matrix)):
        union = matrix[i].sum() + matrix[:, i].sum() - matrix[i, i]
        if union:
            ious[i] = matrix[i, i] / union
    return ious


def iou(found: NDArray[np.bool_], objects: NDArray[np.bool_], valid: NDArray[np.bool_]) -> float:
    """Intersection over union on the valid pixels; NaN without any."""
    both = either = 0
    for f, o, v in zip(found.flat, objects.flat, valid.flat, strict=True):
        both += bool(v and f and o)
        either += bool(v and (f or o))
    return both / either if either else float("nan")


def energy(heat: NDArray[np.floating], objects: NDArray[np.floating], valid: NDArray[np.floating]) -> float:
    """Heat on the object over heat on what counts, each pixel or cell by its share; NaN without any."""
    inside = total = 0.0
    for h, o, v in zip(heat.flat, objects.flat, valid.flat, strict=True):
        inside += float(h) * float(o)
        total += float(h) * float(v)
    return inside / total if total > 1e-9 * float(heat.sum()) else float("nan")


def pointing_hit(
    point: tuple[int, int], objects: NDArray[np.bool_], valid: NDArray[np.bool_], tolerance: float
) -> bool | None:
    """Whether any object pixel lies within the tolerance of the point; None if not and the point is void."""
    for row in range(objects.shape[0]):
        for column in range(objects.shape[1]):
            if objects[row, column] and np.hypot(row - point[0], column - point[1]) <= tolerance:
                return True
    return False if valid[point] else None


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Share of pairs of a positive and a negative in which the positive scores higher, ties half."""
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, p in zip(scores, positive, strict=True)
        for b, q in zip(scores, positive, strict=True)
        if p and not q
    ]
    return sum(wins) / len(wins)


def cell_shares(
    chosen: NDArray[np.bool_], box: tuple[float, float, float, float], grid: int, start: tuple[int, int] = (0, 0)
) -> Floats:
    """Share [grid, grid] of each cell of the box (x0, y0, x1, y1) that the chosen pixels, begun at `start`, cover."""
    x0, y0, x1, y1 = box
    tall, wide = (y1 - y0) / grid, (x1 - x0) / grid
    shares = np.zeros((grid, grid))
    for row, column in zip(*np.nonzero(chosen), strict=True):
        top, left = row + start[0], column + start[1]
        for i in range(grid):
            high = min(y0 + (i + 1) * tall, top + 1) - max(y0 + i * tall, top)
            if high <= 0:
                continue
            for j in range(grid):
                broad = min(x0 + (j + 1) * wide, left + 1) - max(x0 + j * wide, left)
                shares[i, j] += high * max(broad, 0) / (tall * wide)
    return shares


def shift_shares(heat: Floats, objects: Floats, valid: Floats) -> tuple[float, float]:
    """p_low and p_high of one map: every torus shift tried. An undefined energy counts on both sides."""
    observed = energy(heat, objects, valid)
    rows, columns = heat.shape
    low = high = 0
    for i in range(rows):
        for j in range(columns):
            rolled = np.roll(heat, (i, j), (0, 1))
            total = (rolled * valid).sum()
            value = (rolled * objects).sum() / total if total > 1e-9 * heat.sum() else np.nan
            undefined = np.isnan(value) or np.isnan(observed)
            low += undefined or value <= observed + 1e-6
            high += undefined or value >= observed - 1e-6
    return low / (rows * columns), high / (rows * columns)


def ssim(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Mean SSIM of two pictures in 0..1 over all whole 7 x 7 windows (Wang et al. 2004, equation 13; flat windows)."""
    found = []
    for top in range(first.shape[0] - 6):
        for left in range(first.shape[1] - 6):
            a, b = (picture[top : top + 7, left : left + 7].ravel() for picture in (first, second))
            covariance = np.cov(a, b)
            luminance = (2 * a.mean() * b.mean() + 0.01**2) / (a.mean() ** 2 + b.mean() ** 2 + 0.01**2)
            structure = (2 * covariance[0, 1] + 0.03**2) / (covariance[0, 0] + covariance[1, 1] + 0.03**2)
            found.append(luminance * structure)
    return float(np.mean(found))
