"""What lies under off-object heat: targets of a class grouped by the activation there.

After SpRAy (Lapuschkin et al. 2019; Anders et al. 2022), with two changes. What is grouped is not the map, which says
where the heat lies, but the mean activation of the layer under the heat off the object, which says what is there and
does not mind where. And the groups are tested, in `audit.findings.claims.clusters`.

A class takes memory for at most `most` of its targets; the others are assigned, part by part, to what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.votes import one_vote
from audit.findings.evidence import Evidence, Features
from audit.stats.components import Components, Moments, unit_length

MOST = 2000
"""Targets of a class that are clustered; the others are assigned."""
LEAST_TARGETS = 20
"""A class with fewer is not clustered."""
LEAST_MEMBERS = 5
LEAST_SHARE = 0.02
"""A cluster has at least so many members, and so large a share of the class."""
NEIGHBOURS = 5
"""Neighbours that density is measured by."""
WITHIN = 0.95
"""A target is assigned if it lies as near to the middle as this share of the cluster's members do."""
NONE = -1


@dataclass(frozen=True)
class Members:
    """Which target is in which cluster; targets without anything under their heat are not listed.

    Attributes:
        target: [n] int64 ascending, positions in the evidence.
        cluster: [n] int32, by class from 0, the largest first; -1 for none.
        distance: [n] float32 to the cluster's middle, of the nearest one where there is no cluster; NaN where the class
            has none.
    """

    target: NDArray[np.int64]
    cluster: NDArray[np.int32]
    distance: NDArray[np.float32]


@dataclass(frozen=True)
class _Clustering:
    """The clusters of one class: middles [c, d] in the components' space, and how far each reaches [c]."""

    components: Components
    middles: NDArray[np.float32]
    reach: NDArray[np.float32]


def cluster_targets(
    parts: Callable[[], Iterable[Features]], evidence: Evidence, most: int = MOST, seed: int = 0
) -> Members:
    """Cluster what lies under the heat of confidently named targets, class by class.

    The activations are scaled to unit length, reduced to the principal components of their class and clustered by
    density (HDBSCAN: Campello et al. 2013), so that targets that resemble no others stay apart.

    Args:
        parts: gives the features of all shards, in the order of samples and slots; called twice.
        evidence: of all targets. Features of targets that it does not hold, or that were not named with confidence, are
            passed over.
        most: targets of a class that are clustered, drawn from `seed`; the rest go to the nearest middle in reach.
    """
    labels = np.full(len(evidence), _NOT_DRAWN, np.int32)
    gathered = list(_selected(parts(), evidence, _draw(evidence, most, seed)))
    clusterings: dict[int, _Clustering] = {}
    if gathered:
        target, vectors = (np.concatenate(columns) for columns in zip(*gathered, strict=True))
        del gathered
        for class_id, places in by_class(evidence.class_id[target]):
            labels[target[places]] = _cluster_class(class_id, vectors[places], clusterings)
        del vectors
    assigned = [
        _assign(target, vectors, evidence.class_id[target], labels[target], clusterings)
        for target, vectors in _selected(parts(), evidence, evidence.named)
    ]
    return _joined(assigned)


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
    """Positions [m] and vectors [m, D], part by part, of wanted targets with something under their heat."""
    keys = _key(evidence.sample, evidence.slot)
    for sample, slot, under in parts:
        part_keys = _key(sample, slot)
        target = np.searchsorted(keys, part_keys)
        there = target < len(keys)
        there[there] = keys[target[there]] == part_keys[there]
        there[there] = wanted[target[there]]
        there[there] = np.isfinite(under[there]).all(axis=1) & under[there].any(axis=1)
        yield target[there], under[there]


def _key(sample: NDArray[np.integer], slot: NDArray[np.integer]) -> NDArray[np.int64]:
    return (sample.astype(np.int64) << 16) + slot


def by_class(class_id: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each class with the places of its targets."""
    order = np.argsort(class_id, kind="stable")
    ids, starts = np.unique(class_id[order], return_index=True)
    for own_class, start, stop in zip(ids.tolist(), starts, [*starts[1:], len(order)], strict=False):
        yield own_class, order[start:stop]


def _cluster_class(
    class_id: int, vectors: NDArray[np.floating], clusterings: dict[int, _Clustering]
) -> NDArray[np.int32]:
    """Cluster one class's vectors [n, D]; the labels [n], and, if there are clusters, how to assign others."""
    from sklearn.cluster import HDBSCAN  # half a second that only this needs

    labels = np.full(len(vectors), NONE, np.int32)
    if len(vectors) < LEAST_TARGETS:
        return labels
    moments = Moments(vectors.shape[1])
    units = unit_length(vectors)
    moments.add(units)
    components = moments.components()
    points = components.project(units)
    least = max(LEAST_MEMBERS, int(np.ceil(LEAST_SHARE * len(points))))
    search = HDBSCAN(min_cluster_size=least, min_samples=NEIGHBOURS, copy=True)
    labels = _largest_first(search.fit_predict(points.astype(np.float64)))
    if labels.max() > NONE:
        clusterings[class_id] = _described(components, points, labels)
    return labels


def _largest_first(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    sizes = np.bincount(labels[labels > NONE])
    renamed = np.empty(len(sizes) + 1, np.int32)
    renamed[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    renamed[NONE] = NONE
    return np.asarray(renamed[labels])


def _described(components: Components, points: NDArray[np.float32], labels: NDArray[np.int32]) -> _Clustering:
    groups = [points[labels == cluster] for cluster in range(labels.max() + 1)]
    middles = np.stack([group.mean(axis=0) for group in groups])
    spreads = [np.linalg.norm(group - middle, axis=1) for group, middle in zip(groups, middles, strict=True)]
    return _Clustering(components, middles, np.array([np.quantile(spread, WITHIN) for spread in spreads], np.float32))


def _assign(
    target: NDArray[np.int64],
    vectors: NDArray[np.floating],
    class_id: NDArray[np.int32],
    labels: NDArray[np.int32],
    clusterings: dict[int, _Clustering],
) -> Members:
    """Members of one part: those that were clustered keep their labels."""
    cluster, distance = np.full(len(target), NONE, np.int32), np.full(len(target), np.nan, np.float32)
    for own_class, places in by_class(class_id):
        if own_class in clusterings:
            cluster[places], distance[places] = _nearest(vectors[places], labels[places], clusterings[own_class])
    return Members(target, cluster, distance)


def _nearest(
    vectors: NDArray[np.floating], labels: NDArray[np.int32], clustering: _Clustering
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    points = clustering.components.project(unit_length(vectors))
    distances = np.linalg.norm(points[:, None] - clustering.middles, axis=2)
    nearest = distances.argmin(axis=1).astype(np.int32)
    least = distances.min(axis=1)
    cluster = np.where(labels == _NOT_DRAWN, np.where(least <= clustering.reach[nearest], nearest, NONE), labels)
    # A member may lie nearer to another cluster's middle than to its own.
    member_distance = np.take_along_axis(distances, np.maximum(cluster, 0)[:, None], axis=1)[:, 0]
    return cluster, np.where(cluster > NONE, member_distance, least)


def _joined(parts: list[Members]) -> Members:
    if not parts:
        return Members(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("target", "cluster", "distance"))
    return Members(*columns)


_NOT_DRAWN = -2
