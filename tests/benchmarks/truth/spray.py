"""SpRAy as CoRelAy does it, beside our clusters, on the same maps.

Spectral relevance analysis (Lapuschkin et al. 2019) groups the maps of a class by their pixels: Euclidean distances, a
graph of 10 nearest neighbours, its symmetric normal Laplacian, its first eigenvectors, k-means; CoRelAy's pipeline
(Anders et al. 2022). It leaves the number of clusters open: it is told each of `COUNTS`. There are as many eigenvectors
as clusters: CoRelAy's own 32 are more than some hundred maps bear, two plain groups of 30 are missed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COUNTS = (2, 3, 4, 6, 8)


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
