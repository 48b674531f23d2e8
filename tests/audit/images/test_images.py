"""Decoding images: every kind a collection holds ends in right pixels or in one line that names the file."""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audit.errors import ImageError
from audit.images.reading import decode_image, read_bytes

VOC_IMAGES = Path(__file__).resolve().parents[4] / "shared/voc2012/VOCdevkit/VOC2012/JPEGImages"

# Two rows of three colours: no turn or flip leaves it as it is.
PICTURE = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [0, 255, 255], [0, 0, 0]]], dtype=np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)

SECRET = b"q7Zk0vXw9Jy4Gh2Lm5Tn8Rb3Fd6Wc1Xs"

# How a picture has to be stored so that each EXIF orientation shows it upright (Exif 2.32, tag 0x0112).
STORED: dict[int, Any] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any size."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def oriented(array: np.ndarray, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return encode(Image.fromarray(np.ascontiguousarray(STORED[orientation](array))), kind, exif=exif, **lossless)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int, kind: str) -> None:
    data = oriented(PICTURE, orientation, kind)
    np.testing.assert_array_equal(decode_image(data, "x"), PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_orientation_comes_out_upright(orientation: int) -> None:
    large = np.kron(PICTURE, np.ones((32, 32, 1), np.uint8))
    upright = decode_image(oriented(large, orientation, "JPEG"), "x")
    assert upright.shape == large.shape
    assert np.abs(upright[16::32, 16::32].astype(int) - PICTURE).max() < 8


def test_exif_behind_the_pixels_of_a_png_counts_too() -> None:
    stored = encode(Image.fromarray(np.ascontiguousarray(STORED[6](PICTURE))))
    exif = Image.Exif()
    exif[0x0112] = 6
    late = stored[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + stored[-12:]
    np.testing.assert_array_equal(decode_image(late, "x"), PICTURE)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", oriented(PICTURE, 1, "PNG")])
def test_damaged_exif_leaves_the_picture_as_stored(exif: bytes) -> None:
    data = encode(Image.fromarray(NOISE), exif=exif)
    np.testing.assert_array_equal(decode_image(data, "x"), NOISE)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_mean_nothing_are_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(NOISE), exif=exif), "x"), NOISE)


def test_the_content_decides_the_kind_not_the_name() -> None:
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(decode_image(encode(Image.fromarray(NOISE), kind), "photo.jpg"), NOISE)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_fills_three_equal_channels(mode: str) -> None:
    grey = Image.fromarray(NOISE[..., 0]).convert(mode)
    expected = np.asarray(grey).astype(np.uint8) * (255 if mode == "1" else 1)
    np.testing.assert_array_equal(decode_image(encode(grey), "x"), np.stack([expected] * 3, axis=2))


def test_a_palette_gives_its_colours_and_its_transparency_is_white() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = np.array([[[10, 20, 30], [40, 50, 60], [70, 80, 90]]])
    np.testing.assert_array_equal(decode_image(encode(image), "x"), expected)
    expected[0, 1] = 255
    np.testing.assert_array_equal(decode_image(encode(image, transparency=1), "x"), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode: str) -> None:
    colour = NOISE[..., :3] if mode == "RGBA" else NOISE[..., :1]
    alpha = np.random.default_rng(1).integers(0, 256, (12, 17, 1), dtype=np.uint8)
    got = decode_image(encode(Image.fromarray(np.concatenate([colour, alpha], axis=2), mode)), "x")
    share = alpha / 255
    expected = np.broadcast_to(colour * share + 255 * (1 - share), got.shape)
    assert np.abs(got - expected).max() <= 1


def test_a_colour_key_of_a_png_is_transparent() -> None:
    data = encode(Image.fromarray(PICTURE), transparency=(0, 255, 0))
    expected = PICTURE.copy()
    expected[0, 1] = 255
    np.testing.assert_array_equal(decode_image(data, "x"), expected)


