"""Reading masks: stored indices, never colours; regions as pycocotools draws them; every refusal names the file."""

from __future__ import annotations

import errno
import json
import re
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from audit.datasets.manifest import Sample
from audit.errors import MaskError, TransientError
from audit.images.masks import VOID, class_ids, object_mask, read_mask, values_in, voc_palette, write_index_png

VOC = Path(__file__).resolve().parents[4] / "shared/voc2012/VOCdevkit/VOC2012"

INDEX = np.array([[0, 1, 2, 255], [0, 0, 20, 255], [3, 3, 0, 0]], np.uint8)
EXPECTED = np.where(INDEX == 255, -1, INDEX.astype(int))
SIZE = (3, 4)


def read(
    path: Path, size: tuple[int, int] = SIZE, class_count: int = 20, kind: str = "index", **sample: Any
) -> np.ndarray:
    return read_mask(Sample("s1", "s1.jpg", mask=str(path), **sample), kind, size, class_count)


def read_regions(regions: Any, size: tuple[int, int], class_count: int = 20) -> np.ndarray:
    sample = Sample("s1", "s1.jpg", regions=json.dumps(regions))
    return read_mask(sample, "index", size, class_count)


def region(class_id: int, segmentation: Any, size: tuple[int, int], iscrowd: int = 0) -> dict[str, Any]:
    return {
        "class_id": class_id,
        "segmentation": segmentation,
        "iscrowd": iscrowd,
        "height": size[0],
        "width": size[1],
    }


def box(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mask.png"


def test_a_palette_mask_written_here_reads_back_as_indices(path: Path) -> None:
    write_index_png(path, INDEX)
    mask = read(path)
    assert mask.dtype == np.int16
    np.testing.assert_array_equal(mask, EXPECTED)


def test_a_grey_masks_value_is_the_index(path: Path) -> None:
    Image.fromarray(INDEX).save(path)
    np.testing.assert_array_equal(read(path), EXPECTED)


@pytest.mark.parametrize("kind", ["bmp", "tif"])
def test_other_lossless_kinds_keep_their_indices(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(INDEX)
    image.putpalette(voc_palette().tobytes())
    image.save(tmp_path / f"mask.{kind}")
    np.testing.assert_array_equal(read(tmp_path / f"mask.{kind}"), EXPECTED)


def test_a_one_bit_mask_has_class_zero_where_it_is_set(path: Path) -> None:
    Image.fromarray(INDEX > 0).save(path)
    np.testing.assert_array_equal(read(path), INDEX > 0)


@pytest.mark.parametrize("bits", [2, 4])
def test_shallow_grey_keeps_the_index_that_stands_in_the_file(path: Path, bits: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packed = {2: b"\x1b", 4: b"\x01\x23"}[bits]  # samples 0, 1, 2, 3
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" + packed)) + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read(path, (1, 4)), [[0, 1, 2, 3]])


def test_sixteen_bits_hold_more_classes_than_a_palette(path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 255, 300, 1000, 65535]], np.uint16)).save(path)
    np.testing.assert_array_equal(read(path, (1, 6), class_count=1000), [[0, 1, 255, 300, 1000, VOID]])


def test_sixteen_bits_with_few_classes_keep_255_as_void(path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 255]], np.uint16)).save(path)
    np.testing.assert_array_equal(read(path, (1, 3)), [[0, 1, VOID]])


def test_eight_bits_keep_255_as_void_however_many_classes_there_are(path: Path) -> None:
    Image.fromarray(np.array([[0, 254, 255]], np.uint8)).save(path)
    np.testing.assert_array_equal(read(path, (1, 3), class_count=300), [[0, 254, VOID]])


def test_the_masks_own_exif_orientation_is_applied(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(INDEX)).save(path, exif=exif)
    np.testing.assert_array_equal(read(path), EXPECTED)


def test_a_mask_file_goes_before_regions(path: Path) -> None:
    write_index_png(path, INDEX)
    np.testing.assert_array_equal(read(path, regions="[]"), EXPECTED)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_a_binary_mask_shows_the_only_label(path: Path, dtype: type) -> None:
    Image.fromarray((INDEX > 0).astype(dtype) * dtype(1 if dtype is bool else 255)).save(path)
    np.testing.assert_array_equal(read(path, kind="binary", labels=(6,)), np.where(INDEX > 0, 7, 0))


