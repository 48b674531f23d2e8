"""Affinity: heat walks between positions that the network's own features hold alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from audit.segmentation.refine.resolution import enlarge_heat, reduce_heat, working_size
from audit.segmentation.refine.step import Features, Heat, Pixels, Step


@dataclass(frozen=True, kw_only=True)
class Affinity(Step):
    """A random walk on the affinities of the network's activations; nothing is trained."""

    name: ClassVar[str] = "affinity"
    description: ClassVar[str] = "heat walks between positions that the network's features hold alike"
    paper: ClassVar[str] = "after Ahn and Kwak, CVPR 2018"
    needs_features: ClassVar[bool] = True

    power: float = 8.0
    turns: int = 4
    positions: int = 1024

    def refine(self, heat: Heat, image: Pixels, features: Features) -> Heat:
        rows, columns = working_size(*image.shape[:2], self.positions)
        transition = transitions(features, (rows, columns), self.power)
        walked = reduce_heat(heat, (rows, columns)).reshape(len(heat), -1).T
        for _ in range(self.turns):
            walked = transition @ walked
        walked = np.ascontiguousarray(walked.T).reshape(-1, rows, columns)
        return np.sqrt(enlarge_heat(walked, image.shape[:2]) * heat)


def affinities(features: Features, size: tuple[int, int], power: float) -> NDArray[np.float32]:
    n = size[0] * size[1]
    total = np.ones((n, n), np.float32)
    for layer in features:
        flat = resample(layer, size).reshape(len(layer), -1)
        flat = flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-12)
        total *= np.maximum(flat.T @ flat, 0)
    return total ** (power / len(features))


def transitions(features, size, power):
    a = affinities(features, size, power)
    return a / a.sum(axis=1, keepdims=True)


def resample(layer, size):
    layer = layer.astype(np.float32)
    rows, columns = layer.shape[1:]
    if rows >= size[0] and columns >= size[1]:
        return reduce_heat(layer, size)
    return enlarge_heat(layer, size)
