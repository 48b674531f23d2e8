"""Slow oracles: each formula once more, in plain loops, sharing nothing with the code under test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor
from typing import Any

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


def input_gradient(module: nn.Module, image: Tensor, outputs: Sequence[int]) -> Floats:
    """Gradient [3, H, W] of the logsumexp of some outputs of one image [3, H, W], alone in its batch."""
    leaf = image[None].clone().requires_grad_()
    with torch.enable_grad():
        total = torch.logsumexp(module(leaf.clone())[0][list(outputs)], dim=0)
        return torch.autograd.grad(total, leaf)[0][0].double().numpy()


def saliency(gradient: Floats) -> Floats:
    """Saliency [H, W] of a gradient [3, H, W] (Simonyan et al. 2014, section 3.1), pixel by pixel."""
    found = np.zeros(gradient.shape[1:])
    for row, column in np.ndindex(*found.shape):
        found[row, column] = max(abs(value) for value in gradient[:, row, column])
    return found


def integrated(module: nn.Module, image: Tensor, start: Tensor, outputs: Sequence[int], steps: int) -> Floats:
    """Integrated gradients [H, W] (Sundararajan et al. 2017, eq. 1) by the midpoint rule, step by step."""
    total = np.zeros(tuple(image.shape))
    for step in range(steps):
        point = start + (step + 0.5) / steps * (image - start)
        total += input_gradient(module, point, outputs) / steps
    return (total * (image - start).double().numpy()).sum(axis=0)


def relu_chain(weights: Sequence[Floats], values: Floats, output: int, rule: str) -> Floats:
    """What arrives at the input of a chain of matrices with ReLUs between, from one output, by a rule for ReLUs."""
    entered = []
    for matrix in weights[:-1]:
        entered.append(matrix @ values)
        values = np.array([max(value, 0) for value in entered[-1]])
    arriving = weights[-1][output]
    for matrix, before in zip(reversed(weights[:-1]), reversed(entered), strict=True):
        passed = []
        for r, f in zip(arriving, before, strict=True):
            opened = {"backprop": f > 0, "deconvnet": r > 0, "guided": f > 0 and r > 0}[rule]
            passed.append(r if opened else 0.0)
        arriving = np.array(passed) @ matrix
    return arriving


def on_grid(cells: NDArray[np.floating], side: int) -> Floats:
    """Square cells on a grid [side, side], bilinearly."""
    ratio = len(cells) / side
    return np.array(
        [[bilinear_at(cells, (i + 0.5) * ratio, (j + 0.5) * ratio) for j in range(side)] for i in range(side)]
    )


def layercam_fused(maps: Sequence[Floats], gamma: float) -> Floats:
    """LayerCAM fused [H, W] (Jiang et al. 2021, eq. 9) from square maps of each layer, cell by cell."""
    finest, deepest = max(map(len, maps)), min(map(len, maps))
    fused = np.zeros((finest, finest))
    for one in maps:
        scaled = one / one.max() if one.max() > 0 else one
        if len(one) >= 4 * deepest:
            scaled = np.tanh(gamma * scaled)
        fused = np.maximum(fused, on_grid(scaled, finest))
    return fused


def gradcam_of_scalar(
    module: nn.Module, layer: nn.Module, images: Tensor, scalar: Callable[[Any], Tensor]
) -> list[Floats]:
    """Grad-CAM [h, w] of each image and any scalar [B] of what the module gives, in plain autograd over all of it."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    value = scalar(module(images.clone().requires_grad_())).sum()
    handle.remove()
    (gradients,) = torch.autograd.grad(value, kept[-1])
    pairs = zip(kept[-1].detach().double().numpy(), gradients.double().numpy(), strict=True)
    return [np.maximum(_weighted([own.mean() for own in slopes], values), 0) for values, slopes in pairs]


def masked(image: NDArray[np.floating], mask: NDArray[np.floating]) -> Floats:
    """An image [3, H, W] times a mask [H, W], pixel by pixel; 0 is grey."""
    found = np.zeros(image.shape)
    for row, column in np.ndindex(*mask.shape):
        found[:, row, column] = image[:, row, column] * mask[row, column]
    return found


def occlusion(score: Callable[[Floats], float], image: Floats, cells: int, span: int) -> Floats:
    """Mean drop [cells, cells] of the score over the patches, `span` cells wide, that cover each cell."""
    side = image.shape[1] // cells
    drops: list[list[list[float]]] = [[[] for _ in range(cells)] for _ in range(cells)]
    whole = score(image)
    for top in range(cells - span + 1):
        for left in range(cells - span + 1):
            mask = np.ones(image.shape[1:])
            mask[top * side : (top + span) * side, left * side : (left + span) * side] = 0
            drop = whole - score(masked(image, mask))
            for i in range(top, top + span):
                for j in range(left, left + span):
                    drops[i][j].append(drop)
    return np.array([[np.mean(cell) for cell in row] for row in drops])


