"""The readers: what they index, and how they refuse what they cannot."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import by_id, needs_bytes_in_names, told_of_all, touch
from PIL import Image
from pycocotools import mask as coco_mask

from audit.datasets import VOC_CLASSES, Box, Tally, read_coco, read_voc, try_opening
from audit.errors import ManifestError, MaskError
from audit.images import read_mask
from audit.progress import Event

SHARED_VOC = Path(__file__).resolve().parents[4] / "shared" / "voc2012"


def draw_mask(path: Path, *indices: int, mode: str = "P") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((4, 8), np.uint8)
    pixels[1, : len(indices)] = indices
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([7 * i % 256 for i in range(768)])
    image.convert(mode).save(path)


def annotation(*objects: tuple[str, str]) -> str:
    return "<annotation>" + "".join(f"<object><name>{n}</name>{more}</object>" for n, more in objects) + "</annotation>"


def box_xml(x0: float, y0: float, x1: float, y1: float) -> str:
    return f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"


def make_voc(root: Path, **splits: Sequence[str]) -> Path:
    """A VOC folder with empty images; masks and annotations are for the test to add."""
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for split, names in splits.items():
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in names))
        touch(*(root / f"JPEGImages/{name}.jpg" for name in names))
    return root


@pytest.mark.parametrize("inner", ["", "VOC2012", "VOC2007", "VOCdevkit/VOC2012"])
def test_a_voc_folder_is_found_where_it_usually_lies(tmp_path: Path, inner: str) -> None:
    folder = make_voc(tmp_path / inner, val=["a"])
    assert read_voc(tmp_path, "val").root == str(folder)


def test_voc2012_is_preferred_and_other_years_must_be_alone(tmp_path: Path) -> None:
    make_voc(tmp_path / "VOC2007", val=["a"])
    make_voc(tmp_path / "VOC2008", val=["a"])
    with pytest.raises(ManifestError, match="Expected one VOC folder"):
        read_voc(tmp_path)
    make_voc(tmp_path / "VOC2012", val=["a"])
    assert read_voc(tmp_path, "val").root.endswith("VOC2012")


def test_mask_labels_are_the_palette_indices_without_background_and_void(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["both", "void", "none"])
    draw_mask(root / "SegmentationClass/both.png", 20, 1, 255)
    draw_mask(root / "SegmentationClass/void.png", 255)
    samples = by_id(read_voc(root, "val"))
    assert samples["both"].labels == (0, 19)
    assert samples["void"].labels == ()
    assert samples["none"].labels == ()
    assert samples["none"].mask is None
    assert samples["both"].mask == str(root / "SegmentationClass/both.png")


def test_a_damaged_mask_costs_its_own_labels_only(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["cut", "rgb", "good"])
    draw_mask(root / "SegmentationClass/good.png", 3)
    draw_mask(root / "SegmentationClass/rgb.png", 3, mode="RGB")
    (root / "SegmentationClass/cut.png").write_bytes((root / "SegmentationClass/good.png").read_bytes()[:60])
    samples = by_id(read_voc(root, "val"))
    assert [samples[name].labels for name in ("cut", "rgb", "good")] == [(), (), (2,)]
    assert all(sample.mask for sample in samples.values())


def test_annotations_give_labels_and_boxes_counted_from_zero(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["a"])
    draw_mask(root / "SegmentationClass/a.png", 1)
    head = "<part><name>head</name>" + box_xml(9, 9, 9, 9) + "</part>"
    text = annotation(("person", box_xml(1, 1, 500, 375) + head), ("cat", box_xml(45.5, 2, 60, 3)), ("cat", ""))
    (root / "Annotations/a.xml").write_text(text)
    (sample,) = read_voc(root, "val")
    assert sample.labels == (VOC_CLASSES.index("cat"), VOC_CLASSES.index("person"))
    assert sample.boxes == (Box(14, 0, 0, 500, 375), Box(7, 44.5, 1, 60, 3))


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        (("nan", 1, 5, 5), r"corners that are numbers of pixels, got \(nan, 0.0, 5.0, 5.0\)"),
        ((1, "-inf", 5, 5), "corners that are numbers of pixels"),
        ((1, 1, "1e400", 5), "corners that are numbers of pixels"),
        ((1, 1, "two", 5), "corners that are numbers of pixels"),
        ((1, 9, 5, 5), "corners x0, y0 up to x1, y1"),
    ],
)
def test_a_box_that_cannot_be_is_kept_and_named_at_indexing(
    tmp_path: Path, corners: tuple[Any, ...], words: str
) -> None:
    root = make_voc(tmp_path, val=["a"])
    (root / "Annotations/a.xml").write_text(annotation(("cat", box_xml(1, 1, 2, 2)), ("dog", box_xml(*corners))))
    drawings = try_opening(read_voc(root, "val")).drawings
    assert (drawings.tried, drawings.opened) == (1, 0)
    assert re.fullmatch(f"Expected box 1 of 'a' to have {words}.*", str(drawings.reason))


def test_the_source_of_labels_can_be_chosen(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["a"])
    draw_mask(root / "SegmentationClass/a.png", 1)
    (root / "Annotations/a.xml").write_text(annotation(("dog", "")))
    found = {labels: next(iter(read_voc(root, "val", labels=labels))).labels for labels in ("auto", "masks", "none")}
    assert found == {"auto": (11,), "masks": (0,), "none": ()}
    with pytest.raises(ValueError, match="Expected `labels` to be one of auto"):
        read_voc(root, "val", labels="mask")


def test_classes_txt_names_the_classes_of_another_data_set(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["a", "b"])
    (root / "classes.txt").write_text("disk\nstar\n\n")
    (root / "Annotations/a.xml").write_text(annotation(("star", "")))
    draw_mask(root / "SegmentationClass/b.png", 1)
    manifest = read_voc(root, "val")
    assert manifest.classes == ("disk", "star")
    assert [sample.labels for sample in manifest] == [(1,), (0,)]


def test_images_may_be_png_and_a_missing_one_is_kept_for_the_run_to_record(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["gone", "drawn"])
    (root / "JPEGImages/gone.jpg").unlink()
    (root / "JPEGImages/drawn.jpg").rename(root / "JPEGImages/drawn.png")
    assert read_voc(root, "val").table["image"].to_pylist() == ["JPEGImages/gone.jpg", "JPEGImages/drawn.png"]


def test_main_lists_serve_where_segmentation_has_none(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["a"])
    (root / "ImageSets/Main/val.txt").write_text("b\nc\n")
    (root / "ImageSets/Main/test.txt").write_text("d\n")
    assert list(by_id(read_voc(root, "val"))) == ["a"]
    assert list(by_id(read_voc(root, "val", task="Main"))) == ["b", "c"]
    assert list(by_id(read_voc(root, "test"))) == ["d"]


def test_a_class_list_selects_the_images_that_show_the_class(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["a"])
    (root / "ImageSets/Main/cat_val.txt").write_text("2008_000008 -1\n2008_000015  1\n2008_000019  0\n")
    assert list(by_id(read_voc(root, "cat_val"))) == ["2008_000015", "2008_000019"]


def test_an_unknown_split_is_refused_with_the_splits_there_are(tmp_path: Path) -> None:
    root = make_voc(tmp_path, train=["a"], val=["b"])
    (root / "ImageSets/Main/cat_val.txt").write_text("a 1\n")
    with pytest.raises(ManifestError, match=r"^Expected split to be one of train, val, got 'tets'$"):
        read_voc(root, "tets")


def test_a_folder_without_voc_or_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="Expected a VOC folder with JPEGImages"):
        read_voc(tmp_path)
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(ManifestError, match=r"Expected lists in .*Segmentation or Main, found none"):
        read_voc(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (annotation(("unicorn", "")), "unknown class 'unicorn'"),
        (annotation(("", "")), "unknown class ''"),
        ("<annotation><object>", "no element found"),
        ('<!DOCTYPE a [<!ENTITY e "cat">]>' + annotation(("&e;", "")), "a document type declaration"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_bad_annotation_is_refused_by_name(tmp_path: Path, text: str, reason: str, encoding: str) -> None:
    root = make_voc(tmp_path, val=["a"])
    (root / "Annotations/a.xml").write_bytes(text.encode(encoding))
    with pytest.raises(ManifestError, match=f"got {reason}.* in .*a.xml"):
        read_voc(root, "val")


def test_entities_that_multiply_are_never_expanded(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=["a"])
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "cat">{levels}]>' + annotation(("&e11;", ""))
    (root / "Annotations/a.xml").write_text(bomb)
    with pytest.raises(ManifestError, match="document type declaration"):
        read_voc(root, "val")


@needs_bytes_in_names
def test_voc_names_that_are_not_utf8_are_stored_as_urls(tmp_path: Path) -> None:
    root = make_voc(tmp_path, val=[])
    (root / "ImageSets/Segmentation/val.txt").write_bytes(b"caf\xe9\n")
    touch(root / os.fsdecode(b"JPEGImages/caf\xe9.jpg"))
    (sample,) = read_voc(root, "val")
    assert sample.id == "caf\\xe9"
    assert sample.image == f"file://{root}/JPEGImages/caf%E9.jpg"


def test_voc_samples_keep_the_order_of_the_list_and_are_told(tmp_path: Path) -> None:
    names = [f"{number:03d}" for number in range(60, 0, -1)]
    root, told = make_voc(tmp_path, val=names), list[Event]()
    for name in names:
        draw_mask(root / f"SegmentationClass/{name}.png", int(name) % 20 + 1)
    manifest = read_voc(root, "val", progress=told.append)
    assert [(sample.id, sample.labels) for sample in manifest] == [(name, (int(name) % 20,)) for name in names]
    assert told == told_of_all("indexing", 60)


@pytest.mark.skipif(not SHARED_VOC.is_dir(), reason="no VOC images beside the repository")
def test_shared_voc_is_indexed_with_the_labels_of_its_masks() -> None:
    train, val, both = (read_voc(SHARED_VOC, split) for split in ("train", "val", "trainval"))
    assert set(by_id(train)) | set(by_id(val)) == set(by_id(both))
    for sample in list(both)[::40]:
        with Image.open(str(sample.mask)) as mask:
            present = np.unique(np.asarray(mask))
        assert sample.labels == tuple(int(index) - 1 for index in present if index not in (0, 255))
        assert os.path.exists(sample.image)


def coco_file(tmp_path: Path, **changes: Any) -> Path:
    run_lengths = coco_mask.encode(np.asfortranarray(np.eye(4, 6, dtype=np.uint8)))
    dataset = {
        "images": [
            {"id": 9, "file_name": "b.jpg", "height": 4, "width": 6},
            {"id": 7, "file_name": "a.jpg", "height": 4, "width": 6},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 90, "bbox": [1, 2, 3, 1.5], "segmentation": [[1, 2, 4, 2, 4, 3]]},
            {
                "id": 2,
                "image_id": 9,
                "category_id": 1,
                "bbox": [0, 0, 6, 4],
                "iscrowd": 1,
                "segmentation": {"size": [4, 6], "counts": run_lengths["counts"].decode()},
            },
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(dataset | changes))
    return path


def test_coco_classes_are_categories_by_ascending_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_coco(coco_file(tmp_path), tmp_path / "images")
    assert manifest.classes == ("person", "toothbrush")
    assert list(by_id(manifest)) == ["b", "a"]
    assert capsys.readouterr().out == ""


def test_coco_labels_and_boxes_leave_crowds_out_and_regions_keep_them(tmp_path: Path) -> None:
    sample = by_id(read_coco(coco_file(tmp_path), tmp_path / "images"))["b"]
    assert sample.image == str(tmp_path / "images/b.jpg")
    assert sample.labels == (1,)
    assert sample.boxes == (Box(1, 1, 2, 4, 3.5),)
    thing, crowd = json.loads(str(sample.regions))
    assert thing == {
        "class_id": 1,
        "segmentation": [[1, 2, 4, 2, 4, 3]],
        "iscrowd": 0,
        "height": 4,
        "width": 6,
    }
    assert (crowd["class_id"], crowd["iscrowd"]) == (0, 1)
    assert np.array_equal(coco_mask.decode(crowd["segmentation"]), np.eye(4, 6))


@pytest.mark.parametrize(
    "box",
    [[1, 2, float("nan"), 4], [1, 2, 3, -4], [float("inf"), 0, 1, 1], [1, 2], [1, 2, None, 4], [10**400, 2, 1.5, 4]],
)
def test_a_coco_box_that_cannot_be_is_kept_and_named_by_its_sample(tmp_path: Path, box: list[float]) -> None:
    entry = {"id": 5, "image_id": 9, "category_id": 1, "bbox": box}
    drawings = try_opening(read_coco(coco_file(tmp_path, annotations=[entry]), tmp_path)).drawings
    assert (drawings.listed, drawings.opened) == (2, 1)
    assert str(drawings.reason).startswith("Expected box 0 of 'b' to have corners")


def test_coco_outlines_that_are_not_finite_are_kept_and_named_by_their_sample(tmp_path: Path) -> None:
    entry = {"id": 5, "image_id": 9, "category_id": 1, "segmentation": [[float("nan")] * 6]}
    manifest = read_coco(coco_file(tmp_path, annotations=[entry]), tmp_path)
    assert try_opening(manifest).drawings == Tally(2, 2, 1, "Expected outlines of 'b' with finite coordinates")
    with pytest.raises(MaskError, match="coordinates far outside it"):
        read_mask(by_id(manifest)["b"], "index", (4, 6), 2)


def test_a_coco_image_without_annotations_has_no_labels_and_is_all_background(tmp_path: Path) -> None:
    sample = by_id(read_coco(coco_file(tmp_path), tmp_path))["a"]
    assert (sample.labels, sample.boxes, sample.regions) == ((), (), "[]")


def test_coco_ids_are_image_ids_where_stems_clash(tmp_path: Path) -> None:
    names = ["x/a.jpg", "y/a.jpg", "b.jpg"]
    images = [{"id": place, "file_name": name, "height": 4, "width": 6} for place, name in enumerate(names)]
    manifest = read_coco(coco_file(tmp_path, images=images, annotations=[]), tmp_path)
    assert list(by_id(manifest)) == ["0", "1", "b"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": [{"id": 9, "height": 4, "width": 6}]}, "no 'file_name'"),
        ({"images": [{"id": 9, "file_name": "b.jpg"}]}, "no 'height'"),
        ({"images": [{"id": 7, "file_name": "a.jpg"}]}, "annotations of the unlisted image 9"),
        ({"images": [{"id": 9, "file_name": "a.jpg"}] * 2}, "an image or category id twice"),
        ({"categories": [{"id": 1, "name": "person"}]}, "annotations of the unlisted category 90"),
    ],
)
def test_inconsistent_coco_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ManifestError, match=f"Expected COCO instances at .*instances.json, got {reason}.*; check"):
        read_coco(coco_file(tmp_path, **changes), tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "Expecting an object"),
        ("{}", "no 'images'"),
        ('{"images": ' + "[" * 100_000, "brackets nested too deeply"),
    ],
)
def test_a_file_that_is_not_coco_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ManifestError, match=f"Expected COCO instances at .*x.json, got {reason}"):
        read_coco(path, tmp_path)
    with pytest.raises(ManifestError, match="No such file"):
        read_coco(tmp_path / "none.json", tmp_path)


def test_indexing_needs_no_torch() -> None:
    code = "import sys, audit.datasets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
