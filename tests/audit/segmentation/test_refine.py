"""Steps of refinement: each formula against loops, and what holds of all steps."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from audit.segmentation.refine import STEPS, Step, parse_steps, refine

SIZE = (13, 17)
Floats = NDArray[np.float64]


def steps() -> list[Step]:
    """One of each that needs no training."""
    return [step for name in STEPS if name != "learnt" for step in parse_steps(name)]


every_step = pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)


def picture(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (*size, 3), np.uint8)


def halves(size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Black on the left, white on the right."""
    image = np.zeros((*size, 3), np.uint8)
    image[:, size[1] // 2 :] = 255
    return image


def maps(rng: np.random.Generator, count: int = 2, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    heat = rng.random((count, *size), np.float32)
    scaled: NDArray[np.float32] = heat / heat.max(axis=(1, 2), keepdims=True)
    return scaled


def seen(rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Activations of two layers."""
    return [rng.random((6, 8, 9), np.float32), rng.random((5, 4, 5), np.float32)]


# What holds of every step.


@every_step
def test_maps_keep_their_shape_and_peak_and_stay_in_range(step: Step, rng: np.random.Generator) -> None:
    heat = maps(rng) * np.float32([[[1.0]], [[0.6]]])
    refined = step(heat, picture(rng), seen(rng))
    assert refined.shape == heat.shape
    assert refined.dtype == np.float32
    assert refined.min() >= 0
    np.testing.assert_allclose(refined.max(axis=(1, 2)), [1.0, 0.6], rtol=1e-6)
    assert not np.array_equal(refined, heat)


@every_step
def test_constant_heat_stays_constant(step: Step, rng: np.random.Generator) -> None:
    heat = np.full((1, *SIZE), 0.7, np.float32)
    np.testing.assert_allclose(step(heat, picture(rng), seen(rng)), heat, rtol=1e-4)


@every_step
def test_a_map_without_heat_stays_so_and_changes_no_other(step: Step, rng: np.random.Generator) -> None:
    heat, image, features = maps(rng), picture(rng), seen(rng)
    alone = step(heat, image, features)
    with_empty = step(np.insert(heat, 1, 0, axis=0), image, features)
    assert not with_empty[1].any()
    np.testing.assert_allclose(with_empty[[0, 2]], alone, atol=1e-6)


@every_step
def test_the_order_of_classes_makes_no_difference(step: Step, rng: np.random.Generator) -> None:
    heat, image, features = maps(rng, 3), picture(rng), seen(rng)
    np.testing.assert_allclose(step(heat[::-1], image, features)[::-1], step(heat, image, features), atol=1e-5)


@every_step
def test_no_classes_give_no_maps(step: Step, rng: np.random.Generator) -> None:
    assert step(np.zeros((0, *SIZE), np.float32), picture(rng), seen(rng)).shape == (0, *SIZE)


@every_step
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_thin_images_are_refined(step: Step, size: tuple[int, int], rng: np.random.Generator) -> None:
    heat = maps(rng, 2, size)
    refined = step(heat, picture(rng, size), seen(rng))
    assert np.isfinite(refined).all()
    np.testing.assert_allclose(refined.max(axis=(1, 2)), 1, rtol=1e-6)


@every_step
def test_a_step_leaves_what_it_was_given_and_gives_the_same_again(step: Step, rng: np.random.Generator) -> None:
    heat, image, features = maps(rng), picture(rng), seen(rng)
    kept = heat.copy(), image.copy(), [layer.copy() for layer in features]
    first = step(heat, image, features)
    np.testing.assert_array_equal(step(heat, image, features), first)
    np.testing.assert_array_equal(heat, kept[0])
    np.testing.assert_array_equal(image, kept[1])
    for layer, before in zip(features, kept[2], strict=True):
        np.testing.assert_array_equal(layer, before)


@every_step
def test_a_flat_image_is_no_obstacle(step: Step, rng: np.random.Generator) -> None:
    heat = maps(rng)
    refined = step(heat, np.full((*SIZE, 3), 90, np.uint8), seen(rng))
    assert np.isfinite(refined).all()


@pytest.mark.parametrize("name", ["pamr", "walker", "affinity"])
def test_a_mirrored_image_gives_mirrored_heat(name: str, rng: np.random.Generator) -> None:
    """Not so for superpixels: which of two equal edges Felzenszwalb's sort takes first is chance."""
    heat, image, features = maps(rng), picture(rng), seen(rng)
    (step,) = parse_steps(name)
    mirrored = step(heat[:, :, ::-1].copy(), image[:, ::-1].copy(), [layer[:, :, ::-1].copy() for layer in features])
    np.testing.assert_allclose(mirrored[:, :, ::-1], step(heat, image, features), atol=2e-3)


@pytest.mark.parametrize("name", ["superpixel", "pamr", "walker"])
def test_heat_spreads_over_its_side_of_an_edge_and_not_beyond(name: str) -> None:
    size = (24, 32)
    heat = np.zeros((1, *size), np.float32)
    heat[0, :, :14] = 0.3
    heat[0, 8:16, 5:11] = 1
    (step,) = parse_steps(name)
    refined = step(heat, halves(size))
    assert refined[0, 4, 3] > 0.31
    assert refined[0, :, 16:].max() < 0.02


def test_a_photograph_of_any_size_is_worked_at_a_bounded_resolution(rng: np.random.Generator) -> None:
    """The same picture four times as wide: the heat differs by what resizing does."""
    image, heat = halves((40, 60)), np.linspace(0, 1, 2400, dtype=np.float32).reshape(1, 40, 60)
    large_image, large_heat = image.repeat(4, axis=0).repeat(4, axis=1), heat.repeat(4, axis=1).repeat(4, axis=2)
    for name in ("superpixel", "pamr", "walker"):
        (step,) = parse_steps(f"{name}:pixels=2400")
        difference = step(large_heat, large_image)[:, 2::4, 2::4] - step(heat, image)
        assert np.abs(difference).mean() < 0.01


# Formulas, cell by cell.


def test_each_superpixel_takes_its_mean(rng: np.random.Generator) -> None:
    size = (20, 30)
    heat, image = maps(rng, 2, size), halves(size)
    (step,) = parse_steps("superpixel:scale=20+300")
    refined = step(heat, image)
    for before, after in zip(heat, refined, strict=True):
        total = np.zeros(size)
        for scale in (20, 300):
            regions = felzenszwalb(image, scale=scale, sigma=0.8, min_size=20)
            assert regions.max() > 0
            for y, x in np.ndindex(size):
                total[y, x] += before[regions == regions[y, x]].astype(float).mean()
        np.testing.assert_allclose(after, total / total.max() * before.max(), rtol=1e-5)


def pamr(heat: Floats, image: NDArray[np.uint8], turns: int, width: float) -> Floats:
    """PAMR [h, w] of one map, pixel by pixel."""
    height, columns = heat.shape
    offsets = [(d * y, d * x) for d in (1, 2, 4, 8, 12, 24) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]

    def around(y: int, x: int) -> list[tuple[int, int]]:
        return [(min(max(y + dy, 0), height - 1), min(max(x + dx, 0), columns - 1)) for dy, dx in offsets]

    weights = {}
    for y in range(height):
        for x in range(columns):
            colours = [image[place].astype(float) / 255 for place in around(y, x)]
            spread = np.maximum(np.std(colours, axis=0), 1e-4)
            here = image[y, x] / 255
            likeness = [-float(np.mean(np.abs(colour - here) / (width * spread))) for colour in colours]
            total = sum(exp(value) for value in likeness)
            weights[y, x] = [exp(value) / total for value in likeness]
    for _ in range(turns):
        heat = np.array(
            [
                [
                    sum(w * heat[place] for w, place in zip(weights[y, x], around(y, x), strict=True))
                    for x in range(columns)
                ]
                for y in range(height)
            ]
        )
    return heat


def test_pamr_is_its_formula(rng: np.random.Generator) -> None:
    heat, image = maps(rng, 2, (7, 9)), (picture(rng, (7, 9)) // 4)
    (step,) = parse_steps("pamr:steps=3:width=0.4")
    refined = step(heat, image)
    for before, after in zip(heat, refined, strict=True):
        expected = pamr(before.astype(float), image, 3, 0.4)
        np.testing.assert_allclose(after, expected / expected.max() * before.max(), rtol=1e-4)


def walker(seeds: NDArray[np.int64], image: NDArray[np.uint8], beta: float) -> dict[int, Floats]:
    """Chance of arriving at each kind of seed first, by a dense system of equations (Grady 2006)."""
    height, columns = seeds.shape
    colours = image.astype(float) / 255
    laplacian = np.zeros((seeds.size, seeds.size))
    for y in range(height):
        for x in range(columns):
            for ny, nx in ((y + 1, x), (y, x + 1)):
                if ny < height and nx < columns:
                    difference = float(((colours[y, x] - colours[ny, nx]) ** 2).sum())
                    weight = exp(-beta * difference / (10 * colours.std() * sqrt(3))) + 1e-6
                    a, b = y * columns + x, ny * columns + nx
                    laplacian[a, b] = laplacian[b, a] = -weight
                    laplacian[a, a] += weight
                    laplacian[b, b] += weight
    flat = seeds.ravel()
    free, fixed = np.flatnonzero(flat == 0), np.flatnonzero(flat)
    chances = {}
    for kind in np.unique(flat[fixed]):
        chance = (flat == kind).astype(float)
        chance[free] = np.linalg.solve(laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, fixed)] @ chance[fixed])
        chances[int(kind)] = chance.reshape(seeds.shape)
    return chances


def test_the_random_walker_is_its_formula(rng: np.random.Generator) -> None:
    heat, image = maps(rng, 2, (8, 9)), picture(rng, (8, 9)) // 8
    (step,) = parse_steps("walker:low=0.4:high=0.8:beta=20")
    refined = step(heat, image)
    seeds = np.zeros((8, 9), np.int64)
    for y in range(8):
        for x in range(9):
            best = int(heat[:, y, x].argmax())
            if heat[best, y, x] >= 0.8:
                seeds[y, x] = best + 2
            if heat[best, y, x] <= 0.4:
                seeds[y, x] = 1
    assert set(np.unique(seeds)) == {0, 1, 2, 3}
    chances = walker(seeds, image, 20)
    for place in (0, 1):
        np.testing.assert_allclose(refined[place], chances[place + 2], atol=0.01)


def affinity(heat: Floats, layers: list[Floats], power: float, turns: int) -> Floats:
    """The walk [h, w] of one map, position by position, for layers [channels, h, w] of its own grid."""
    height, columns = heat.shape
    places = list(np.ndindex(height, columns))
    likeness = np.ones((len(places), len(places)))
    for layer in layers:
        apart = [layer[:, y, x] - layer.mean(axis=(1, 2)) for y, x in places]
        for i, a in enumerate(apart):
            for j, b in enumerate(apart):
                cosine = float(a @ b) / sqrt(float(a @ a) * float(b @ b))
                likeness[i, j] *= max(cosine, 0) ** (power / len(layers))
    walked = np.array([heat[place] for place in places])
    for _ in range(turns):
        walked = np.array([float(row @ walked) / float(row.sum()) for row in likeness])
    share = (walked - walked.min()) / (walked.max() - walked.min())
    stretched: Floats = (heat.min() + share * (heat.max() - heat.min())).reshape(heat.shape)
    return stretched


def test_the_walk_by_affinities_is_its_formula(rng: np.random.Generator) -> None:
    heat, image = maps(rng, 2, (5, 6)), picture(rng, (5, 6))
    layers = [rng.random((4, 5, 6)).astype(np.float32), rng.random((7, 5, 6)).astype(np.float32)]
    (step,) = parse_steps("affinity:power=3:turns=2")
    refined = step(heat, image, layers)
    for before, after in zip(heat, refined, strict=True):
        expected = affinity(before.astype(float), [layer.astype(float) for layer in layers], 3, 2)
        np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)


def test_heat_walks_to_where_the_network_sees_the_same_and_not_elsewhere(rng: np.random.Generator) -> None:
    """Two places that are alike to the network, far apart; heat at one of them comes to the other."""
    layer = np.zeros((2, 12, 16), np.float32)
    layer[0] = 1
    for rows, columns in ((slice(1, 5), slice(1, 5)), (slice(8, 11), slice(11, 15))):
        layer[:, rows, columns] = [[[0]], [[1]]]
    heat = np.zeros((1, 12, 16), np.float32)
    heat[0, 2:4, 2:4] = 1
    (step,) = parse_steps("affinity")
    refined = step(heat, picture(rng, (12, 16)), [layer])
    np.testing.assert_allclose(refined[0], layer[1], atol=1e-5)


def test_only_the_finest_layers_count_and_so_many_as_are_asked_for(rng: np.random.Generator) -> None:
    heat, image, features = maps(rng), picture(rng), seen(rng)
    both, (finest,) = parse_steps("affinity")[0](heat, image, features), parse_steps("affinity:layers=1")
    np.testing.assert_array_equal(parse_steps("affinity")[0](heat, image, [*features, features[0] * 2]), both)
    np.testing.assert_array_equal(finest(heat, image, features), finest(heat, image, features[:1]))
    assert not np.array_equal(finest(heat, image, features), both)


def test_features_that_are_the_same_everywhere_leave_heat_where_it_is() -> None:
    heat, image = maps(np.random.default_rng(1), 1), halves()
    (step,) = parse_steps("affinity")
    np.testing.assert_allclose(step(heat, image, [np.ones((3, 6, 6), np.float32)]), heat, atol=1e-6)


# At the door.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("superpixl", r"^Expected --refine to be names of superpixel, pamr, walker, affinity.*got 'superpixl'$"),
        ("pamr,", r"got ''$"),
        ("pamr:width", r"^Expected options of pamr as steps=10:width=0.1:pixels=65536, got 'width'$"),
        ("pamr:iterations=3", r"got 'iterations=3'$"),
        ("pamr:steps=two", r"^Expected the option steps of pamr to be a whole number, got 'two'$"),
        ("walker:low=x", r"^Expected the option low of walker to be a number, got 'x'$"),
        ("walker:low=0.8:high=0.5", r"^Expected 0 <= `low` < `high` <= 1, got 0.8 and 0.5$"),
        ("superpixel:scale=0", r"^Expected `scale` to be numbers above 0, as 100\+300, got '0'$"),
        ("superpixel:scale=a", r"got 'a'$"),
        ("pamr:steps=0", r"^Expected `steps` of at least 1, got 0$"),
        ("affinity:layers=0", r"^Expected `layers` of at least 1, got 0$"),
        ("learnt", r"^Expected --learn-from for learnt, or a trained head as learnt:checkpoint=FILE; got none$"),
    ],
)
def test_what_is_no_step_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_steps(text)


