"""Which channels a map's heat comes from, and where: the few that carry most of it, small enough to keep for all.

A map is the sum of w^k A^k over the layer's channels. What channel k adds to a part of it is r_k, the sum of
s_ij w_ij^k A_ij^k over positions, s the share of each that belongs to the part (`audit.scores.features`). A
channel's share of the heat is r_k among all r that are positive: what speaks against the class takes heat away, and
would let shares exceed 1. Where it is strongest is the position with the largest term of that sum.

Examples of a channel chosen by what it adds to a class, and not by how active it is, show what the class goes by
(relevance maximisation, Achtibat et al., Nature Machine Intelligence 2023).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE = -1


class Leading(NamedTuple):
    """The channels that carry most of K maps' heat, the largest share first; arrays [K, most].

    Attributes:
        channel: `NONE` where fewer carry any.
        share: of the heat, 0 to 1.
        cell: where it adds most, row by row from the top left.
    """

    channel: NDArray[np.int32]
    share: NDArray[np.float32]
    cell: NDArray[np.int32]


def leading_channels(
    relevance: NDArray[np.floating],
    part: NDArray[np.floating],
    weights: NDArray[np.floating],
    activation: NDArray[np.floating],
    most: int,
) -> Leading:
    """The channels that carry most of a part of each map.

    Args:
        relevance: [K, C] of the part, as `audit.scores.features.relevance_by_channel` gives it.
        part, weights, activation: as there.
        most: how many are told.
    """
    for_class = np.maximum(relevance, 0)
    total = for_class.sum(axis=1, keepdims=True)
    if not np.isfinite(total).all():
        for_class = np.nan_to_num(for_class, nan=0, posinf=0)
        total = for_class.sum(axis=1, keepdims=True)
    found = _largest(for_class, min(most, for_class.shape[1]))
    carried = for_class[np.arange(len(found))[:, None], found]
    there, kept = carried > 0, slice(found.shape[1])
    channel = np.full((len(found), most), NONE, np.int32)
    share, cell = np.zeros((len(found), most), np.float32), np.zeros((len(found), most), np.int32)
    channel[:, kept] = np.where(there, found, NONE)
    share[:, kept] = carried / np.where(total > 0, total, 1)
    cell[:, kept] = np.where(there, _strongest(found, part, weights, activation), 0)
    return Leading(channel, share, cell)


def _largest(values: NDArray[np.floating], most: int) -> NDArray[np.intp]:
    """Places of the largest of each row [K, most], largest first."""
    rows = np.arange(len(values))[:, None]
    places = np.argpartition(values, -most, axis=1)[:, -most:]
    return places[rows, np.argsort(-values[rows, places], axis=1, kind="stable")]


def _strongest(
    channel: NDArray[np.intp],
    part: NDArray[np.floating],
    weights: NDArray[np.floating],
    activation: NDArray[np.floating],
) -> NDArray[np.intp]:
    """The cell in which each channel [K, m] adds most to its map."""
    chosen = weights[np.arange(len(channel))[:, None], channel]  # [K, m, h, w] or [K, m, 1, 1]
    terms = part[:, None] * chosen * activation[channel]
    return np.asarray(terms.reshape(*channel.shape, -1).argmax(axis=2))
