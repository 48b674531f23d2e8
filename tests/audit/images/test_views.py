"""Views: what the network saw of an image, and where a map's cells lie on it."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import InterpolationMode
from torchvision.transforms.v2.functional import resize

from audit.images.resizing import scale_and_cut
from audit.images.views import FITS, Fit, View, upsample

RESAMPLING = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
sides = st.integers(1, 90)
fits = st.builds(Fit, st.integers(8, 64), st.sampled_from(FITS)) | st.builds(
    Fit, st.just(32), st.just("crop"), st.integers(32, 50)
)


def one_hot(h: int, w: int, row: int, column: int) -> np.ndarray:
    cells = np.zeros((h, w), np.float32)
    cells[row, column] = 1
    return cells


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ramps(height: int, width: int) -> np.ndarray:
    """An image whose red says how far right a pixel lies, and whose green how far down, 0..250."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.round((np.arange(width) + 0.5) / width * 250)[None, :]
    image[..., 1] = np.round((np.arange(height) + 0.5) / height * 250)[:, None]
    return image


@pytest.mark.parametrize(("h", "w", "height", "width"), [(7, 7, 375, 500), (7, 9, 33, 20), (1, 1, 5, 4), (12, 5, 6, 5)])
def test_upsampling_a_squashed_view_is_torchs_bilinear(
    rng: np.random.Generator, h: int, w: int, height: int, width: int
) -> None:
    maps = rng.normal(size=(3, h, w)).astype(np.float32)
    found = upsample(maps, View(0, 0, width, height), height, width)
    expected = torch.nn.functional.interpolate(torch.tensor(maps)[None], (height, width), mode="bilinear")[0]
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("mode", FITS)
def test_upsampling_through_any_view_is_the_slow_interpolation(rng: np.random.Generator, mode: str) -> None:
    height, width = 31, 44
    cells = rng.normal(size=(5, 5)).astype(np.float32)
    _, view = Fit(24, mode, 29)(noise(height, width))
    found = upsample(cells, view, height, width)
    rows, columns = view.inside(height, width)
    for i, row in enumerate(range(rows.start, rows.stop)):
        for j, column in enumerate(range(columns.start, columns.stop)):
            y = (row + 0.5 - view.y0) / (view.y1 - view.y0) * 5
            x = (column + 0.5 - view.x0) / (view.x1 - view.x0) * 5
            assert found[i, j] == pytest.approx(oracles.bilinear_at(cells, y, x), abs=1e-5)


def test_a_hot_cell_of_a_squashed_image_lies_at_its_share_of_both_sides() -> None:
    heat = upsample(one_hot(7, 7, 1, 5), View(0, 0, 700, 350), 350, 700)
    assert heat.shape == (350, 700)
    peak = np.argwhere(heat >= heat.max() - 1e-6).mean(axis=0)
    np.testing.assert_allclose(peak, [1.5 * 50 - 0.5, 5.5 * 100 - 0.5], atol=1)


def test_a_hot_cell_of_a_centre_crop_lies_within_the_crop() -> None:
    # 200 high, 400 wide, scaled by 128 / 200 and cut to 112 x 112: the view is 175 px square in the middle.
    _, view = Fit(112, "crop", 128)(noise(200, 400))
    np.testing.assert_allclose([view.x0, view.y0, view.x1, view.y1], [112.5, 12.5, 287.5, 187.5])
    heat = upsample(one_hot(7, 7, 0, 6), view, 200, 400)
    rows, columns = view.inside(200, 400)
    row, column = np.argwhere(heat == heat.max()).mean(axis=0) + np.array([rows.start, columns.start])
    # The corner cell is 25 px square; heat is constant from its centre outwards.
    assert 12.5 <= row <= 12.5 + 12.5
    assert 287.5 - 12.5 <= column <= 287.5


def test_a_hot_cell_of_a_letterbox_lies_where_the_padding_leaves_it() -> None:
    # 100 high, 200 wide: 112 x 56 with 28 rows of padding above and below; the view is 200 px square.
    _, view = Fit(112, "letterbox")(noise(100, 200))
    assert view == View(0.0, -50.0, 200.0, 150.0)
    heat = upsample(one_hot(8, 8, 3, 2), view, 100, 200)
    assert heat.shape == (100, 200)
    peak = np.argwhere(heat >= heat.max() - 1e-6).mean(axis=0)
    np.testing.assert_allclose(peak, [3.5 * 25 - 50 - 0.5, 2.5 * 25 - 0.5], atol=1)


