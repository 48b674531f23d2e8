"""Which channels of the network set a claim's heat off the object apart, and in which images they carry most of it.

Of each target a run keeps the few channels that carry most of its heat off the object
(`audit.scores.channels`).
A channel sets a claim apart if it is among them more often where the claim shows than in the class's other images:
Fisher's exact test, one-sided, near-copies with one vote, Benjamini-Hochberg over the channels of the claim. Where
fewer than five other images are left, as of a class that looks off its objects throughout, other classes' images stand
for them. A claim about all classes is compared class for class.

A channel that sets a claim apart says what lies under its heat, and no more. Whether the class goes by it too often is
what the claim itself was tested for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.findings.claims.registry import kind_of
from audit.findings.claims.votes import FEWEST, one_vote
from audit.findings.evidence.targets import Evidence
from audit.findings.records import NOBODY, OTHERS, REST, Claim, ClaimChannel
from audit.images import map_ahead
from audit.stats.multiplicity import benjamini_hochberg
from audit.stats.permutation import label_permutation
from audit.stats.strata import stratified
from audit.store import Run, Shard
from audit.store.layout import LEADING, SHARE_STEPS

PATCHES = 9
"""Images that show what a channel goes by."""
TOLD = 5
"""Channels that are told of a claim."""
_AHEAD = 8


@dataclass(frozen=True)
class Origins:
    """The channels that carry most of the heat off the object of some targets.

    Attributes:
        target: [m] ascending positions in the evidence.
        channel, share, cell: [m, `LEADING`], as in `audit.store.layout.CHANNELS`.
    """

    target: NDArray[np.int64]
    channel: NDArray[np.integer]
    share: NDArray[np.float32]
    cell: NDArray[np.integer]


class Table(NamedTuple):
    """A shard's leading channels: keys [m] and arrays [m, `LEADING`]."""

    sample: NDArray[np.int64]
    slot: NDArray[np.int16]
    channel: NDArray[np.integer]
    share: NDArray[np.float32]
    cell: NDArray[np.integer]


def read_channels(run: Run, shards: Sequence[Shard], off: bool) -> Iterator[Table]:
    """The leading channels of all heat, or of that off the object, shard by shard; of no shard without any."""
    prefix = "off_" if off else ""
    names = [f"{prefix}{name}" for name in ("channel", "share", "cell")]
    kept = [shard for shard in shards if run.part("channels", shard) is not None]
    read = partial(run.read, "channels", columns=["sample", "slot", *names])
    for table in map_ahead(read, kept, _AHEAD):
        channel, share, cell = (_lists(table[name]) for name in names)
        yield Table(
            table["sample"].to_numpy(),
            table["slot"].to_numpy(),
            channel,
            share.astype(np.float32) / np.float32(SHARE_STEPS),
            cell,
        )


def _lists(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.combine_chunks().flatten()).reshape(-1, LEADING)