@pytest.mark.parametrize("labels", [(), (1, 2)])
def test_a_binary_mask_beside_another_number_of_labels_is_refused(path: Path, labels: tuple[int, ...]) -> None:
    write_index_png(path, INDEX)
    with pytest.raises(MaskError, match=rf"exactly one label beside a binary mask, got {len(labels)} .*mask.png"):
        read(path, kind="binary", labels=labels)


def test_a_sample_without_any_mask_is_named() -> None:
    with pytest.raises(MaskError, match="mask or regions for sample 's1', got neither"):
        read_mask(Sample("s1", "s1.jpg"), "index", SIZE, 20)


def test_missing_and_damaged_masks_are_named(path: Path) -> None:
    with pytest.raises(MaskError, match=r"Mask of sample 's1': No such file: .*mask\.png"):
        read(path)
    path.write_bytes(b"<html>not here</html>")
    with pytest.raises(MaskError, match=r"Mask of sample 's1': .*mask\.png looks like HTML"):
        read(path)


def test_a_mask_that_cannot_be_read_now_is_transient(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    write_index_png(path, INDEX)
    monkeypatch.setattr("audit.images.reading.open", failing, raising=False)
    monkeypatch.setattr("audit.images.reading.time.sleep", lambda seconds: None)
    with pytest.raises(TransientError, match=r"mask\.png"):
        read(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_colour_mask_is_refused(path: Path, mode: str) -> None:
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(MaskError, match=rf"Expected a class-index mask \(palette or grey\), got {mode} in .*mask\.png"):
        read(path)


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_kinds_that_do_not_keep_indices_are_refused(path: Path, kind: str) -> None:
    Image.fromarray(INDEX).save(path, kind)
    with pytest.raises(MaskError, match=rf"Expected an image \(PNG, TIFF, BMP\): .*mask\.png looks like {kind}"):
        read(path)


def test_a_mask_of_another_size_is_refused_with_both_sizes(path: Path) -> None:
    write_index_png(path, INDEX.T)
    with pytest.raises(MaskError, match=r"a mask of 3 x 4 .*, got 4 x 3 \(height x width\) in .*mask\.png"):
        read(path)


def test_a_mask_that_is_all_void_is_refused(path: Path) -> None:
    write_index_png(path, np.full(SIZE, 255, np.uint8))
    with pytest.raises(MaskError, match=r"got only void in .*mask\.png"):
        read(path)


def test_an_index_of_no_known_class_is_refused(path: Path) -> None:
    write_index_png(path, INDEX)
    with pytest.raises(MaskError, match=r"indices 0 to 2 or 255 \(void\), got 3, 20 in .*mask\.png"):
        read(path, class_count=2)


def test_wrong_arguments_are_the_programmers_mistake(path: Path) -> None:
    write_index_png(path, INDEX)
    with pytest.raises(ValueError, match="one of index, binary, got 'colour'"):
        read(path, kind="colour")
    with pytest.raises(ValueError, match="from 1 to 32766, got 40000"):
        read(path, class_count=40000)


def test_small_objects_and_crowds_stay_visible_over_large_ones() -> None:
    size = (8, 10)
    regions = [
        region(4, box(2, 2, 4, 4), size),
        region(1, box(0, 0, 6, 6), size),
        region(1, box(1, 1, 9, 7), size, iscrowd=1),
        region(3, box(0, 5, 2, 6), size, iscrowd=1),
    ]
    expected = np.zeros(size, int)
    expected[1:7, 1:9] = VOID
    expected[0:6, 0:6] = 2
    expected[2:4, 2:4] = 5
    expected[5:6, 0:2] = VOID
    np.testing.assert_array_equal(read_regions(regions, size), expected)


def test_polygons_of_one_region_are_joined_as_pycocotools_draws_them() -> None:
    size = (20, 31)
    polygons = [[3.2, 4.1, 25.7, 2.2, 14.4, 17.9], [20, 10, 30.5, 10, 30.5, 19, 22.5, 19]]
    parts = [coco.decode(runs) for runs in coco.frPyObjects(polygons, *size)]
    expected = (parts[0] | parts[1]) * 8
    assert 0 < expected.sum() < 8 * 20 * 31
    np.testing.assert_array_equal(read_regions([region(7, polygons, size)], size), expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_read_as_pycocotools_reads_them(seed: int, compressed: bool) -> None:
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
    shape = np.asfortranarray((rng.random(size) < rng.random() ** 3).astype(np.uint8))
    if compressed:
        counts: Any = coco.encode(shape)["counts"].decode()
    else:
        flat = np.concatenate([[0], shape.ravel(order="F"), [2]])
        counts = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)), [shape.size]])).tolist()
        decoded = coco.decode(coco.frPyObjects({"size": list(size), "counts": counts}, *size))
        np.testing.assert_array_equal(decoded, shape)
    mask = read_regions([region(0, {"size": list(size), "counts": counts}, size)], size)
    np.testing.assert_array_equal(mask, shape)