def test_steps_are_taken_in_order_with_their_options(rng: np.random.Generator) -> None:
    heat, image = maps(rng), picture(rng)
    first, second = parse_steps(" pamr:steps=2 ,superpixel:scale=50")
    expected = second(first(heat, image), image)
    np.testing.assert_array_equal(refine(parse_steps("pamr:steps=2,superpixel:scale=50"), heat, image), expected)
    assert not np.array_equal(refine([second, first], heat, image), expected)


def test_what_does_not_fit_is_refused(rng: np.random.Generator) -> None:
    (step,), (needy,) = parse_steps("pamr"), parse_steps("affinity")
    heat, image = maps(rng), picture(rng)
    with pytest.raises(ValueError, match=r"^Expected an image \[13, 17, 3\] of uint8, got \[17, 13, 3\] of uint8$"):
        step(heat, image.transpose(1, 0, 2))
    with pytest.raises(ValueError, match=r"^Expected heat \[K, h, w\] of float32, got \[13, 17\] of float32$"):
        step(heat[0], image)
    with pytest.raises(ValueError, match=r"^Expected heat in 0..1, got 0 to 2$"):
        step(np.where(heat < 0.5, 0, 2).astype(np.float32), image)
    with pytest.raises(ValueError, match=r"^Expected heat in 0..1, got nan"):
        step(np.full_like(heat, np.nan), image)
    with pytest.raises(ValueError, match=r"^Expected activations of the network for affinity, got none$"):
        needy(heat, image)
