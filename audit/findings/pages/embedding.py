"""What lies under the heat, in two dimensions and in a few: a map to look at, and what a target is like.

The features (`audit.scores.features`) are reduced to principal components, at most 32, whose distances
say what is alike. Two of them, t-SNE (van der Maaten & Hinton, JMLR 2008) or UMAP (McInnes, Healy & Melville 2018) of
them all, are the map. A map tells nothing by itself: t-SNE and UMAP keep who is near, not how far groups lie apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.errors import AuditError, RunError
from audit.findings.evidence.features import read_features
from audit.progress import Progress, silent, tracked
from audit.store import Run, layout
from audit.store.storage.files import check_digest, read_json, sha256, write_json
from audit.store.tables.parts import read_table, write_table

METHODS = ("pca", "tsne", "umap")
COMPONENTS = 32
MOST = 50_000
"""Targets on the map; principal components are taken from these too."""
_BLOCK = 1 << 16
_PERPLEXITY = 30.0
_FEWEST = 4
_ARTEFACTS = "artefacts"
_KEYS = [("sample", pa.int64()), ("slot", pa.int16())]


@dataclass(frozen=True, slots=True)
class Made:
    """How an embedding was made.

    Attributes:
        method: of the map, one of `METHODS`.
        seed: of the sample, and of the map.
        targets: that have features.
        placed: of them, on the map.
        components: numbers kept of each.
        variance: share of the variance that they hold.
        ledger: digest of the run's ledger that the features are from.
    """

    method: str
    seed: int
    targets: int
    placed: int
    components: int
    variance: float
    ledger: str


class Embedding:
    """The embedding of a run, read when it is asked for; `RUN/embedding`.

    `record.json` is written last and names the table with its sha256.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._folder = run.path / layout.EMBEDDING
        self._record_json = self._folder / layout.LABEL_RECORD
        self._again = f"again: `camaudit embed {run.path}`"

    @cached_property
    def made(self) -> Made | None:
        """How it was made; None where it was not.

        Raises:
            RunError: its record is damaged.
        """
        if not self._record_json.exists():
            return None
        try:
            return Made(**{name: self._record[name] for name in Made.__slots__})
        except KeyError:
            raise RunError(f"Expected {self._record_json} to say how it was made; make it {self._again}") from None

    @cached_property
    def _record(self) -> dict[str, Any]:
        return read_json(self._record_json, f"make it {self._again}")

    def points(self) -> pa.Table:
        """The map: `sample`, `slot`, `x`, `y` of the targets on it, in the order of samples and slots.

        Raises:
            RunError: it is damaged.
        """
        return self._table(["sample", "slot", "x", "y"]).filter(pc.field("x").is_valid())

    def nearest(self, sample: int, slot: int, count: int) -> list[tuple[int, int]]:
        """The targets that are most like one, nearest first; none where it has no features.

        Raises:
            RunError: the table is damaged.
        """
        place = np.flatnonzero((self._keys[0] == sample) & (self._keys[1] == slot))
        if not len(place):
            return []
        near = nearest(self._vectors, int(place[0]), count)
        return [(int(self._keys[0][row]), int(self._keys[1][row])) for row in near]

    @cached_property
    def _keys(self) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        table = self._table(["sample", "slot"])
        return table["sample"].to_numpy(), table["slot"].to_numpy()

    @cached_property
    def _vectors(self) -> NDArray[np.float16]:
        """[n, D]; a million take 64 MB."""
        column = self._table(["vector"])["vector"].combine_chunks()
        values = np.frombuffer(column.buffers()[1], np.float16)
        return values.reshape(-1, column.type.byte_width // values.itemsize)[column.offset :][: len(column)]

    def _table(self, columns: list[str]) -> pa.Table:
        path = self._folder / layout.POINTS
        check_digest(path, self._record.get(_ARTEFACTS, {}).get(layout.POINTS, ""), f"make it {self._again}")
        return read_table(path, columns)

    def write(self, made: Made, columns: Mapping[str, Any]) -> None:
        """Write it; what was there before counts no more. To be read by another `Embedding`."""
        self._record_json.unlink(missing_ok=True)
        vector = ("vector", pa.binary(columns["vector"].itemsize * made.components))  # read in half the time of lists
        path = self._folder / layout.POINTS
        columns = {**columns, "vector": _as_bytes(columns["vector"])}
        write_table(path, columns, pa.schema([*_KEYS, ("x", pa.float32()), ("y", pa.float32()), vector]))
        told = {name: getattr(made, name) for name in Made.__slots__}
        write_json(self._record_json, told | {_ARTEFACTS: {layout.POINTS: sha256(path)}})


def embed(run: Run, method: str = "pca", seed: int = 0, progress: Progress = silent) -> Made:
    """Place the targets of a run's finished shards by what lies under their heat, and write where.

    Raises:
        RunError: the run kept no features, or too few.
        AuditError: UMAP is asked for and not installed.
    """
    place = _placing(method)
    sample, slot, features = _gathered(run, progress)
    if len(sample) < _FEWEST:
        raise RunError(
            f"{run.path} keeps what lies under the heat of {len(sample)} targets, so there is nothing to place: only "
            "methods whose maps come from the activation of one layer leave that, and only in runs with scores"
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(len(sample))[:MOST])
    vectors, variance = _components(features, chosen)
    places = np.full((len(sample), 2), np.nan, np.float32)
    places[chosen] = place(vectors[chosen].astype(np.float32), seed)
    made = Made(method, seed, len(sample), len(chosen), vectors.shape[1], variance, run.ledger.digest())
    x, y = places.T
    Embedding(run).write(made, {"sample": sample, "slot": slot, "x": x, "y": y, "vector": vectors})
    return made


def _as_bytes(vectors: NDArray[np.float16]) -> pa.Array:
    """Rows [n, D] as n strings of bytes."""
    kind = pa.binary(vectors.itemsize * vectors.shape[1])
    return pa.Array.from_buffers(kind, len(vectors), [None, pa.py_buffer(np.ascontiguousarray(vectors))])


def nearest(vectors: NDArray[np.floating], place: int, count: int) -> NDArray[np.intp]:
    """Places of the rows [count] that lie nearest to one of vectors [n, D], by distance, without itself.

    >>> nearest(np.array([[0.0], [3.0], [1.0], [-2.0]]), 0, 2).tolist()
    [2, 3]
    """
    own = vectors[place].astype(np.float32)
    distance = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        beside = vectors[start : start + _BLOCK].astype(np.float32) - own
        distance[start : start + _BLOCK] = np.einsum("nd,nd->n", beside, beside)
    distance[place] = np.inf
    count = min(count, len(vectors) - 1)
    near = np.argpartition(distance, count - 1)[:count] if count else np.zeros(0, np.intp)
    return near[np.lexsort((near, distance[near]))]


def _gathered(run: Run, progress: Progress) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.floating]]:
    """Samples [n], slots [n] and features [n, D] of all targets that have any."""
    shards = run.having("features")
    parts = list(tracked(progress, "reading features", read_features(run, shards)))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int16), np.zeros((0, 1), np.float16)
    sample, slot, features = zip(*parts, strict=True)
    return np.concatenate(sample), np.concatenate(slot), np.concatenate(features)


