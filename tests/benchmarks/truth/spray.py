"""SpRAy as CoRelAy does it, beside our clusters: the same maps, and how pure the best cluster is.

Spectral relevance analysis (Lapuschkin et al. 2019) groups the maps of a class by their pixels: Euclidean distances, a
graph of 10 nearest neighbours, its symmetric normal Laplacian, its first eigenvectors, k-means; CoRelAy's pipeline
(Anders et al. 2022). It leaves the number of clusters open: try all of `COUNTS`, and let the best count. There are as
many eigenvectors as clusters: CoRelAy's own 32 are more than some hundred maps bear, two plain groups of 30 are missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COUNTS = (2, 3, 4, 6, 8)
LEAST_MEMBERS = 5
LEAST_SHARE = 0.1


def spray(maps: NDArray[np.floating], clusters: int, seed: int = 0) -> NDArray[np.int32]:
    """Clusters [n] of one class's maps [n, h, w], each scaled to sum to 1."""
    from corelay.pipeline.spectral import SpectralClustering
    from corelay.processor.clustering import KMeans
    from corelay.processor.embedding import EigenDecomposition

    flat = np.nan_to_num(maps.reshape(len(maps), -1).astype(np.float64))
    flat /= np.maximum(flat.sum(axis=1, keepdims=True), 1e-12)
    start = np.random.default_rng(seed).normal(size=len(flat))
    pipeline = SpectralClustering(
        embedding=EigenDecomposition(n_eigval=min(clusters, len(flat) - 2), kwargs={"v0": start}),
        clustering=KMeans(n_clusters=clusters, kwargs={"random_state": seed, "n_init": 10}),
    )
    return np.asarray(pipeline(flat), np.int32)


@dataclass(frozen=True)
class Purity:
    """The cluster that holds most of the truth.

    Attributes:
        purity: share of its members of which the truth is true.
        recall: share of all of which the truth is true that are in it.
    """

    cluster: int
    purity: float
    size: int
    recall: float


def best_purity(labels: NDArray[np.integer], truth: NDArray[np.bool_]) -> Purity | None:
    """The purest cluster (label 0 and up) that is large enough to be looked at; None if there is none.

    Large enough: 5 members, and a tenth of the number of those of which the truth is true. Otherwise a cluster of one
    would win. Of equally pure clusters the largest counts.
    """
    least = max(LEAST_MEMBERS, LEAST_SHARE * truth.sum())
    found = [purity(labels, truth, cluster) for cluster in range(int(labels.max(initial=-1)) + 1)]
    large = [one for one in found if one.size >= least]
    return max(large, key=lambda one: (one.purity, one.size), default=None)


def purity(labels: NDArray[np.integer], truth: NDArray[np.bool_], cluster: int) -> Purity:
    """One cluster against the truth."""
    own = labels == cluster
    right = int((own & truth).sum())
    return Purity(cluster, right / max(int(own.sum()), 1), int(own.sum()), right / max(int(truth.sum()), 1))
