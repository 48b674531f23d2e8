"""Targets placed by what lies under their heat: the map, the neighbours, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_run import FEATURES, draw_run
from small_run import make_run

from audit.errors import AuditError, RunError
from audit.findings.evidence.features import read_features
from audit.findings.pages import embedding as embedding_module
from audit.findings.pages.embedding import COMPONENTS, Embedding, embed, nearest
from audit.store import Run, layout


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 600)
    embed(run)
    return run


def features(run: Run) -> tuple[list[tuple[int, int]], np.ndarray]:
    sample, slot, vectors = (np.concatenate(part) for part in zip(*read_features(run, run.done()), strict=True))
    return list(zip(sample.tolist(), slot.tolist(), strict=True)), vectors.astype(np.float64)


def components(vectors: np.ndarray) -> np.ndarray:
    """Principal components by the singular value decomposition."""
    centred = vectors - vectors.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2].T


def test_the_map_by_pca_is_the_first_two_principal_components(drawn: Run) -> None:
    points = Embedding(drawn).points()
    keys, vectors = features(drawn)
    assert list(zip(points["sample"].to_pylist(), points["slot"].to_pylist(), strict=True)) == keys
    expected = components(vectors)
    for name, column in zip("xy", expected.T[:2], strict=True):
        found = points[name].to_numpy()
        sign = np.sign(found @ column)
        np.testing.assert_allclose(found, sign * column, atol=1e-2 * np.abs(column).max())


def test_what_is_kept_holds_the_share_of_the_variance_that_is_told(drawn: Run) -> None:
    made = Embedding(drawn).made
    assert made is not None
    assert (made.targets, made.placed, made.components, made.method) == (600, 600, COMPONENTS, "pca")
    variance = components(features(drawn)[1]).var(axis=0)
    assert FEATURES > COMPONENTS
    assert made.variance == pytest.approx(variance[:COMPONENTS].sum() / variance.sum(), abs=1e-4)


def test_the_nearest_are_those_of_a_plain_loop_over_the_components(drawn: Run) -> None:
    keys, vectors = features(drawn)
    reduced = components(vectors)[:, :COMPONENTS]
    for place in (0, 17, 599):
        distances = sorted((np.linalg.norm(reduced[other] - reduced[place]), other) for other in range(600))
        expected = [keys[other] for _, other in distances if other != place]
        found = Embedding(drawn).nearest(*keys[place], 10)
        assert len(set(found) & set(expected[:10])) >= 9  # components are kept in half precision
        assert keys[place] not in found
    assert Embedding(drawn).nearest(10**9, 0, 5) == []
    assert len(Embedding(drawn).nearest(*keys[0], 10**6)) == 599


def test_nearest_goes_by_distance_then_place_over_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_module, "_BLOCK", 7)
    vectors = np.random.default_rng(3).integers(0, 3, (40, 2)).astype(np.float16)
    distance = ((vectors - vectors[5]).astype(np.float64) ** 2).sum(axis=1)
    expected = [row for row in np.lexsort((np.arange(40), distance)) if row != 5]
    assert sorted(distance[nearest(vectors, 5, 12)]) == sorted(distance[expected[:12]])
    assert nearest(vectors[:1], 0, 3).tolist() == []


def test_above_the_most_a_sample_is_placed_and_all_have_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_module, "MOST", 100)
    run = draw_run(tmp_path / "run", 600)
    made = embed(run, seed=4)
    assert (made.targets, made.placed) == (600, 100)
    points = Embedding(run).points()
    assert len(points) == 100
    off = next(key for key in features(run)[0] if key[0] not in set(points["sample"].to_pylist()))
    assert len(Embedding(run).nearest(*off, 5)) == 5
    embed(run, seed=5)
    assert Embedding(run).points()["sample"].to_pylist() != points["sample"].to_pylist()
    embed(run, seed=4)
    assert Embedding(run).points().equals(points)


def test_t_sne_puts_what_is_alike_side_by_side(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 400)
    embed(run, "tsne")
    points = Embedding(run).points()
    places = np.stack([points["x"].to_numpy(), points["y"].to_numpy()], axis=1)
    group = np.array([sample % 20 for sample in points["sample"].to_pylist()])
    near = np.array([np.argsort(((places - place) ** 2).sum(axis=1))[1] for place in places])
    assert (group[near] == group).mean() > 0.9


def test_a_run_without_features_is_refused_in_one_line(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path, scored=False))
    with pytest.raises(RunError, match=r"keeps what lies under the heat of \d targets, so there is nothing to place"):
        embed(run)
    assert Embedding(run).made is None


def test_umap_that_is_not_installed_is_told_before_anything_is_read(
    drawn: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(AuditError, match=r"Expected umap-learn to be installed; `pip install 'camaudit\[umap\]'`"):
        embed(drawn, "umap")
    with pytest.raises(ValueError, match="Expected `method` to be one of pca, tsne, umap, got 'lda'"):
        embed(drawn, "lda")


def test_an_embedding_that_was_changed_is_refused(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 300)
    embed(run)
    path = run.path / layout.EMBEDDING / layout.POINTS
    path.write_bytes(path.read_bytes()[:-9] + b"flipped!!")
    with pytest.raises(RunError, match=r"points\.parquet is not what was written; make it again: `camaudit embed"):
        Embedding(run).points()
