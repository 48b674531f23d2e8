"""Principal components against those of all vectors at once."""

from __future__ import annotations

import numpy as np
import pytest

from audit.stats.components import Moments, unit_length

SCALES = np.array([5.0, 3, 2, 0.2, 0.1])


def drawn(rng: np.random.Generator) -> np.ndarray:
    turned = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    return rng.normal(size=(400, 5)) * SCALES @ turned + 3


def of_parts(vectors: np.ndarray) -> Moments:
    moments = Moments(vectors.shape[1])
    for part in (vectors[:1], vectors[1:1], vectors[1:150], vectors[150:]):
        moments.add(part)
    return moments


def test_moments_of_parts_are_those_of_the_whole(rng: np.random.Generator) -> None:
    vectors = drawn(rng)
    moments = of_parts(vectors)
    assert moments.count == 400
    np.testing.assert_allclose(moments.mean, vectors.mean(axis=0))
    np.testing.assert_allclose(moments.covariance(), np.cov(vectors.T))
    np.testing.assert_array_equal(of_parts(vectors[:1]).covariance(), np.zeros((5, 5)))


def test_components_are_those_of_a_singular_value_decomposition(rng: np.random.Generator) -> None:
    vectors = drawn(rng)
    components = of_parts(vectors).components(share=0.9999999)
    _, singular, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(components.variance, singular**2 / 399)
    np.testing.assert_allclose(np.abs(components.axes @ axes.T), np.eye(5), atol=1e-6)
    assert (components.axes[np.arange(5), np.abs(components.axes).argmax(axis=1)] > 0).all()
    expected = (vectors - vectors.mean(axis=0)) @ components.axes.T
    np.testing.assert_allclose(components.project(vectors), expected, atol=1e-5)


def test_the_fewest_components_are_kept_that_hold_the_share(rng: np.random.Generator) -> None:
    moments = of_parts(drawn(rng))
    held = np.cumsum(np.sort(np.linalg.eigvalsh(moments.covariance()))[::-1])
    held /= held[-1]
    for kept in (1, 2, 3):
        assert len(moments.components(share=held[kept - 1] - 1e-6).variance) == kept
    assert len(moments.components(most=2, share=0.999).variance) == 2
    assert len(moments.components(most=1).variance) == 1


def test_vectors_without_spread_have_no_variance_and_all_lie_in_the_middle() -> None:
    components = of_parts(np.ones((9, 5))).components()
    assert not components.variance.any()
    assert not components.project(np.ones((2, 5))).any()


def test_unit_length_keeps_directions_and_zeros() -> None:
    scaled = unit_length(np.array([[3, 4], [0, 0], [0, -0.5]], np.float16))
    np.testing.assert_allclose(scaled, [[0.6, 0.8], [0, 0], [0, -1]])
    assert scaled.dtype == np.float32


def test_sixteen_components_and_nineteen_twentieths_of_the_variance_are_enough() -> None:
    rng = np.random.default_rng(0)
    many = Moments(40)
    many.add(rng.normal(size=(500, 40)))
    assert len(many.components().variance) == 16
    few = Moments(40)
    few.add(rng.normal(size=(5000, 40)) * np.sqrt([90, 6, *[4 / 38] * 38]))
    held = np.linalg.eigvalsh(few.covariance())[::-1]
    assert len(few.components().variance) == int(np.searchsorted(np.cumsum(held) / held.sum(), 0.95)) + 1 == 2
    assert many.components().variance == pytest.approx(np.linalg.eigvalsh(many.covariance())[::-1][:16])