def rise_mask(grid: NDArray[np.floating], shift: tuple[int, int], size: int) -> Floats:
    """The mask [size, size] of a grid [cells, cells] enlarged to one cell more, cut out at the shift."""
    cells = len(grid)
    large = (cells + 1) * ceil(size / cells)
    return np.array(
        [
            [
                bilinear_at(grid, (y + 0.5) / large * cells, (x + 0.5) / large * cells)
                for x in range(shift[1], shift[1] + size)
            ]
            for y in range(shift[0], shift[0] + size)
        ]
    )


def rise(score: Callable[[Floats], float], image: Floats, masks: Sequence[Floats], keep: float) -> Floats:
    """RISE [H, W] of one image for the masks given."""
    found = np.zeros(image.shape[1:])
    for mask in masks:
        found += score(masked(image, mask)) * mask
    return found / (len(masks) * keep)


def scorecam(score: Callable[[Floats], float], image: Floats, activation: Floats) -> Floats:
    """Score-CAM [h, w] with the grey image as baseline; constant channels left out."""
    height, width = image.shape[1:]
    h, w = activation.shape[1:]
    gains, baseline = {}, score(0 * image)
    for k, channel in enumerate(activation):
        if channel.max() == channel.min():
            continue
        large = np.array(
            [
                [bilinear_at(channel, (y + 0.5) * h / height, (x + 0.5) * w / width) for x in range(width)]
                for y in range(height)
            ]
        )
        mask = (large - large.min()) / (large.max() - large.min())
        gains[k] = score(masked(image, mask)) - baseline
    total = sum(np.exp(gain) for gain in gains.values())
    weights = [np.exp(gains[k]) / total if k in gains else 0.0 for k in range(len(activation))]
    return np.maximum(_weighted(weights, activation), 0)


def ablationcam(score: Callable[[Tensor | None], float], activation: Floats) -> Floats:
    """Ablation-CAM [h, w], not divided by the score, from the score behind the layer for an activation put there."""
    weights, whole = [], score(None)
    for k in range(len(activation)):
        without = activation.copy()
        without[k] = 0
        weights.append(whole - score(torch.from_numpy(without).float()))
    return np.maximum(_weighted(weights, activation), 0)


def curve_area(curve: Sequence[float]) -> float:
    """Area under a curve over equal steps from 0 to 1, trapezoid by trapezoid."""
    steps = len(curve) - 1
    return sum((curve[i] + curve[i + 1]) / 2 / steps for i in range(steps))


def hottest_pixels(heat: NDArray[np.floating], share: float) -> set[tuple[int, int]]:
    """The hottest share of the pixels, picked one after another, the first in reading order of those alike."""
    left = {place: float(heat[place]) for place in np.ndindex(*heat.shape)}
    picked: set[tuple[int, int]] = set()
    for _ in range(round(share * heat.size)):
        best = max(left, key=lambda place: (left[place], -place[0], -place[1]))
        del left[best]
        picked.add((best[0], best[1]))
    return picked


def gaussian_blur(image: NDArray[np.floating], sigma: float) -> Floats:
    """[3, H, W] through a Gaussian cut off at 4 sigma, the rim repeated."""
    reach = int(4 * sigma + 0.5)
    weights = [np.exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)]
    found = np.zeros(image.shape)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            for down, vertical in enumerate(weights, -reach):
                for right, horizontal in enumerate(weights, -reach):
                    place = min(max(y + down, 0), height - 1), min(max(x + right, 0), width - 1)
                    found[:, y, x] += vertical * horizontal * image[:, place[0], place[1]]
    return found / sum(weights) ** 2


def imputed(image: NDArray[np.floating], gone: NDArray[np.bool_], rounds: int = 400) -> Floats:
    """Each pixel gone is the weighted mean of its neighbours: the means taken over and over until they stand still."""
    found = np.where(gone, 0, image).astype(float)
    _, height, width = image.shape
    for _ in range(rounds):
        for y, x in zip(*np.nonzero(gone), strict=True):
            total, weight = np.zeros(3), 0.0
            for i in range(max(y - 1, 0), min(y + 2, height)):
                for j in range(max(x - 1, 0), min(x + 2, width)):
                    share = {0: 0.0, 1: 1 / 6, 2: 1 / 12}[abs(i - y) + abs(j - x)]
                    total += share * found[:, i, j]
                    weight += share
            found[:, y, x] = total / weight
    return found


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
