"""What the off-object heat of a class comes from: its targets grouped by the class's relevance there.

After SpRAy (Lapuschkin et al. 2019; Anders et al. 2022), with two changes. What is grouped is not the map, which says
where the heat lies, but the class's relevance by channel of the layer within the heat off the object, which says what
is there and does not mind where. And the groups are tested, in `audit.findings.claims.clusters`.

For that test each target is also put into a cluster that owes it nothing: the units of a class are halved, each half is
grouped by itself into as many clusters, and a target goes to those of the other half.

A class takes memory for at most `most` of its targets; the others are assigned, part by part, to what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.votes import one_vote
from audit.findings.evidence.targets import Evidence, Features
from audit.stats.components import Components, Moments, unit_length
from audit.stats.grouping import k_means, nearest, stable_groups

MOST = 2000
"""Targets of a class that clusters are made from; the others are assigned."""
LEAST_TARGETS, LEAST_HALF = 20, 10
"""A class with fewer is not clustered, and a half of it with fewer not by itself."""
LEAST_MEMBERS = 5
LEAST_SHARE = 0.02
"""A cluster has at least so many members, and so large a share of the class."""
WITHIN = 0.95
"""A target is in a cluster if it lies as near to its middle as this share of those do that it was made from."""
BLOCK = 1 << 14
"""Targets that are put into clusters at a time."""
NONE = -1


@dataclass(frozen=True)
class Members:
    """Which target is in which cluster; targets without relevance off the object are not listed.

    Attributes:
        target: [n] int64 ascending, positions in the evidence.
        cluster: [n] int32, by class from 0, the largest first; -1 for none.
        distance: [n] float32 to the nearest cluster's middle; NaN where the class has none.
        apart: [n] int32, the cluster by those made from the other half of the class's units; -1 for none, and where the
            class is too small to be halved.
        halved: classes whose clusters could be made from each half.
    """

    target: NDArray[np.int64]
    cluster: NDArray[np.int32]
    distance: NDArray[np.float32]
    apart: NDArray[np.int32]
    halved: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Grouping:
    """Clusters: middles [c, d], and how far each reaches [c]."""

    middles: NDArray[np.float64]
    reach: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[np.floating], middles: NDArray[np.float64]) -> _Grouping:
        """From the points that they were made from."""
        cluster, distance = nearest(points, middles)
        reach = [np.quantile(distance[cluster == number], WITHIN) for number in range(len(middles))]
        return cls(middles, np.array(reach))

    def assign(self, points: NDArray[np.floating]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The cluster of each point [n], `NONE` beyond its reach, and the distance to the nearest middle."""
        cluster, distance = nearest(points, self.middles)
        return np.where(distance <= self.reach[cluster], cluster, NONE).astype(np.int32), distance.astype(np.float32)


@dataclass(frozen=True)
class _Clustering:
    """The clusters of one class, in the components' space.

    Attributes:
        whole: made from all targets drawn.
        halves: made from either half of them; None where these are too small or do not give the same clusters.
    """

    components: Components
    whole: _Grouping
    halves: tuple[_Grouping, _Grouping] | None


def cluster_targets(
    parts: Callable[[], Iterable[Features]], evidence: Evidence, most: int = MOST, seed: int = 0
) -> Members:
    """Cluster the relevance off the object of confidently named targets, class by class.

    It is scaled to unit length, reduced to the principal components of the class and grouped by k-means, into the
    number of groups that two halves agree on (`audit.stats.grouping`): a class in which they do not has no clusters.

    Args:
        parts: gives the features of all shards, in the order of samples and slots; called twice.
        evidence: of all targets. Features of targets that it does not hold, or that were not named with confidence, are
            passed over.
        most: targets of a class that clusters are made from, drawn from `seed`; one of a unit.
    """
    half = np.random.default_rng(seed).permutation(int(evidence.unit.max(initial=-1)) + 1)[evidence.unit] % 2
    gathered = list(_selected(parts(), evidence, _draw(evidence, most, seed)))
    clusterings: dict[int, _Clustering] = {}
    if gathered:
        target, vectors = (np.concatenate(columns) for columns in zip(*gathered, strict=True))
        del gathered
        for class_id, places in by_class(evidence.class_id[target]):
            clustering = _cluster_class(vectors[places], half[target[places]])
            if clustering is not None:
                clusterings[class_id] = clustering
        del vectors
    assigned = [
        _assign(target, vectors, evidence.class_id[target], half[target], clusterings)
        for target, vectors in _selected(parts(), evidence, evidence.named)
    ]
    return _joined(assigned, clusterings)


def representatives(evidence: Evidence) -> NDArray[np.int64]:
    """Positions of confidently named targets, ascending; one of each unit that names the class."""
    named = np.flatnonzero(evidence.named)
    return np.sort(named[one_vote(evidence.class_id[named], evidence.unit[named])])