def deep_greys() -> np.ndarray:
    return np.array([[0, 128, 129, 256, 257], [30000, 32767, 65279, 65534, 65535]], np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_and_does_not_saturate(kind: str) -> None:
    levels = deep_greys()
    got = decode_image(encode(Image.fromarray(levels), kind), "x")
    expected = [[round(int(v) * 255 / 65535) for v in row] for row in levels]
    np.testing.assert_array_equal(got, np.stack([expected] * 3, axis=2))
    assert got.dtype == np.uint8


def test_a_transparent_level_of_sixteen_bit_grey_is_white() -> None:
    got = decode_image(encode(Image.fromarray(deep_greys()), transparency=30000), "x")
    assert got[1, 0].tolist() == [255] * 3
    assert got[0, 0].tolist() == [0] * 3


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0, 2**31 - 1]], np.int32), [0, 0, 255]),
        (np.array([[-7, -7, -7]], np.int32), [0, 0, 0]),
        (np.array([[0, 0.2, 1]], np.float32), [0, 51, 255]),
        (np.array([[0, 7, 254.6]], np.float32), [0, 7, 255]),
        (np.array([[0, 257, 60000]], np.float32), [0, 1, 233]),
        (np.array([[-1, 0.5, 2]], np.float32), [0, 128, 255]),
    ],
)
def test_deep_grey_follows_its_documented_scale(levels: np.ndarray, expected: list[int]) -> None:
    got = decode_image(encode(Image.fromarray(levels), "TIFF"), "x")
    assert np.abs(got[0, :, 0].astype(int) - expected).max() == 0


def test_pixels_that_are_not_numbers_are_refused() -> None:
    data = encode(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF")
    with pytest.raises(ImageError, match=r"Cannot decode depth.tif: it holds pixels that are not finite"):
        decode_image(data, "depth.tif")


def test_forty_eight_bit_colour_keeps_its_high_bytes() -> None:
    samples = np.random.default_rng(2).integers(0, 65536, (3, 4, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_image(data, "x"), samples >> 8)


def test_cmyk_has_right_colours_also_inverted_as_adobe_writes_it() -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 1:3] = 255  # magenta and yellow: red
    for kind in ("JPEG", "TIFF"):
        got = decode_image(encode(Image.fromarray(ink, "CMYK"), kind), "x")
        assert np.abs(got.astype(int) - [255, 0, 0]).max() < 8
    adobe = encode(Image.fromarray(ink, "CMYK"), "JPEG")
    assert b"Adobe" in adobe  # Pillow writes the marker, and the inks inverted


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue", "lime")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(decode_image(data, "x").astype(int) - [255, 0, 0]).max() <= 2, kind


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 10000), (10000, 1)])
def test_extreme_shapes_are_decoded(height: int, width: int) -> None:
    data = encode(Image.new("RGB", (width, height)))
    assert decode_image(data, "x").shape == (height, width, 3)
    assert not decode_image(data, "x").any()


def gif_header(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HH", width, height)
        + b"\0\0\0,"
        + struct.pack("<HHHH", 0, 0, width, height)
        + b"\0\2\0;"
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "bomb", [png_header(12000, 12000), png_header(50000, 50000), gif_header(65535, 65535)], ids=["144M", "2.5G", "gif"]
)
def test_bombs_are_refused_before_pixels_are_allocated(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*arguments: Any) -> None:
        raise AssertionError("pixels were allocated")

    monkeypatch.setattr("PIL.Image.core.new", allocate)
    monkeypatch.setattr("PIL.Image.core.fill", allocate)
    with pytest.raises(ImageError, match=r"at most 100000000 pixels, got \d+ x \d+ .* in bomb"):
        decode_image(bomb, "bomb.jpg")


def test_the_size_limit_is_exact_and_can_be_set() -> None:
    data = encode(Image.fromarray(NOISE))
    assert decode_image(data, "x", max_pixels=12 * 17).shape == (12, 17, 3)
    with pytest.raises(ImageError, match=r"at most 203 pixels, got 17 x 12 \(width x height\) in x"):
        decode_image(data, "x", max_pixels=12 * 17 - 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\n<!DOCTYPE html><html>404</html>", "looks like HTML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "looks like XML or SVG"),
        (b"%PDF-1.7", "looks like PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "looks like PostScript"),
        (b"version https://git-lfs.github.com/spec/v1\n", "looks like a Git LFS pointer"),
        (b"\xff\xd8\xff\xe0", "is a damaged JPEG"),
        (b"\0" * 64, "is none"),
    ],
)
def test_data_that_is_no_image_is_named_for_what_it_looks_like(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=rf"Expected an image .*: odd.jpg {words}.*; replace it or leave it out"):
        decode_image(data, "odd.jpg")