def test_an_image_without_objects_is_all_background() -> None:
    np.testing.assert_array_equal(read_regions([], (2, 3)), np.zeros((2, 3)))


def test_regions_that_are_all_crowd_are_refused() -> None:
    with pytest.raises(MaskError, match="got only void in the regions of 's1'"):
        read_regions([region(0, {"size": [2, 2], "counts": [0, 4]}, (2, 2), iscrowd=1)], (2, 2))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (region(0, box(0, 0, 2, 2), (4, 3)), "expected regions of 3 x 4 .*, got 4 x 3"),
        (region(20, box(0, 0, 2, 2), SIZE), "expected a class below 20, got 20"),
        (region(0, [[0, 0, 2, 2]], SIZE), "three points or more, got 4 numbers"),
        (region(0, [[0, 0, 1e9, 0, 1e9, 1e9]], SIZE), "coordinates far outside"),
        (region(0, [[0, 0, float("nan"), 0, 1, 1]], SIZE), "coordinates far outside"),
        (region(0, [], SIZE), "at least one polygon, got none"),
        (region(0, {"size": [4, 3], "counts": [12]}, SIZE), r"run lengths over 3 x 4 .*, got 4 x 3"),
        (region(0, {"size": [3, 4], "counts": [1, 2]}, SIZE), "run lengths that fill 3 x 4 .*, got a sum of 3"),
        (region(0, {"size": [3, 4], "counts": [1, -2, 13]}, SIZE), "run lengths that fill"),
        (region(0, {"size": [3, 4], "counts": "zz"}, SIZE), "run lengths that fill"),
        ({"class_id": 0}, "no 'height' given"),
        ("text", "Cannot draw the regions of sample 's1'"),
    ],
)
def test_regions_that_cannot_be_drawn_name_the_sample(bad: Any, words: str) -> None:
    with pytest.raises(MaskError, match=words) as caught:
        read_regions([bad], SIZE)
    assert str(caught.value).startswith("Cannot draw the regions of sample 's1'")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        '[{"class_id":1e400,"segmentation":[],"iscrowd":0,"height":3,"width":4}]',
        '[{"class_id":0,"segmentation":{"size":[3,4],"counts":[1e400]},"iscrowd":0,"height":3,"width":4}]',
        '[{"class_id":0,"segmentation":[[0,0,1,1e400,2,2]],"iscrowd":0,"height":3,"width":4}]',
        f'[{{"class_id":0,"segmentation":[[0,0,1,{10**400},2,2]],"iscrowd":0,"height":3,"width":4}}]',
        f'[{{"class_id":0,"segmentation":{{"size":[3,4],"counts":[{10**400}]}},"iscrowd":0,"height":3,"width":4}}]',
        "[" * 200_000,
        '{"class_id":' * 200_000,
    ],
    ids=["class", "runs", "polygon", "huge corner", "huge run", "deep list", "deep object"],
)
def test_regions_that_overflow_or_nest_too_deeply_name_the_sample(text: str) -> None:
    with pytest.raises(MaskError, match="Cannot draw the regions of sample 's1'") as caught:
        read_mask(Sample("s1", "s1.jpg", regions=text), "index", SIZE, 20)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_run_lengths_without_an_end_are_given_up_at_once() -> None:
    began = time.process_time()
    with pytest.raises(MaskError, match="one without end"):
        read_regions([region(0, {"size": [3, 4], "counts": "o" * 2_000_000}, SIZE)], SIZE)
    assert time.process_time() - began < 2