def _draw(evidence: Evidence, most: int, seed: int) -> NDArray[np.bool_]:
    """At most `most` targets of each class [n]; copies of an image would make a dense place out of nothing."""
    single = np.random.default_rng(seed).permutation(representatives(evidence))
    order = single[np.argsort(evidence.class_id[single], kind="stable")]
    counts = np.bincount(evidence.class_id[order], minlength=len(evidence.classes))
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    drawn = np.zeros(len(evidence), np.bool_)
    drawn[order[place < most]] = True
    return drawn


def _selected(
    parts: Iterable[Features], evidence: Evidence, wanted: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
    """Positions [m] and vectors [m, D], block by block, of wanted targets with relevance."""
    keys = _key(evidence.sample, evidence.slot)
    for sample, slot, relevance in _in_blocks(parts):
        part_keys = _key(sample, slot)
        target = np.searchsorted(keys, part_keys)
        there = target < len(keys)
        there[there] = keys[target[there]] == part_keys[there]
        there[there] = wanted[target[there]]
        there[there] = np.isfinite(relevance[there]).all(axis=1) & relevance[there].any(axis=1)
        yield target[there], relevance[there]


def _in_blocks(parts: Iterable[Features]) -> Iterator[Features]:
    """Parts laid end to end, `BLOCK` targets or a few more at a time: every class of every block has its price."""
    block: list[Features] = []
    for part in parts:
        block.append(part)
        if sum(len(sample) for sample, _, _ in block) >= BLOCK:
            yield _end_to_end(block)
            block = []
    if block:
        yield _end_to_end(block)


def _end_to_end(block: Sequence[Features]) -> Features:
    sample, slot, vectors = (np.concatenate(columns) for columns in zip(*block, strict=True))
    return sample, slot, vectors


def _key(sample: NDArray[np.integer], slot: NDArray[np.integer]) -> NDArray[np.int64]:
    return (sample.astype(np.int64) << 16) + slot


def by_class(class_id: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each class with the places of its targets."""
    order = np.argsort(class_id, kind="stable")
    ids, starts = np.unique(class_id[order], return_index=True)
    for own_class, start, stop in zip(ids.tolist(), starts, [*starts[1:], len(order)], strict=False):
        yield own_class, order[start:stop]


def _cluster_class(vectors: NDArray[np.floating], half: NDArray[np.integer]) -> _Clustering | None:
    """Cluster one class's vectors [n, D], each of a half, 0 or 1; None where there are no clusters."""
    if len(vectors) < LEAST_TARGETS:
        return None
    moments = Moments(vectors.shape[1])
    units = unit_length(vectors)
    moments.add(units)
    components = moments.components()
    points = components.project(units).astype(np.float64)
    middles = stable_groups(points, max(LEAST_MEMBERS, int(np.ceil(LEAST_SHARE * len(points)))))
    if middles is None:
        return None
    middles = middles[np.argsort(-np.bincount(nearest(points, middles)[0]), kind="stable")]
    return _Clustering(components, _Grouping.of(points, middles), _of_halves(points, half, middles))


def _of_halves(
    points: NDArray[np.float64], half: NDArray[np.integer], middles: NDArray[np.float64]
) -> tuple[_Grouping, _Grouping] | None:
    """The same clusters made from each half, numbered alike: each one's middle is nearest to one of the whole's."""
    groupings = []
    for own in (points[half == number] for number in (0, 1)):
        if len(own) < LEAST_HALF:
            return None
        its = k_means(own, [len(middles)])[0]
        order = np.argsort(nearest(its, middles)[0])
        if not np.array_equal(nearest(its[order], middles)[0], np.arange(len(middles))):
            return None
        groupings.append(_Grouping.of(own, its[order]))
    return groupings[0], groupings[1]


def _assign(
    target: NDArray[np.int64],
    vectors: NDArray[np.floating],
    class_id: NDArray[np.int32],
    half: NDArray[np.integer],
    clusterings: dict[int, _Clustering],
) -> Members:
    """Members of one part."""
    cluster, apart = np.full((2, len(target)), NONE, np.int32)
    distance = np.full(len(target), np.nan, np.float32)
    for own_class, places in by_class(class_id):
        if own_class in clusterings:
            clustering = clusterings[own_class]
            points = clustering.components.project(unit_length(vectors[places])).astype(np.float64)
            cluster[places], distance[places] = clustering.whole.assign(points)
            if clustering.halves is not None:
                by_first, by_second = (grouping.assign(points)[0] for grouping in clustering.halves)
                apart[places] = np.where(half[places] == 0, by_second, by_first)
    return Members(target, cluster, distance, apart)


def _joined(parts: list[Members], clusterings: dict[int, _Clustering]) -> Members:
    halved = frozenset(class_id for class_id, clustering in clusterings.items() if clustering.halves is not None)
    if not parts:
        no_cluster = np.zeros(0, np.int32)
        return Members(np.zeros(0, np.int64), no_cluster, np.zeros(0, np.float32), no_cluster)
    names = ("target", "cluster", "distance", "apart")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Members(**columns, halved=halved)
