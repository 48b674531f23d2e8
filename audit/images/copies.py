"""Which images are copies of one another: those whose difference hashes, of 64 bits, are nearly the same.

Two hashes are alike when they differ in at most 8 bits, and in at most a quarter of the bits that are set in the one
and in the other, summed. The second says something of images with large plain parts only. Where brightness does not
rise no bit is set, so a speck here and a speck there differ in few bits because they have few. Flat images have none at
all, and are alike: nothing tells them apart.

To be alike is not passed on. Among a million photographs each has others that are alike by accident, and frames of a
video drift: chains of these (single linkage) would end in one group of nearly everything. So groups are stars. Hashes
are taken in turn, those of most images first; each joins the first one before it that stands for a group and is alike,
or else stands for a group of its own. No group reaches further than 8 bits from the image that stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

BITS = 8
"""Hashes of copies differ in so many bits at most."""
PART = 4
"""And in one of so many that are set in the two, summed."""

_SCRAMBLE = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that the product with it orders hashes as if drawn."""
_BATCH = 64
_CROWD = 16
"""Hashes that a group must take on average for the next to be looked for among all that are left."""
_MOST_KEYS = 500
_MOST_BLOCKS = 16
_SAMPLE = 1 << 15
_SORTED_AT = 20
"""What sorting a hash takes, in comparisons of two."""
_THREADS = 4
_HELD = 1 << 20
"""Pairs that are looked at together, so that memory stays small."""

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


def near_copies(looks: NDArray[np.integer]) -> NDArray[np.int64]:
    """Group of each image [n], numbered from 0 in the order of first images; who is together depends on no order.

    Args:
        looks: [n] 64 bits each, as `audit.images.difference_hash` gives them.

    Example:
        Four bits of many are a copy, four of six are not.

        >>> near_copies(np.array([0x00FFFF, 0x00FFF0, 0x100007, 0x200007, 0x500003])).tolist()
        [0, 0, 1, 1, 2]
    """
    bits = np.asarray(looks, np.int64).view(np.uint64)
    hashes, image, count = np.unique(bits, return_inverse=True, return_counts=True)
    order = np.lexsort((hashes * _SCRAMBLE, -count))
    star = np.empty(len(hashes), np.int64)
    star[order] = _stars(hashes[order])
    _, first, group = np.unique(star[image], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group].astype(np.int64)


def alike(a: Hashes, b: Hashes) -> NDArray[np.bool_]:
    """Whether hashes are those of copies, as the module says; arrays that broadcast."""
    different = np.bitwise_count(a ^ b)
    near = different <= BITS
    return np.asarray(near & (PART * different <= np.bitwise_count(a) + np.bitwise_count(b)), bool)


def _stars(hashes: Hashes) -> Places:
    """Place of the hash that stands for the group of each [n]; distinct hashes, in the order that they are taken."""
    star = np.arange(len(hashes))
    left = _left_by_crowds(hashes, star)
    star_left = list(range(len(left)))
    pairs = _pairs(hashes[left])
    for start in range(0, len(pairs), _HELD):
        for first, second in np.stack(np.divmod(pairs[start : start + _HELD], len(left)), axis=1).tolist():
            if star_left[first] == first and star_left[second] == second:
                star_left[second] = first
    star[left] = left[star_left]
    return star


def _left_by_crowds(hashes: Hashes, star: Places) -> Places:
    """Give the first hashes their groups, one after another, while groups are large; the places of those left.

    Where very many are alike, as of white slides or at night, there are too many pairs to list.
    """
    left: Places = np.arange(len(hashes))
    took = _CROWD
    while len(left) and took >= _CROWD:
        values, free, stars = hashes[left], np.ones(len(left), bool), 0
        while stars < _BATCH and free.any():
            place = int(free.argmax())
            joined = free & alike(values[place], values)
            star[left[joined]] = left[place]
            free &= ~joined
            stars += 1
        took = (len(left) - int(np.count_nonzero(free))) // stars
        left = left[free]
    return left