def test_regions_that_take_more_memory_than_there_is_name_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "repeat", full)
    with pytest.raises(MaskError, match=r"sample 's1': they take more memory than there is; index it again"):
        read_regions([region(0, {"size": [3, 4], "counts": [12]}, SIZE)], SIZE)


NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(-5, 15), st.none(), st.booleans(), st.just(10**400))
JSON = st.recursive(
    NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)
RUNS = st.fixed_dictionaries(
    {"size": st.just(list(SIZE)) | JSON, "counts": st.lists(NUMBERS, max_size=6) | st.text() | JSON}
)
REGIONS = st.lists(
    st.fixed_dictionaries(
        {"class_id": st.integers(-1, 21) | NUMBERS, "segmentation": RUNS | st.lists(st.lists(NUMBERS)) | JSON},
        optional={"iscrowd": NUMBERS, "height": st.just(3) | NUMBERS, "width": st.just(4) | NUMBERS, "more": JSON},
    )
    | JSON,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(REGIONS | JSON)
def test_whatever_regions_hold_they_are_a_mask_or_a_mask_error_of_one_line(regions: Any) -> None:
    refusal = "of sample 's1'"
    try:
        mask = read_regions(regions, SIZE)
    except MaskError as error:
        refusal = str(error)
    else:
        assert (mask.shape, mask.dtype) == (SIZE, np.int16)
        assert mask.min() >= VOID
        assert mask.max() <= 20
    assert "'s1'" in refusal
    assert refusal.isprintable()


def test_regions_that_are_no_json_name_the_sample() -> None:
    with pytest.raises(MaskError, match="Cannot draw the regions of sample 's1'"):
        read_mask(Sample("s1", "s1.jpg", regions="[{"), "index", SIZE, 20)


def test_values_of_a_mask_are_those_of_a_sort(rng: np.random.Generator) -> None:
    for height, width, highest in ((1, 1, 1), (1, 40, 5), (30, 1, 3), (25, 37, 300)):
        mask = rng.integers(-1, highest + 1, (height, width)).repeat(2, axis=1).astype(np.int16)
        assert values_in(mask[:, 1:]).tolist() == np.unique(mask[:, 1:]).tolist()


def test_classes_and_their_pixels_come_from_the_mask(path: Path) -> None:
    write_index_png(path, INDEX)
    mask = read(path)
    assert class_ids(mask) == (0, 1, 2, 19)
    assert class_ids(mask[:0]) == ()
    np.testing.assert_array_equal(object_mask(mask, 2), INDEX == 3)
    assert object_mask(mask, 2).dtype == bool


def test_the_palette_has_the_colours_of_the_voc_devkit() -> None:
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        4: (0, 0, 128),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    palette = voc_palette()
    assert {index: tuple(palette[index].tolist()) for index in known} == known
    assert len(np.unique(palette, axis=0)) == 256


def test_a_written_mask_shows_its_colours_and_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    write_index_png(tmp_path / "a.png", INDEX)
    write_index_png(tmp_path / "b.png", np.asfortranarray(INDEX))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png").convert("RGB")), voc_palette()[INDEX])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_only_eight_bit_index_images_are_written(path: Path) -> None:
    for wrong in (INDEX.astype(int), INDEX[None]):
        with pytest.raises(ValueError, match=re.escape(f"got {wrong.dtype} {list(wrong.shape)}")):
            write_index_png(path, wrong)
    assert not path.exists()


@pytest.mark.skipif(not VOC.is_dir(), reason="the shared VOC subset is not here")
def test_voc_masks_hold_the_indices_and_colours_of_the_devkit() -> None:
    for path in sorted((VOC / "SegmentationClass").glob("*.png"))[::20]:
        image = Image.open(path)
        stored = np.asarray(image)
        expected = np.where(stored == 255, VOID, stored.astype(int))
        np.testing.assert_array_equal(read(path, stored.shape), expected)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), voc_palette()[stored])
