"""Formulas of faithfulness, each against loops."""

from __future__ import annotations

import numpy as np
import oracles
import pytest

from audit.scores import faithfulness as formulas


def image_of(rng: np.random.Generator, height: int = 7, width: int = 9) -> formulas.Image:
    return rng.random((3, height, width), np.float32)


@pytest.mark.parametrize("share", [0, 0.13, 0.5, 1])
def test_the_hottest_pixels_are_exchanged_and_no_other(share: float, rng: np.random.Generator) -> None:
    image, other = image_of(rng), image_of(rng)
    heat = rng.integers(0, 9, (7, 9)) / 8
    found = formulas.exchange(image, other, formulas.rank_pixels(heat), share)
    picked = oracles.hottest_pixels(heat, share)
    for place in np.ndindex(7, 9):
        source = other if place in picked else image
        np.testing.assert_array_equal(found[:, place[0], place[1]], source[:, place[0], place[1]])


@pytest.mark.parametrize("points", [2, 3, 17])
def test_the_area_is_that_of_the_trapezoids(points: int, rng: np.random.Generator) -> None:
    curves = rng.random((4, points))
    np.testing.assert_allclose(formulas.area_under(curves), [oracles.curve_area(curve) for curve in curves])


def test_blurring_is_a_convolution_with_a_gaussian_of_five_pixels_in_224(rng: np.random.Generator) -> None:
    image = image_of(rng, 28, 11)
    np.testing.assert_allclose(formulas.blurred(image), oracles.gaussian_blur(image, 28 * 5 / 224), rtol=1e-4)


def test_an_explanation_shows_the_image_as_far_as_the_map_is_hot() -> None:
    heat = np.array([[-1.0, 0.0], [1.0, 2.0]])
    found = formulas.shown(np.full((3, 2, 2), 4, np.float32), heat)
    assert found.tolist() == [[[0, 0], [2, 4]]] * 3
    np.testing.assert_allclose(formulas.shown(np.full((3, 2, 2), 4, np.float32), heat / 16), found)
    assert not formulas.shown(np.ones((3, 2, 2), np.float32), -np.ones((2, 2))).any()


@pytest.mark.parametrize(
    ("whole", "explained", "expected"), [(0.8, 0.6, 0.25), (0.8, 0.9, 0), (0.5, 0, 1), (0, 0, 0), (0, 0.1, 0)]
)
def test_the_drop_is_the_share_lost_and_never_negative(whole: float, explained: float, expected: float) -> None:
    assert formulas.drop(whole, explained) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_imputed_pixels_are_the_means_of_their_neighbours(
    share: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formulas, "_NOISE", 0)
    image = image_of(rng)
    gone = formulas.hottest(formulas.rank_pixels(rng.random((7, 9))), share)
    found = formulas.impute(image, gone, rng)
    np.testing.assert_allclose(found, oracles.imputed(image, gone), atol=1e-4)
    np.testing.assert_array_equal(found[:, ~gone], image[:, ~gone])


def test_pytorch_grad_cam_imputes_the_same(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason="grad-cam is not installed")
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(formulas, "_NOISE", 0)
    image, gone = image_of(rng, 16, 12), rng.random((16, 12)) < 0.5
    expected = road.NoisyLinearImputer(noise=0)(torch.from_numpy(image), torch.from_numpy(1.0 - gone))
    np.testing.assert_allclose(formulas.impute(image, gone, rng), expected.numpy(), atol=1e-5)


def test_imputed_pixels_carry_noise_of_a_hundredth(rng: np.random.Generator) -> None:
    gone = np.ones((40, 40), bool)
    gone[0] = False
    found = formulas.impute(np.ones((3, 40, 40), np.float32), gone, rng)
    assert found[:, gone].std() == pytest.approx(0.01, rel=0.1)
    assert found[:, gone].mean() == pytest.approx(1, abs=0.001)


def test_imputing_nothing_gives_the_image_and_imputing_all_of_it_is_refused(rng: np.random.Generator) -> None:
    image = image_of(rng)
    assert formulas.impute(image, np.zeros((7, 9), bool), rng) is image
    with pytest.raises(ValueError, match="at least one pixel"):
        formulas.impute(image, np.ones((7, 9), bool), rng)


@pytest.mark.parametrize("grid", [(1, 1), (4, 4), (5, 7)])
def test_the_centre_map_falls_with_the_distance_from_the_centre(grid: tuple[int, int]) -> None:
    found = formulas.centre_map(grid)
    for i, j in np.ndindex(*grid):
        y, x = (i + 0.5) / grid[0] - 0.5, (j + 0.5) / grid[1] - 0.5
        assert found[i, j] == pytest.approx(1 - (y**2 + x**2) ** 0.5 / 0.5**0.5)