def _components(features: NDArray[np.floating], chosen: NDArray[np.intp]) -> tuple[NDArray[np.float16], float]:
    """Principal components [n, C] of features [n, D], taken from chosen rows, and the share of variance they hold."""
    from sklearn.decomposition import PCA

    most = min(COMPONENTS, features.shape[1], len(chosen))
    reduce = PCA(most, svd_solver="full" if len(chosen) < 500 else "covariance_eigh")
    reduce.fit(features[chosen].astype(np.float32))
    blocks = range(0, len(features), _BLOCK)
    reduced = [reduce.transform(features[start : start + _BLOCK].astype(np.float32)) for start in blocks]
    return np.concatenate(reduced).astype(np.float16), float(np.nansum(reduce.explained_variance_ratio_))


Place = Callable[[NDArray[np.float32], int], NDArray[np.floating]]
"""From components [m, C] and a seed to places [m, 2]."""


def _placing(method: str) -> Place:
    if method not in METHODS:
        raise ValueError(f"Expected `method` to be one of {', '.join(METHODS)}, got {method!r}")
    return _umap() if method == "umap" else _tsne if method == "tsne" else _first_two


def _first_two(vectors: NDArray[np.float32], seed: int) -> NDArray[np.floating]:
    return np.pad(vectors, ((0, 0), (0, max(2 - vectors.shape[1], 0))))[:, :2]


def _tsne(vectors: NDArray[np.float32], seed: int) -> NDArray[np.floating]:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    return np.asarray(TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors))


def _umap() -> Place:
    try:
        from umap import UMAP
    except ImportError:
        raise AuditError("Expected umap-learn to be installed; `pip install 'camaudit[umap]'`, or take tsne") from None

    def place(vectors: NDArray[np.float32], seed: int) -> NDArray[np.floating]:
        return np.asarray(UMAP(random_state=seed, n_jobs=1).fit_transform(vectors))

    return place
