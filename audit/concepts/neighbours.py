"""What is like a sample: by what lies under a target's heat, by all that its classes are named by, and by its looks.

Under the heat: the cosine of the features that the run kept of it (`audit.scores.features`), off the object where one
is known. In all its heat: the cosine of the shares that the leading channels have in it, on the object and off it,
summed over an image's targets. In its looks: how many bits of the difference hash of what the network saw are the
same, of 64. Nothing is indexed: all targets are gone through, shard by shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings.channels import read_channels
from audit.findings.evidence.features import read_features
from audit.store import Run, Shard

_KEYS = ["sample", "slot"]


class Near(NamedTuple):
    """A target or image that is like another.

    Attributes:
        slot: -1 for an image.
        nearness: cosine; by looks the share of the hash's bits that are the same.
    """

    sample: int
    slot: int
    nearness: float


def row_of(run: Run, name: str) -> int:
    """Row of the manifest of a sample's id.

    Raises:
        RunError: the run has no such sample.
    """
    ids = run.manifest_file.rows(columns=["id"])["id"]
    place = pc.index(ids, name).as_py()
    if place < 0:
        raise RunError(f"Expected the id of a sample of {run.path}, as {ids[0].as_py()!r}; got {name!r}")
    return int(place)


def slots_of(run: Run, sample: int) -> dict[int, str]:
    """The targets of a sample: their classes by slot.

    Raises:
        RunError: it is still pending, or failed.
    """
    shard = run.shards[sample // run.record["shard_size"]]
    if run.entry(shard) is None:
        raise RunError(f"Sample {sample} of {run.path} is still pending")
    table = run.read("targets", shard, [*_KEYS, "class"])
    own = table.filter(pc.equal(table["sample"], sample))
    if not own.num_rows:
        raise RunError(f"Sample {sample} of {run.path} has no target: it failed, or nothing was asked about it")
    return dict(zip(own["slot"].to_pylist(), own["class"].to_pylist(), strict=True))


def like_under_heat(run: Run, sample: int, slot: int, most: int) -> list[Near]:
    """The targets of other images whose heat has most alike under it; none where nothing of that was kept."""
    shards = run.having("features")
    own = next(_features_of(run, shards, sample, slot), None)
    if own is None:
        return []
    best = _Nearest(most)
    for samples, slots, vectors in read_features(run, shards):
        cosine = vectors.astype(np.float32) @ own / np.maximum(np.linalg.norm(vectors.astype(np.float32), axis=1), 1e-9)
        best.add(samples, slots, np.where(samples == sample, -np.inf, cosine))
    return best.result()


def like_in_all_heat(run: Run, sample: int, most: int) -> list[Near]:
    """The images of whose heat the same channels carry most; none where no channels were kept."""
    own = np.zeros(0)
    for samples, shares in _shares(run, [run.shards[sample // run.record["shard_size"]]]):
        own = shares[samples == sample].sum(axis=0)
    if not own.any():
        return []
    best = _Nearest(most)
    for samples, shares in _shares(run, run.done()):
        width = min(len(own), shares.shape[1])  # each ends with the last channel that leads in its shard
        lengths = np.linalg.norm(shares, axis=1) * np.linalg.norm(own)
        cosine = shares[:, :width] @ own[:width] / np.maximum(lengths, 1e-30)
        best.add(samples, np.full(len(samples), -1), np.where(samples == sample, -np.inf, cosine))
    return best.result()


def _shares(run: Run, shards: Sequence[Shard]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Shard by shard its samples with heat [n], and the share that each channel has in all of it, [n, channels]."""
    for table in read_channels(run, shards, off=False):
        row, place = np.nonzero(table.channel >= 0)
        if len(row):
            samples, of = np.unique(table.sample[row], return_inverse=True)
            shares = np.zeros((len(samples), int(table.channel.max()) + 1))
            np.add.at(shares, (of, table.channel[row, place]), table.share[row, place])
            yield samples, shares


def like_looks(run: Run, sample: int, most: int) -> list[Near]:
    """The images whose difference hashes are nearest."""
    own, best = _look_of(run, sample), _Nearest(most)
    for shard in run.done():
        table = run.read("samples", shard, ["sample", "look"])
        table = table.filter(pc.is_valid(table["look"]))
        samples, looks = table["sample"].to_numpy(), table["look"].to_numpy().astype(np.int64).view(np.uint64)
        same = 1 - np.bitwise_count(looks ^ own) / 64
        best.add(samples, np.full(len(samples), -1), np.where(samples == sample, -np.inf, same))
    return best.result()


class _Nearest:
    """Keeps the nearest of all that come by."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[Near] = []

    def add(self, sample: NDArray[np.integer], slot: NDArray[np.integer], nearness: NDArray[np.floating]) -> None:
        order = np.lexsort((slot, sample, -nearness))[: self._most]
        there = [place for place in order if np.isfinite(nearness[place])]
        self._kept += [Near(int(sample[place]), int(slot[place]), float(nearness[place])) for place in there]
        self._kept = sorted(self._kept, key=lambda near: (-near.nearness, near.sample, near.slot))[: self._most]

    def result(self) -> list[Near]:
        """Nearest first."""
        return self._kept


def _features_of(run: Run, shards: list[Shard], sample: int, slot: int) -> Iterator[NDArray[np.float32]]:
    """The features of one target at unit length, if there are any."""
    own = [shard for shard in shards if shard.start <= sample < shard.stop]
    for samples, slots, vectors in read_features(run, own):
        for place in np.flatnonzero((samples == sample) & (slots == slot)):
            vector = vectors[place].astype(np.float32)
            yield vector / np.linalg.norm(vector)


def _look_of(run: Run, sample: int) -> np.uint64:
    shard = run.shards[sample // run.record["shard_size"]]
    look = run.read("samples", shard, ["look"])["look"][sample - shard.start].as_py()
    bits: np.uint64 = np.array([look or 0], np.int64).view(np.uint64)[0]
    return bits
