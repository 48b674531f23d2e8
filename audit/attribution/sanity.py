"""Does a map depend on what the network has learnt? Cascading randomisation of its layers, and how alike maps stay.

After Adebayo et al., Sanity Checks for Saliency Maps (NeurIPS 2018), section 4: the layers are randomised one after
another from the output down, and at each stage the maps are compared with those of the network as it came. A map that
explains the network changes with it. As in the paper, maps are compared without their sign, by Spearman's rank
correlation and by SSIM. Unlike there, they are compared at their own resolution, and layers are taken in stages of
several, since each stage takes all the passes of a method.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from audit.attribution.taps import probing

_SSIM_SIDE = 7


def randomise_from_top(
    module: nn.Module, example: Tensor, stages: int = 10, seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Randomise a copy of a module stage by stage, from its output to its input.

    The first stage is the last layer alone; the others share the remaining layers evenly.

    Args:
        module: stays as it is.
        example: [1, 3, H, W], on which it is run to see its layers in order.
        stages: at most so many.
        seed: of the random weights; torch's own generator is left alone.

    Yields:
        The name of the lowest layer randomised so far, and the copy: the same object each time, randomised further.
    """
    names = layers_in_order(module, example)[::-1]
    changed = copy.deepcopy(module)
    for stage, group in enumerate(_in_stages(names, stages)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 1000 + stage)
            for name in group:
                randomise(changed.get_submodule(name))
        yield group[-1] or "the module itself", changed


def layers_in_order(module: nn.Module, example: Tensor) -> list[str]:
    """Names of all parts with weights or running statistics of their own, in the order in which they begin to run.

    A part that never runs itself, as where its owner reads its weights, follows its owner.
    """
    begun: dict[str, int] = {}

    def watch(name: str, part: nn.Module) -> RemovableHandle:
        def note(_part: nn.Module, _inputs: object) -> None:
            begun.setdefault(name, len(begun))

        return part.register_forward_pre_hook(note)

    handles = [watch(name, part) for name, part in module.named_modules()]
    try:
        with torch.inference_mode(), probing(module):
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    names = [name for name, part in module.named_modules() if _own_values(part)]
    return sorted(names, key=lambda name: next(begun[owner] for owner in _owners(name) if owner in begun))


def randomise(layer: nn.Module) -> None:
    """Draw a layer's own weights anew, as it was first initialised; its running statistics begin anew too.

    A layer that does not say how it is initialised gets normal numbers of the mean and spread that its values have.
    """
    reset = getattr(layer, "reset_parameters", None)
    with torch.no_grad():
        if callable(reset):
            reset()
            return
        for values in _own_values(layer):
            spread = values.std(correction=0) if values.numel() > 1 else values.abs().max()
            values.copy_(torch.randn_like(values, device="cpu").to(values.device) * spread + values.mean())


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman's rank correlation of the sizes |v| of maps [..., h, w] -> [...]; ties share their mean rank.

    0 where a map has one size only: its ranks have nothing in common with any. NaN where a map is NaN.
    """
    ranks = [rankdata(np.abs(maps).reshape(*maps.shape[:-2], -1), axis=-1) for maps in (first, second)]
    a, b = (rank - rank.mean(axis=-1, keepdims=True) for rank in ranks)
    spread = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    correlation = np.divide((a * b).sum(axis=-1), spread, out=np.zeros(spread.shape), where=spread > 0)
    absent = np.isnan(first).any(axis=(-2, -1)) | np.isnan(second).any(axis=(-2, -1))
    return np.where(absent, np.nan, correlation)


def structural_similarity(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """SSIM (Wang et al. 2004) of the sizes |v| of maps [..., h, w], each 1 at its peak -> [...].

    NaN where a map is NaN, or smaller than SSIM's window of 7 x 7.
    """
    from skimage.metrics import structural_similarity as ssim

    similarity = np.full(first.shape[:-2], np.nan)
    if min(first.shape[-2:]) < _SSIM_SIDE:
        return similarity
    for place in np.ndindex(similarity.shape):
        a, b = _to_peak(first[place]), _to_peak(second[place])
        if np.isfinite(a).all() and np.isfinite(b).all():
            similarity[place] = ssim(a, b, data_range=1.0)  # type: ignore[no-untyped-call]
    return similarity


def _to_peak(heat: NDArray[np.floating]) -> NDArray[np.float64]:
    size: NDArray[np.float64] = np.abs(heat).astype(np.float64)
    peak = size.max()
    return size / peak if peak > 0 else size


def _in_stages(names: Sequence[str], most: int) -> list[list[str]]:
    """The first name alone, the others in groups of as near as can be the same length."""
    first, places = list(names[:1]), np.arange(1, len(names))
    groups = np.array_split(places, min(max(most - 1, 1), len(places))) if len(places) else []
    return [first, *([names[place] for place in group] for group in groups)]


def _own_values(part: nn.Module) -> list[Tensor]:
    """Parameters and floating-point buffers of a part itself, not of parts inside it."""
    buffers = [values for values in part.buffers(recurse=False) if values.is_floating_point()]
    return [*part.parameters(recurse=False), *buffers]


def _owners(name: str) -> Iterator[str]:
    """A dotted name and those of its owners, to the module itself, which is ''."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""