def test_heat_in_a_letterboxs_padding_does_not_reach_the_image() -> None:
    _, view = Fit(112, "letterbox")(noise(100, 200))
    assert upsample(one_hot(8, 8, 0, 4), view, 100, 200).max() == 0


def test_a_letterbox_keeps_the_shape_and_pads_with_grey() -> None:
    pixels, view = Fit(100, "letterbox")(np.full((300, 150, 3), 200, np.uint8))
    assert view == View(-75.0, 0.0, 225.0, 300.0)
    assert (pixels[:, 25:75] == 200).all()
    assert (pixels[:, :25] == 124).all()
    assert (pixels[:, 75:] == 124).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(375, 500), (500, 333), (41, 97), (257, 256), (96, 31), (600, 601)])
def test_a_crop_is_torchvisions_preset_within_one_level(size: tuple[int, int], interpolation: str) -> None:
    image = noise(*size)
    preset = ImageClassification(
        crop_size=56, resize_size=65, mean=(0, 0, 0), std=(1, 1, 1), interpolation=RESAMPLING[interpolation]
    )
    expected = (preset(Image.fromarray(image)) * 255).round().to(torch.uint8).permute(1, 2, 0)
    found, _ = Fit(56, "crop", 65, interpolation)(image)
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=1 if interpolation == "bilinear" else 0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(375, 500), (41, 97), (96, 31)])
def test_a_squash_crop_is_the_centre_of_what_pillow_squashes(size: tuple[int, int], interpolation: str) -> None:
    image = noise(*size)
    squashed = Image.fromarray(image).resize((63, 63), Image.Resampling[interpolation.upper()])
    for halved, low in (("even", 4), ("down", 3)):  # 7 pixels to cut: 3.5 at each end
        found, view = Fit(56, "squash-crop", 63, interpolation, halved)(image)
        expected = np.asarray(squashed.crop((low, low, low + 56, low + 56))).astype(int)
        np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=1 if interpolation == "bilinear" else 0)
        height, width = size
        edges = [low / 63 * width, low / 63 * height, (low + 56) / 63 * width, (low + 56) / 63 * height]
        np.testing.assert_allclose([view.x0, view.y0, view.x1, view.y1], edges)


@pytest.mark.parametrize("size", [(375, 500), (41, 97), (96, 31)])
def test_bicubic_by_torch_is_torchvisions_of_a_tensor(size: tuple[int, int]) -> None:
    image = noise(*size)
    pixels = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    expected = resize(pixels, [56, 56], InterpolationMode.BICUBIC, antialias=True).permute(1, 2, 0)
    np.testing.assert_array_equal(Fit(56, interpolation="bicubic-torch")(image)[0], expected)


def test_a_thin_image_cut_before_it_is_scaled_gives_the_same_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise(40, 300)
    expected, view = Fit(56, "crop", 65)(image)
    monkeypatch.setattr("audit.images.resizing._LARGE_CANVAS", 0)
    found, cut_view = Fit(56, "crop", 65)(image)
    assert cut_view == view
    assert np.abs(found.astype(int) - expected).max() <= 2  # Pillow keeps the box in single precision


def test_a_squash_is_pillows_antialiased_resize_within_one_level() -> None:
    image = noise(37, 91)
    found, view = Fit(32)(image)
    expected = Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=1)
    assert view == View(0.0, 0.0, 91.0, 37.0)


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    tall=st.integers(1, 200),
    wide=st.integers(1, 200),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
@settings(max_examples=60, deadline=None)
def test_noise_is_scaled_as_pillow_scales_it_within_one_level(
    height: int, width: int, tall: int, wide: int, interpolation: str
) -> None:
    image = noise(height, width)
    image.setflags(write=False)  # as decoded images are
    found = scale_and_cut(image, tall, wide, interpolation)
    method = Image.Resampling.BILINEAR if interpolation == "bilinear" else Image.Resampling.BICUBIC
    expected = Image.fromarray(image).resize((wide, tall), method)
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=1)


