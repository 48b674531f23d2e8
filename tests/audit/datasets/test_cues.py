"""Cues: where they go, what they change, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.datasets.cues import CORNERS, KINDS, NEEDS_OBJECTS, OVERLAID, Cue, paint_cue

SIZE = (60, 90)
LOCAL = ("watermark", "border", "sticker", *OVERLAID)
SPARING = [kind for kind in KINDS if kind not in OVERLAID]


def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (*SIZE, 3), np.uint8)


def blob(rng: np.random.Generator) -> NDArray[np.bool_]:
    """A rectangle of objects somewhere, often over a corner or the border."""
    top, left = int(rng.integers(-10, 40)), int(rng.integers(-10, 60))
    objects = np.zeros(SIZE, bool)
    objects[max(top, 0) : top + 35, max(left, 0) : left + 45] = True
    return objects


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_no_cue_changes_a_pixel_outside_its_box_or_of_an_object_unless_laid_over_all(
    kind: str, rng: np.random.Generator
) -> None:
    for seed in range(40):
        image, objects = picture(rng), blob(rng)
        painted = paint_cue(Cue(kind), image, objects, stream(seed))
        assert painted is not None
        marked, box = painted
        changed = (marked != image).any(axis=2)
        assert changed.any()
        assert kind in OVERLAID or not (changed & objects).any()
        assert (box is None) == (kind not in LOCAL)
        if box is not None:
            x0, y0, x1, y1 = box
            assert 0 <= x0 < x1 <= SIZE[1]
            assert 0 <= y0 < y1 <= SIZE[0]
            changed[y0:y1, x0:x1] = False
            assert not changed.any()


@pytest.mark.parametrize("kind", SPARING)
def test_where_objects_fill_the_image_there_is_no_cue(kind: str, rng: np.random.Generator) -> None:
    assert paint_cue(Cue(kind), picture(rng), np.ones(SIZE, bool), stream()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_stream_gives_the_same_pixels_and_the_image_is_left_as_it_was(
    kind: str, rng: np.random.Generator
) -> None:
    image, objects = picture(rng), blob(rng)
    before = image.copy()
    first, again = (paint_cue(Cue(kind), image, objects, stream(3)) for _ in range(2))
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("corner", CORNERS)
def test_a_watermark_lies_in_its_corner(corner: str, rng: np.random.Generator) -> None:
    painted = paint_cue(Cue("watermark", 0.2, corner=corner), picture(rng), None, stream())
    assert painted is not None
    assert painted[1] is not None
    x0, y0, x1, y1 = painted[1]
    assert (x1 - x0, y1 - y0) == (12, 12)
    assert y1 <= 15 if corner.startswith("top") else y0 >= SIZE[0] - 15
    assert x1 <= 15 if corner.endswith("left") else x0 >= SIZE[1] - 15


def test_a_watermark_goes_to_the_next_corner_that_is_free(rng: np.random.Generator) -> None:
    objects = np.zeros(SIZE, bool)
    objects[40:] = True
    painted = paint_cue(Cue("watermark"), picture(rng), objects, stream())
    assert painted is not None
    assert painted[1] is not None
    assert painted[1][0] > 70
    assert painted[1][3] < 20


def test_a_watermark_is_a_pale_sign_on_a_darker_square_pixel_by_pixel(rng: np.random.Generator) -> None:
    image = picture(rng)
    painted = paint_cue(Cue("watermark", 0.25, 0.6), image, None, stream())
    assert painted is not None
    assert painted[1] is not None
    x0, y0, x1, _ = painted[1]
    side = x1 - x0
    for row in range(side):
        for column in range(side):
            away = [abs((place + 0.5) / side - 0.5) for place in (row, column)]
            sign = any(0.15 < one < 0.33 for one in away)
            colour, opacity = (255, 0.6) if sign else (20, 0.3)
            for channel, under in enumerate(image[y0 + row, x0 + column]):
                expected = round(float(under) + opacity * (colour - float(under)))
                assert abs(int(painted[0][y0 + row, x0 + column, channel]) - expected) <= 1


def test_a_tint_is_a_share_of_the_way_to_its_colour_off_the_objects(rng: np.random.Generator) -> None:
    image, objects = picture(rng), blob(rng)
    painted = paint_cue(Cue("tint", strength=0.25), image, objects, stream())
    assert painted is not None
    for row in range(0, SIZE[0], 7):
        for column in range(0, SIZE[1], 7):
            for channel, colour in enumerate((255, 150, 40)):
                under = float(image[row, column, channel])
                expected = under if objects[row, column] else 0.75 * under + 0.25 * colour
                assert painted[0][row, column, channel] == pytest.approx(expected, abs=0.51)


def test_stripes_are_a_wave_of_the_given_amplitude_and_period() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    painted = paint_cue(Cue("texture", 0.1, 0.5), grey, np.zeros((200, 200), bool), stream())
    assert painted is not None
    wave = painted[0][..., 0].astype(float) - 128
    assert wave.max() == pytest.approx(63.75, abs=1)
    assert wave.min() == pytest.approx(-63.75, abs=1)
    spectrum = abs(np.fft.fft2(wave))
    strongest = np.unravel_index(spectrum.argmax(), spectrum.shape)
    cycles = np.hypot(*(min(place, 200 - place) for place in strongest))
    assert cycles == pytest.approx(10, abs=0.8)


def test_a_tag_lies_along_the_border_six_times_as_long_as_deep(rng: np.random.Generator) -> None:
    edges = set()
    for seed in range(30):
        painted = paint_cue(Cue("border", 0.2), picture(rng), None, stream(seed))
        assert painted is not None
        assert painted[1] is not None
        x0, y0, x1, y1 = painted[1]
        assert sorted((x1 - x0, y1 - y0)) == [6, 36]
        touched = {"left": x0 == 0, "top": y0 == 0, "right": x1 == SIZE[1], "bottom": y1 == SIZE[0]}
        assert any(touched.values())
        edges |= {name for name, own in touched.items() if own}
    assert edges == {"left", "top", "right", "bottom"}


def test_a_sticker_finds_the_only_place_that_is_free(rng: np.random.Generator) -> None:
    objects = np.ones(SIZE, bool)
    objects[20:32, 50:62] = False
    painted = paint_cue(Cue("sticker", 0.2), picture(rng), objects, stream())
    assert painted is not None
    assert painted[1] == (50, 20, 62, 32)


def test_a_sticker_takes_every_free_place_sooner_or_later(rng: np.random.Generator) -> None:
    objects = np.ones((8, 9), bool)
    objects[2:8, 1:7] = False
    image = np.zeros((8, 9, 3), np.uint8)
    found = {paint_cue(Cue("sticker", 0.5), image, objects, stream(seed))[1] for seed in range(200)}  # type: ignore[index]
    free = [(x, y) for y in range(5) for x in range(6) if not objects[y : y + 4, x : x + 4].any()]
    assert found == {(x, y, x + 4, y + 4) for x, y in free}


@pytest.mark.parametrize("kind", OVERLAID)
def test_what_is_laid_over_all_is_the_same_whatever_the_objects(kind: str, rng: np.random.Generator) -> None:
    image = picture(rng)
    empty, full = (paint_cue(Cue(kind), image, objects, stream()) for objects in (None, np.ones(SIZE, bool)))
    assert empty is not None
    assert full is not None
    np.testing.assert_array_equal(empty[0], full[0])


def test_a_grey_background_keeps_its_brightness_and_loses_its_colour(rng: np.random.Generator) -> None:
    image, objects = picture(rng), blob(rng)
    painted = paint_cue(Cue("grey"), image, objects, stream())
    assert painted is not None
    for row in range(0, SIZE[0], 7):
        for column in range(0, SIZE[1], 7):
            red, green, blue = (float(value) for value in image[row, column])
            grey = [0.299 * red + 0.587 * green + 0.114 * blue] * 3
            expected = image[row, column] if objects[row, column] else grey
            np.testing.assert_allclose(painted[0][row, column].astype(float), expected, atol=0.51)


def test_a_frame_is_one_colour_as_deep_on_all_four_sides_and_leaves_the_rest(rng: np.random.Generator) -> None:
    image = picture(rng)
    painted = paint_cue(Cue("frame", 0.2), image, None, stream())
    assert painted is not None
    marked, inside = painted[0], np.zeros(SIZE, bool)
    inside[6:-6, 6:-6] = True
    np.testing.assert_array_equal(marked[inside], image[inside])
    assert len(np.unique(marked[~inside], axis=0)) == 1


def test_bars_are_black_rows_at_top_and_bottom_and_leave_the_rest(rng: np.random.Generator) -> None:
    image = picture(rng)
    painted = paint_cue(Cue("letterbox", 0.2), image, None, stream())
    assert painted is not None
    np.testing.assert_array_equal(painted[0][12:-12], image[12:-12])
    assert not painted[0][:12].any()
    assert not painted[0][-12:].any()


@pytest.mark.parametrize(("height", "top"), [(0.0, 0), (0.5, 24), (0.8, 42), (1.0, 48)])
def test_a_caption_is_one_line_over_the_whole_width_at_its_height_within_the_picture(height: float, top: int) -> None:
    grey = np.full((*SIZE, 3), 128, np.uint8)
    painted = paint_cue(Cue("caption", 0.2, height=height), grey, None, stream())
    assert painted is not None
    assert painted[1] == (0, top, SIZE[1], top + 12)
    changed = (painted[0] != grey).any(axis=2)
    signs = (painted[0] == 255).all(axis=2)
    rows = np.flatnonzero(changed.any(axis=1))
    assert top <= rows.min() < rows.max() < top + 12
    assert np.flatnonzero(changed.any(axis=0)).min() < 10
    assert np.flatnonzero(changed.any(axis=0)).max() > SIZE[1] - 15
    for y, x in zip(*np.nonzero(signs), strict=True):
        assert changed[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].all()  # a rim all around, for any ground
    assert set(np.unique(painted[0])) == {20, 128, 255}


def test_no_two_images_have_the_same_caption() -> None:
    grey = np.full((*SIZE, 3), 128, np.uint8)
    lines = {paint_cue(Cue("caption"), grey, None, stream(seed))[0].tobytes() for seed in range(20)}  # type: ignore[index]
    assert len(lines) == 20


@pytest.mark.parametrize("kind", NEEDS_OBJECTS)
def test_cues_that_need_objects_say_so(kind: str, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=f"for the cue {kind}, got None"):
        paint_cue(Cue(kind), picture(rng), None, stream())


def test_objects_of_another_size_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"shape \[60, 90\], got \[90, 60\]"):
        paint_cue(Cue("tint"), picture(rng), np.zeros((90, 60), bool), stream())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "blob"}, "one of watermark, border"),
        ({"kind": "tint", "size": 0}, "`size` above 0"),
        ({"kind": "tint", "size": 0.6}, "at most 0.5"),
        ({"kind": "tint", "strength": 1.5}, "`strength` above 0"),
        ({"kind": "caption", "height": 1.2}, r"`height` from 0 \(top\) to 1"),
        ({"kind": "watermark", "corner": "middle"}, "`corner` to be one of"),
    ],
)
def test_values_that_cannot_be_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Cue(**wrong)  # type: ignore[arg-type]