def test_a_side_that_is_too_long_is_refused_before_pixels_are_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*arguments: Any) -> None:
        raise AssertionError("pixels were allocated")

    monkeypatch.setattr("PIL.Image.core.new", allocate)
    monkeypatch.setattr("PIL.Image.core.fill", allocate)
    for width, height in ((1, 100_000_000), (30_001, 3)):
        words = rf"sides of at most 30000 pixels, got {width} x {height} \(width x height\) in thin.png; cut"
        with pytest.raises(ImageError, match=words):
            decode_image(png_header(width, height), "thin.png")


def test_the_longest_side_is_exact_and_can_be_set() -> None:
    data = encode(Image.fromarray(NOISE))
    assert decode_image(data, "x", max_side=17).shape == (12, 17, 3)
    with pytest.raises(ImageError, match="sides of at most 16 pixels"):
        decode_image(data, "x", max_side=16)


@pytest.mark.parametrize(
    "data",
    [
        SECRET,
        b"P3 " + SECRET,
        b"P2 2 2 255 " + SECRET,
        b"P1 9 9 " + SECRET,
        b"P5 2 2 " + SECRET,
        b"P6 2 2 2" + SECRET,
        b"BM" + SECRET * 4,
        b"BM" + SECRET[:12] + b"\x28\0\0\0" + SECRET * 4,
        b"II*\0" + SECRET,
        b"MM\0*\0\0\0\x08\0\2" + SECRET * 2,
        b"GIF89a" + SECRET,
        b"RIFF    WEBP" + SECRET,
        b"\x89PNG\r\n\x1a\n\0\0\0\x04" + SECRET,
        b"\x89PNG\r\n\x1a\n" + SECRET,
        b"\xff\xd8\xff\xe0\0\x10JFIF" + SECRET,
        b"\0\0\0\x20ftypavif" + SECRET,
        b"\0\0\0\x0cjP  \r\n\x87\n" + SECRET,
    ],
    ids=lambda data: repr(data[:9]),
)
def test_a_refusal_shows_nothing_of_the_data(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(data, "x.jpg")
    shown = str(caught.value).removesuffix("; replace it or leave it out")
    assert shown.isprintable()
    assert not [part for part in (SECRET[i : i + 2].decode() for i in range(len(SECRET) - 1)) if part in shown]
    # Nor as a number: of the digits in a refusal none is four bytes of the data.
    assert all(int(number) < 2**16 for number in re.findall(r"\d+", shown))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_an_image_cut_short_is_never_returned_in_part(kind: str) -> None:
    data = encode(Image.fromarray(np.tile(NOISE, (9, 9, 1))), kind)
    for keep in (0.3, 0.6, 0.95):
        with pytest.raises(ImageError) as caught:
            decode_image(data[: int(len(data) * keep)], "cut.jpg")
        assert "cut.jpg" in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_damaged_bytes_raise_nothing_but_an_image_error(kind: str) -> None:
    rng = np.random.default_rng(3)
    data = np.frombuffer(encode(Image.fromarray(NOISE), kind), np.uint8)
    refusals = []
    for _ in range(60):
        damaged = data.copy()
        damaged[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
        try:
            assert decode_image(damaged.tobytes(), "x", max_pixels=10**6).shape[2:] == (3,)
        except ImageError as error:
            refusals.append(str(error))
    assert refusals
    assert all(refusal.isprintable() for refusal in refusals)


def test_running_out_of_memory_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("audit.images.reading._rgb", exhausted)
    with pytest.raises(ImageError, match="Not enough memory to decode x"):
        decode_image(encode(Image.fromarray(NOISE)), "x")


@pytest.mark.skipif(not VOC_IMAGES.is_dir(), reason="the shared VOC subset is not here")
def test_voc_photographs_decode_as_pillow_shows_them() -> None:
    for path in sorted(VOC_IMAGES.glob("*.jpg"))[::20]:
        expected = np.asarray(Image.open(path).convert("RGB"))
        data = read_bytes(str(path))
        np.testing.assert_array_equal(decode_image(data, path.name), expected)
