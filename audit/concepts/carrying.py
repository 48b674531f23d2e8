"""The channels that carry a class: those that most of its heat comes from, over all its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings.channels import read_channels, strongest
from audit.findings.evidence.units import units_of
from audit.progress import Progress, silent, tracked
from audit.store import Run

SHOWN = 5
"""Channels that are told of a class."""


@dataclass(frozen=True)
class Carrying:
    """A channel that carries a class.

    Attributes:
        channel: its number in the layer that was explained.
        share: mean share of the heat that it carries, over the images of the class.
        carries: in how many images it is among the leading channels.
        images: of the class, near-copies counted once.
        patches: sample, slot and cell of the images in which it carries most.
    """

    class_name: str
    channel: int
    share: float
    carries: int
    images: int
    patches: Sequence[tuple[int, int, int]]


class _Rows(NamedTuple):
    """Targets of one class: keys and looks [n], and their leading channels [n, m]."""

    sample: NDArray[np.int64]
    slot: NDArray[np.int16]
    look: NDArray[np.int64]
    channel: NDArray[np.integer]
    share: NDArray[np.float32]
    cell: NDArray[np.integer]


def carrying_channels(
    run: Run, class_id: int, unit: str | None = None, most: int = SHOWN, progress: Progress = silent
) -> list[Carrying]:
    """The channels that carry most of a class's heat, the largest mean share first.

    Args:
        unit: attribute whose values are the units of evidence; None for images.
        most: channels told.

    Raises:
        RunError: the run kept no channels.
    """
    rows = _of_class(run, class_id, progress)
    if not len(rows.sample):
        return []
    units = units_of(run, rows.sample, rows.look, unit)
    _, first = np.unique(units, return_index=True)
    there = rows.channel[first] >= 0
    channel, share = rows.channel[first][there], rows.share[first][there]
    total = np.bincount(channel, share) / len(first)
    carries = np.bincount(channel)
    leading = np.argsort(-total, kind="stable")[:most]
    return [
        Carrying(
            run.classes[class_id], int(k), float(total[k]), int(carries[k]), len(first), _patches(rows, int(k), units)
        )
        for k in leading
        if total[k] > 0
    ]


def _patches(rows: _Rows, channel: int, units: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    target, place = np.nonzero(rows.channel == channel)
    cell, share = rows.cell[target, place], rows.share[target, place]
    return strongest(rows.sample[target], rows.slot[target], cell, share, units[target])


def _of_class(run: Run, class_id: int, progress: Progress) -> _Rows:
    shards = run.having("channels")
    parts, some = [], False
    tables = tracked(progress, "reading channels", read_channels(run, shards, off=False), len(shards))
    for shard, table in zip(shards, tables, strict=True):
        some |= len(table.sample) > 0
        targets = run.read("targets", shard, ["sample", "slot", "class_id"])
        own = targets.filter(pc.equal(targets["class_id"], class_id))
        chosen = np.isin(_keys(table.sample, table.slot), _keys(own["sample"].to_numpy(), own["slot"].to_numpy()))
        sample = table.sample[chosen]
        look = run.read("samples", shard, ["look"])["look"].fill_null(0).to_numpy()[sample - shard.start]
        parts.append(
            _Rows(sample, table.slot[chosen], look, table.channel[chosen], table.share[chosen], table.cell[chosen])
        )
    if not some:
        raise RunError(
            f"{run.path} keeps no channels: only methods whose maps are a sum over a layer's channels leave them, and "
            "only in runs with scores"
        )
    return _Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _keys(sample: NDArray[np.integer], slot: NDArray[np.integer]) -> NDArray[np.int64]:
    return (sample.astype(np.int64) << 16) + slot
