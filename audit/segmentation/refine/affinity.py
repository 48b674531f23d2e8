"""Affinity: heat walks between positions that the network's own features hold alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from audit.segmentation.refine.resolution import enlarge_heat, on_grid, reduce_heat, working_size
from audit.segmentation.refine.step import Features, Heat, Pixels, Step

_SHORTEST = 1e-6
"""Activations that differ less from their mean, as a share of it, say nothing of a position."""


@dataclass(frozen=True, kw_only=True)
class Affinity(Step):
    """A random walk on affinities between all positions of an image; nothing is trained.

    As the walk by which Ahn and Kwak (CVPR 2018) revise maps, with affinities from the activations as they are. f_l(i)
    is layer l's activation at position i, less its mean over the image: so two places are alike where they depart
    from the image's usual in the same way. Affinities are a_ij = (prod_l max(0, cos(f_l(i), f_l(j))))^(power / layers),
    their rows are divided by their sums, and each turn of the walk takes the heat through them. All positions come
    to share some heat; each map is therefore stretched to the smallest and largest value that it had before.

    Works at no more positions than `positions`: 1,024 of them take about 12 MB, four times as many sixteen times that.

    Attributes:
        power: how much liker counts for more.
        turns: of the walk.
        layers: so many of the finest given are used: the deepest hold more of what is in the image than of where.
        positions: that heat walks between.
    """

    name: ClassVar[str] = "affinity"
    description: ClassVar[str] = "heat walks between positions that the network's features hold alike"
    paper: ClassVar[str] = "after Ahn and Kwak, CVPR 2018"
    needs_features: ClassVar[bool] = True

    power: float = 2.0
    turns: int = 3
    layers: int = 2
    positions: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.power < float("inf"):
            raise ValueError(f"Expected `power` above 0, got {self.power}")
        for option in ("turns", "layers", "positions"):
            if getattr(self, option) < 1:
                raise ValueError(f"Expected `{option}` of at least 1, got {getattr(self, option)}")

    def refine(self, heat: Heat, image: Pixels, features: Features) -> Heat:
        size = working_size(image.shape, self.positions)
        transitions = affinities(features[: self.layers], size, self.power)
        transitions /= transitions.sum(axis=1, keepdims=True)
        small = reduce_heat(heat, size)
        walked: NDArray[np.float32] = small.reshape(len(heat), -1).T
        for _ in range(self.turns):
            walked = transitions @ walked
        maps = np.ascontiguousarray(walked.T).reshape(small.shape)
        return enlarge_heat(stretched(maps, heat), image.shape[:2])


def affinities(features: Features, size: tuple[int, int], power: float) -> NDArray[np.float32]:
    """a [n, n] between the n = rows x columns positions of a grid; 1 of each with itself."""
    positions = size[0] * size[1]
    product: NDArray[np.float32] = np.ones((positions, positions), np.float32)
    for layer in features:
        directions = departures(layer, size)
        cosines: NDArray[np.float32] = np.maximum(directions @ directions.T, 0)
        product *= cosines
    np.fill_diagonal(product, 1)  # also of a position that departs in nothing
    result: NDArray[np.float32] = product ** np.float32(power / len(features))
    return result


def departures(layer: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """Unit vectors [n, channels]: how a layer's activation [channels, h, w] at each position departs from its mean.

    Zero where it does not depart.
    """
    flat = on_grid(layer, size).reshape(len(layer), -1).T
    apart = flat - flat.mean(axis=0)
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    least = _SHORTEST * np.linalg.norm(flat, axis=1).max()
    result: NDArray[np.float32] = np.divide(apart, length, out=np.zeros_like(apart), where=length > least)
    return result


def stretched(walked: Heat, heat: Heat) -> Heat:
    """Maps [K, h, w] brought to the smallest and largest values of others; maps that are flat have the largest."""
    low, high = (edge(heat, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    bottom, top = (edge(walked, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    share = np.divide(walked - bottom, top - bottom, out=np.ones_like(walked), where=top - bottom > _SHORTEST * top)
    result: Heat = low + share * (high - low)
    return result