def _pairs(hashes: Hashes) -> Places:
    """All pairs of hashes [n] that are alike, each once and in order, as place of the first * n + place of the second.

    Hashes with few bits set are paired first. One with b bits differs from an alike one with as many or more in no more
    than 2 b / 3: with few bits less has to be tried.
    """
    count = np.bitwise_count(hashes).astype(np.int64)
    reach = np.minimum(2 * count // (PART - 1), BITS)
    found = np.zeros(0, np.int64)
    for bits in np.unique(reach[reach > 0]).tolist():
        most = int(count[reach == bits].max()) + bits
        places = np.flatnonzero((reach >= bits) & (count <= most))
        found = _distinct([found, _pairs_among(hashes, places, bits)])
    return found


def _pairs_among(hashes: Hashes, places: Places, bits: int) -> Places:
    """Pairs as of `_pairs`, of hashes of some places that differ in so many bits at most.

    With the bits dealt out to k blocks, two such hashes are equal in k - `bits` blocks at least. So they stand beside
    one another when all are sorted by these blocks, for one choice of k - `bits` among the k. With no more blocks than
    `bits` that is all hashes beside all.
    """
    chosen = hashes[places]

    def paired(key: np.uint64) -> Places:
        ends = (np.sort([places[close], places[beside]], axis=0) for close, beside in _alike_with(chosen, key))
        return _distinct([np.zeros(0, np.int64), *(first * len(hashes) + second for first, second in ends)])

    found = [np.zeros(0, np.int64)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for pairs in pool.map(paired, _keys(chosen, bits)):
            found.append(pairs)
            if sum(map(len, found[1:])) > _HELD:
                found = [_distinct(found)]
    return _distinct(found)


def _distinct(parts: list[Places]) -> Places:
    # `np.unique` goes by a hash table, and takes four times as long.
    ordered = np.sort(np.concatenate(parts))
    return ordered[np.diff(ordered, prepend=-1) > 0]


def _alike_with(hashes: Hashes, key: np.uint64) -> Iterator[tuple[Places, Places]]:
    """Pairs of places of hashes that are alike, those with the bits of the key in common among them."""
    order = _together(hashes & key)
    values = hashes[order]
    size = _run_sizes(values & key)
    for lag in range(1, size.max(initial=0)):
        if lag.bit_count() == 1:  # from time to time, leave out the runs that are over
            left = size > lag
            order, values, size = order[left], values[left], size[left]
        close = np.flatnonzero(np.bitwise_count(values[lag:] ^ values[:-lag]) <= BITS)
        close = close[alike(values[close], values[close + lag])]
        if len(close):
            yield order[close], order[close + lag]


def _together(values: Hashes) -> Places:
    """Places of values [n], equal ones beside one another.

    By 32 bits of their products, in two passes over 16: numbers of 16 bits are sorted by counting, ten times as fast.
    """
    mixed = ((values * _SCRAMBLE) >> np.uint64(32)).astype(np.uint32)
    order = np.argsort(mixed.astype(np.uint16), kind="stable")
    high = (mixed >> np.uint32(16)).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def _run_sizes(values: Hashes) -> Places:
    """How many equal ones each of sorted values [n] stands among."""
    ends = np.flatnonzero(np.diff(values, append=~values[-1:]))
    sizes = np.diff(ends, prepend=-1)
    return np.repeat(sizes, sizes)


def _keys(hashes: Hashes, bits: int) -> list[np.uint64]:
    """The choices of blocks, as masks, for the number of blocks that costs least."""
    numbers = [blocks for blocks in range(bits, _MOST_BLOCKS) if comb(blocks, bits) <= _MOST_KEYS]
    plans = (_choices(blocks, bits) for blocks in numbers)
    return min(plans, key=lambda keys: _cost(keys, hashes[:_SAMPLE], len(hashes)))


def _choices(blocks: int, bits: int) -> list[np.uint64]:
    # Neighbouring bits tell much the same, so a block takes every `blocks`th.
    masks = [sum(1 << bit for bit in range(block, 64, blocks)) for block in range(blocks)]
    return [np.uint64(sum(chosen)) for chosen in combinations(masks, blocks - bits)]


def _cost(keys: list[np.uint64], sample: Hashes, total: int) -> float:
    """Comparisons of two hashes that the keys take, judged by three of them. The sample is of scrambled hashes."""
    tried = [keys[len(keys) * third // 3] for third in range(3)]
    squares = [np.square(np.unique(sample & key, return_counts=True)[1].astype(float)).sum() for key in tried]
    pairs = (float(np.mean(squares)) - len(sample)) / 2 * (total / len(sample)) ** 2
    return len(keys) * (pairs + _SORTED_AT * total)