@pytest.mark.parametrize("mode", FITS)
@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (2, 3)])
def test_tiny_and_thin_images_give_a_finite_input_and_map(mode: str, size: tuple[int, int]) -> None:
    pixels, view = Fit(224, mode, 256)(np.full((*size, 3), 90, np.uint8))
    assert pixels.shape == (224, 224, 3)
    assert set(np.unique(pixels)) <= {90, 124}
    heat = upsample(np.ones((2, 7, 7), np.float32), view, *size)
    rows, columns = view.inside(*size)
    assert heat.shape == (2, rows.stop - rows.start, columns.stop - columns.start)
    np.testing.assert_allclose(heat, 1, atol=1e-6)


@given(height=st.integers(24, 90), width=st.integers(24, 90), mode=st.sampled_from(FITS))
@settings(max_examples=40, deadline=None)
def test_each_input_pixel_comes_from_where_the_view_says(height: int, width: int, mode: str) -> None:
    pixels, view = Fit(32, mode, 36)(ramps(height, width))
    inner, middle = slice(2, -2), 4 if mode == "native" else 16  # a line that crosses the image
    for channel, low, high, length in ((0, view.x0, view.x1, width), (1, view.y0, view.y1, height)):
        place = low + (np.arange(32) + 0.5) / 32 * (high - low)
        line = pixels[middle, :, channel] if channel == 0 else pixels[:, middle, channel]
        seen = (place > 4) & (place < length - 4)
        difference = line.astype(float) - place / length * 250
        # The ramp and the input are each rounded to whole levels.
        assert np.abs(difference[inner][seen[inner]]).max(initial=0) <= 1.5


@given(height=sides, width=sides, fit=fits)
@settings(max_examples=60, deadline=None)
def test_a_map_of_places_comes_back_as_each_pixels_own_place(height: int, width: int, fit: Fit) -> None:
    _, view = fit(np.zeros((height, width, 3), np.uint8))
    cell = (np.arange(8) + 0.5) / 8
    down, across = view.y0 + cell * (view.y1 - view.y0), view.x0 + cell * (view.x1 - view.x0)
    maps = np.stack(np.meshgrid(down, across, indexing="ij")).astype(np.float32)
    found = upsample(maps, view, height, width)
    rows, columns = view.inside(height, width)
    expected_rows = (np.arange(rows.start, rows.stop) + 0.5).clip(down[0], down[-1])
    expected_columns = (np.arange(columns.start, columns.stop) + 0.5).clip(across[0], across[-1])
    np.testing.assert_allclose(found[0], np.repeat(expected_rows[:, None], found.shape[2], 1), atol=1e-3)
    np.testing.assert_allclose(found[1], np.repeat(expected_columns[None], found.shape[1], 0), atol=1e-3)


@given(height=sides, width=sides, fit=fits)
@settings(max_examples=60, deadline=None)
def test_pixels_inside_a_view_are_those_whose_centres_it_holds(height: int, width: int, fit: Fit) -> None:
    _, view = fit(np.zeros((height, width, 3), np.uint8))
    rows, columns = view.inside(height, width)
    for found, low, high, length in ((rows, view.y0, view.y1, height), (columns, view.x0, view.x1, width)):
        held = [pixel for pixel in range(length) if low <= pixel + 0.5 < high]
        assert list(range(found.start, found.stop)) == held or (not held and found.stop - found.start == 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, "stretch"), "`mode` to be one of squash, crop, squash-crop, letterbox, native, got 'stretch'"),
        ((0,), "`size` of at least 1 pixel, got 0"),
        ((8, "crop", 7), "`resize` of at least the crop's 8 pixels, got 7"),
        (
            (8, "squash", None, "area"),
            "`interpolation` to be one of bilinear, bicubic, nearest, bicubic-torch, got 'area'",
        ),
        ((8, "crop", 9, "nearest", "up"), "`halved` to be one of even, down, got 'up'"),
    ],
)
def test_a_fit_that_cannot_be_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fit(*arguments)  # type: ignore[arg-type]