def read_origins(run: Run, shards: Sequence[Shard], evidence: Evidence) -> Origins:
    """Of the targets of the evidence."""
    keys = _keys(evidence.sample, evidence.slot)
    parts = []
    for table in read_channels(run, shards, off=True):
        own = _keys(table.sample, table.slot)
        place = np.searchsorted(keys, own)
        there = np.flatnonzero(np.isin(own, keys))
        parts.append((place[there], *(values[there] for values in table[2:])))
    if not parts:
        nothing = np.zeros((0, LEADING))
        return Origins(np.zeros(0, np.int64), nothing.astype(np.int16), nothing.astype(np.float32), nothing.astype(int))
    return Origins(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _keys(sample: NDArray[np.integer], slot: NDArray[np.integer]) -> NDArray[np.int64]:
    return (sample.astype(np.int64) << 16) + slot


def claim_channels(
    claims: Sequence[Claim], evidence: Evidence, origins: Origins, fdr: float = 0.05
) -> list[ClaimChannel]:
    """The channels of each claim: those that set it apart, by how much more they carry, then those that carry most.

    Args:
        evidence: of all targets, with their clusters.
    """
    if not len(origins.target):
        return []
    return [row for claim in claims for row in _of_claim(claim, evidence, origins, fdr)]


class _Side(NamedTuple):
    """Images with a vote on one side of a claim; places among the origins."""

    rows: NDArray[np.int64]
    class_id: NDArray[np.integer]


def _of_claim(claim: Claim, evidence: Evidence, origins: Origins, fdr: float) -> list[ClaimChannel]:
    event = kind_of(claim).event(claim, evidence)[origins.target]
    shows = _voters(event == 1, evidence, origins)
    if not len(shows.rows):
        return []
    others, against = _held_against(claim, event, evidence, origins)
    channels = int(origins.channel.max()) + 1
    own, other = (_Counts.of(side, origins, channels) for side in (shows, others))
    tested = np.flatnonzero(own.carries + other.carries)
    p = _p(claim, tested, shows, others, origins, own, other) if against != NOBODY else np.ones(len(tested))
    q = benjamini_hochberg(p)
    apart = (q <= fdr) & (against != NOBODY)
    more = own.share[tested] - other.share[tested]
    order = np.lexsort((-np.where(apart, more, own.share[tested]), ~apart))[:TOLD]
    told = [place for place in order if own.carries[tested[place]]]
    return [
        ClaimChannel(
            claim_id=claim.claim_id,
            place=rank,
            channel=int(tested[place]),
            share=float(own.share[tested[place]]),
            share_of_others=float(other.share[tested[place]]),
            carries=int(own.carries[tested[place]]),
            images=len(shows.rows),
            of_others=int(other.carries[tested[place]]),
            others=len(others.rows),
            against=against,
            p=None if against == NOBODY else float(p[place]),
            q=None if against == NOBODY else float(q[place]),
            apart=bool(apart[place]),
            patches={"targets": _patches(int(tested[place]), event == 1, evidence, origins)},
        )
        for rank, place in enumerate(told, 1)
    ]


def _voters(chosen: NDArray[np.bool_], evidence: Evidence, origins: Origins) -> _Side:
    """One of a unit and class among the origins chosen."""
    rows = np.flatnonzero(chosen)
    target = origins.target[rows]
    rows = rows[one_vote(evidence.class_id[target], evidence.unit[target])]
    return _Side(rows, evidence.class_id[origins.target[rows]])


def _held_against(claim: Claim, event: NDArray[np.floating], evidence: Evidence, origins: Origins) -> tuple[_Side, str]:
    """The images that a claim's channels are held against, and what these are."""
    rest = _voters(event == 0, evidence, origins)
    if len(rest.rows) >= FEWEST or claim.class_id is None:
        return rest, REST if len(rest.rows) >= FEWEST else NOBODY
    target = origins.target
    beside = evidence.named[target] & (evidence.class_id[target] != claim.class_id)
    others = _voters(beside, evidence, origins)
    return others, OTHERS if len(others.rows) >= FEWEST else NOBODY


class _Counts(NamedTuple):
    """By channel [C]: in how many images it is among the leading ones, and its mean share over all of them."""

    carries: NDArray[np.int64]
    share: NDArray[np.float64]

    @classmethod
    def of(cls, side: _Side, origins: Origins, channels: int) -> _Counts:
        channel, share = origins.channel[side.rows].ravel(), origins.share[side.rows].ravel()
        there = channel >= 0
        carries = np.bincount(channel[there], minlength=channels)
        total = np.bincount(channel[there], share[there], minlength=channels)
        return cls(carries, total / max(len(side.rows), 1))


def _p(
    claim: Claim,
    tested: NDArray[np.intp],
    shows: _Side,
    others: _Side,
    origins: Origins,
    own: _Counts,
    other: _Counts,
) -> NDArray[np.float64]:
    """Of each channel tested, that it is among the leading ones as often by chance."""
    if claim.class_id is not None:
        carries, all_carry = own.carries[tested], (own.carries + other.carries)[tested]
        of, other_of = np.array(len(shows.rows)), np.array(len(others.rows))
        return label_permutation(carries, of, all_carry, of + other_of)
    classes = int(max(shows.class_id.max(), others.class_id.max())) + 1
    counts = [part for side in (shows, others) for part in _by_class(side, origins, tested, classes)]
    return stratified(np.stack(counts), 0.0).p


def _by_class(
    side: _Side, origins: Origins, tested: NDArray[np.intp], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images [channels tested, classes] in which each is among the leading channels, and how many there are."""
    channel = origins.channel[side.rows]
    place = np.searchsorted(tested, channel)
    there = channel >= 0
    owner = np.broadcast_to(side.class_id[:, None], channel.shape)
    key = place[there] * classes + owner[there]
    carries = np.bincount(key, minlength=len(tested) * classes).reshape(len(tested), classes)
    of = np.bincount(side.class_id, minlength=classes)
    return carries, np.broadcast_to(of, carries.shape).astype(np.int64)


def _patches(
    channel: int, chosen: NDArray[np.bool_], evidence: Evidence, origins: Origins
) -> list[tuple[int, int, int]]:
    """Sample, slot and cell of the targets of distinct units in which a channel carries most off the object."""
    rows, column = np.nonzero((origins.channel == channel) & chosen[:, None])
    target = origins.target[rows]
    off = np.nan_to_num(evidence.off_heat[target]).sum(axis=1, dtype=np.float64)
    strength = origins.share[rows, column] * off
    return strongest(
        evidence.sample[target], evidence.slot[target], origins.cell[rows, column], strength, evidence.unit[target]
    )


def strongest(
    sample: NDArray[np.integer],
    slot: NDArray[np.integer],
    cell: NDArray[np.integer],
    strength: NDArray[np.floating],
    unit: NDArray[np.integer],
    most: int = PATCHES,
) -> list[tuple[int, int, int]]:
    """Sample, slot and cell of the strongest targets, one a unit.

    Example:
        >>> sample, slot, cell = np.array([3, 4, 5]), np.zeros(3, int), np.array([7, 8, 9])
        >>> strongest(sample, slot, cell, strength=np.array([1, 3, 2]), unit=np.array([0, 1, 1]))
        [(4, 0, 8), (3, 0, 7)]
    """
    order = np.lexsort((slot, sample, -strength))
    _, first = np.unique(unit[order], return_index=True)
    chosen = order[np.sort(first)[:most]]
    return [(int(sample[place]), int(slot[place]), int(cell[place])) for place in chosen]
