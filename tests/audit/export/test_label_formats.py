"""Every format of label images, read back by the other side's package or by a reader written from its documentation."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pycocotools.mask
import pytest
import zarr
from drawn_labels import CLASSES, COLON, FAILED, GONE, IDS, DrawnLabels, drawn_labels
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.ndimage import binary_fill_holes
from torchvision.datasets import VOCSegmentation

from audit.errors import RunError
from audit.export import LABEL_FORMATS, export_labels
from audit.export.labels import Collection
from audit.segmentation import LabelImage
from audit.store.storage.files import file_stem
from pipelines.training.labels import find_labels


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DrawnLabels:
    return drawn_labels(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def exported(source: DrawnLabels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("exports")

    def export(name: str) -> Path:
        if not (root / name).exists():
            export_labels(source, name, root / name)
        return root / name

    return export


def index(image: LabelImage) -> NDArray[np.int64]:
    return np.where(image.mask == -1, 255, image.mask).astype(np.int64)


def stems(source: DrawnLabels) -> dict[str, LabelImage]:
    return {file_stem(image.sample.id): image for image in source.all()}


def test_voc_pngs_hold_the_masks(source: DrawnLabels, exported: Any) -> None:
    out = exported("voc-png")
    assert {path.stem for path in out.glob("*.png")} == stems(source).keys()
    for stem, image in stems(source).items():
        with Image.open(out / f"{stem}.png") as png:
            np.testing.assert_array_equal(np.asarray(png), index(image))


def test_torchvision_reads_the_voc_tree_with_its_images(source: DrawnLabels, tmp_path: Path) -> None:
    whole = DrawnLabels(source.run, failed=(FAILED, GONE))
    said = export_labels(whole, "voc", tmp_path / "voc")
    assert said == f"{tmp_path / 'voc'}: 5 pseudo-masks"
    for split in ("train", "trainval"):
        read = VOCSegmentation(str(tmp_path / "voc"), "2012", split)
        assert len(read) == 5
        for (picture, mask), image in zip(read, whole.all(), strict=True):
            np.testing.assert_array_equal(np.asarray(mask), index(image))
            assert picture.size == image.mask.shape[::-1]
            assert np.asarray(picture).flat[0] == image.row


def test_of_many_samples_files_lie_in_numbered_folders_and_are_found_there(
    source: DrawnLabels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Collection, "a_folder", 2)
    whole = DrawnLabels(source.run, failed=(FAILED, GONE))
    images = whole.all()
    for name in ("voc", "voc-png", "npz", "zarr", "yolo", "fiftyone", "coco-panoptic"):
        export_labels(whole, name, tmp_path / name)
    numbered = [f"{image.row // 2:05d}/{file_stem(image.sample.id)}" for image in images]
    for name, suffix in (
        ("voc-png", ".png"),
        ("npz", ".npz"),
        ("fiftyone/labels", ".png"),
        ("yolo/labels/train", ".txt"),
    ):
        assert {str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).glob(f"*/*{suffix}")} == {
            f"{place}{suffix}" for place in numbered
        }
    for (picture, mask), image in zip(VOCSegmentation(str(tmp_path / "voc"), "2012", "train"), images, strict=True):
        np.testing.assert_array_equal(np.asarray(mask), index(image))
        assert np.asarray(picture).flat[0] == image.row
    groups = zarr.open_group(tmp_path / "zarr/labels.zarr", mode="r")
    for place, image in zip(numbered, images, strict=True):
        np.testing.assert_array_equal(groups[f"{place}/mask"][:], image.mask)
    panoptic = json.loads((tmp_path / "coco-panoptic/panoptic.json").read_text())["annotations"]
    assert [annotation["file_name"] for annotation in panoptic] == [f"{place}.png" for place in numbered]
    labelled = find_labels(source.run.manifest(), tmp_path / "voc-png")
    assert [label.label for label in labelled] == [str(tmp_path / f"voc-png/{place}.png") for place in numbered]


def test_a_voc_mask_without_its_image_is_written_and_told(source: DrawnLabels, tmp_path: Path) -> None:
    said = export_labels(source, "voc", tmp_path / "voc")
    assert said.endswith("6 pseudo-masks; 1 of them without their image, which is gone or behind a URL")
    kit = tmp_path / "voc/VOCdevkit/VOC2012"
    assert (kit / f"SegmentationClass/{IDS[GONE]}.png").exists()
    assert not (kit / f"JPEGImages/{IDS[GONE]}.jpg").is_symlink()
    assert len((kit / "ImageSets/Segmentation/train.txt").read_text().splitlines()) == 6


@pytest.mark.parametrize("name", ["coco", "coco-components"])
def test_pycocotools_reads_instances_identical_to_the_pixel(name: str, source: DrawnLabels, exported: Any) -> None:
    coco = COCO(exported(name) / "instances.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert coco.getImgIds() == [image.row + 1 for image in source.all()]
    for image in source.all():
        found = np.zeros_like(image.mask)
        for annotation in coco.loadAnns(coco.getAnnIds(image.row + 1)):
            mask = coco.annToMask(annotation).astype(bool)
            assert not found[mask].any()
            assert annotation["area"] == mask.sum()
            found[mask] = annotation["category_id"]
        np.testing.assert_array_equal(found, np.maximum(image.mask, 0))
        record = coco.loadImgs(image.row + 1)[0]
        assert record["file_name"] == f"sub/image {image.row}.png"
        assert (record["height"], record["width"]) == image.mask.shape


def test_coco_holds_one_annotation_a_class_and_components_one_a_part(source: DrawnLabels, exported: Any) -> None:
    count = {name: len(COCO(exported(name) / "instances.json").anns) for name in ("coco", "coco-components")}
    assert count["coco"] == sum(len(image.class_ids) for image in source.all())
    assert count["coco-components"] > count["coco"]


@pytest.mark.parametrize("name", ["coco", "coco-components"])
def test_cocoeval_finds_the_results_perfect_against_the_instances(name: str, exported: Any) -> None:
    truth = COCO(exported(name) / "instances.json")
    results = truth.loadRes(str(exported(name) / "results.json"))
    scores = [annotation["score"] for annotation in results.anns.values()]
    assert sorted(set(scores)) == pytest.approx([(i + 1) / 6 for i in range(5)])
    evaluation = COCOeval(truth, results, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_panoptic_pngs_and_segments_agree_with_the_masks(source: DrawnLabels, exported: Any) -> None:
    record = json.loads((exported("coco-panoptic") / "panoptic.json").read_text())
    kinds = {category["id"]: category for category in record["categories"]}
    assert [kinds[i]["isthing"] for i in sorted(kinds)] == [1] * 5 + [0]
    rows = {image.row + 1: image for image in source.all()}
    assert [annotation["image_id"] for annotation in record["annotations"]] == list(rows)
    for annotation in record["annotations"]:
        with Image.open(exported("coco-panoptic") / "panoptic" / annotation["file_name"]) as png:
            pixels = np.asarray(png).astype(int)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 256**2 * pixels[..., 2]
        found = np.full(ids.shape, -1)
        for segment in annotation["segments_info"]:
            inside = ids == segment["id"]
            y, x = np.nonzero(inside)
            assert segment["area"] == inside.sum()
            assert segment["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            found[inside] = segment["category_id"] if kinds[segment["category_id"]]["isthing"] else 0
        np.testing.assert_array_equal(found, rows[annotation["image_id"]].mask)


def test_npz_and_zarr_hold_masks_levels_and_confidences(source: DrawnLabels, exported: Any) -> None:
    store = zarr.open_group(exported("zarr") / "labels.zarr", mode="r")
    assert store.attrs["classes"] == list(CLASSES)
    assert set(store.group_keys()) == stems(source).keys()
    for stem, image in stems(source).items():
        with np.load(exported("npz") / f"{stem}.npz") as archive:
            read: list[Any] = [archive, {name: array[...] for name, array in store[stem].arrays()}]
            for arrays in read:
                np.testing.assert_array_equal(arrays["mask"], image.mask)
                np.testing.assert_array_equal(arrays["soft"], image.soft)
                assert arrays["class_ids"].tolist() == image.class_ids
                assert arrays["confidence"].tolist() == pytest.approx([(i + 1) / 6 for i in image.class_ids])
        assert dict(store[stem].attrs) == {
            "id": image.sample.id,
            "row": image.row,
            "image": f"sub/image {image.row}.png",
        }


def read_cvat(path: Path) -> tuple[list[str], dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Labels and (class, object) arrays by frame, from the colours alone; -1 where a colour has no label."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read("labelmap.txt").decode()
        rows = [line.split(":") for line in text.splitlines() if not line.startswith("#")]
        assert all(len(row) == 4 for row in rows)
        colours = {tuple(map(int, row[1].split(","))): place for place, row in enumerate(rows)}
        masks = {}
        for frame in archive.read("ImageSets/Segmentation/default.txt").decode().splitlines():
            kinds = []
            for folder in ("SegmentationClass", "SegmentationObject"):
                with archive.open(f"{folder}/{frame}.png") as file, Image.open(file) as png:
                    kinds.append((np.asarray(png.convert("RGB")), np.asarray(png)))
            classes = np.array([[colours.get(tuple(pixel), -1) for pixel in row] for row in kinds[0][0].tolist()])
            masks[frame] = (classes, kinds[1][1].astype(np.int64))
    return [row[0] for row in rows], masks


def test_the_cvat_zip_holds_the_masks_in_the_colours_of_its_label_map(source: DrawnLabels, exported: Any) -> None:
    labels, masks = read_cvat(exported("cvat") / "annotations.zip")
    assert labels == ["background", *CLASSES]
    assert list(masks) == [f"sub/image {image.row}" for image in source.all()]
    for image, (classes, objects) in zip(source.all(), masks.values(), strict=True):
        np.testing.assert_array_equal(classes, np.maximum(image.mask, 0))
        np.testing.assert_array_equal(objects > 0, image.mask > 0)
        pairs = set(zip(classes[objects > 0].tolist(), objects[objects > 0].tolist(), strict=True))
        assert len(pairs) == len(image.class_ids)


def test_datumaro_reads_the_cvat_zip_identical_to_the_pixel(source: DrawnLabels, exported: Any, tmp_path: Path) -> None:
    datumaro = pytest.importorskip("datumaro")
    with zipfile.ZipFile(exported("cvat") / "annotations.zip") as archive:
        archive.extractall(tmp_path)
    items = {item.id: item for item in datumaro.Dataset.import_from(str(tmp_path), "voc")}
    for image in source.all():
        found = np.zeros_like(image.mask)
        for annotation in items[f"sub/image {image.row}"].annotations:
            found[annotation.image.astype(bool)] = annotation.label
        np.testing.assert_array_equal(found, np.maximum(image.mask, 0))


@pytest.mark.parametrize("name", [COLON, "#hash", " rim", "two\nlines"])
def test_cvat_refuses_a_class_that_its_label_map_cannot_hold(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"CVAT's label map cannot hold the class .*; rename it"):
        export_labels(drawn_labels(tmp_path, ("cat", name)), "cvat", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def read_bits(data: list[int]) -> Iterator[int]:
    return (byte >> shift & 1 for byte in data for shift in range(7, -1, -1))


def decode_brush(data: list[int]) -> NDArray[np.uint8]:
    """Label Studio's run lengths, bit by bit, from the description of the format."""
    bits = read_bits(data)

    def take(count: int) -> int:
        value = 0
        for _ in range(count):
            value = value * 2 + next(bits)
        return value

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeats = take(1)
        length = take(sizes[take(2)]) + 1
        values += [take(word)] * length if repeats else [take(word) for _ in range(length)]
    assert len(values) == total
    return np.array(values, np.uint8)


def brushes(out: Path) -> dict[str, Any]:
    return {task["data"]["sample"]: task for task in json.loads((out / "tasks.json").read_text())}


def test_label_studio_tasks_hold_a_brush_for_each_class(source: DrawnLabels, exported: Any) -> None:
    tasks = brushes(exported("label-studio"))
    assert list(tasks) == [image.sample.id for image in source.all()]
    for image in source.all():
        task = tasks[image.sample.id]
        assert task["data"]["image"] == f"/data/local-files/?d=sub/image%20{image.row}.png"
        found = np.zeros_like(image.mask)
        for result in task["predictions"][0]["result"]:
            height, width = result["original_height"], result["original_width"]
            pixels = decode_brush(result["value"]["rle"]).reshape(height, width, 4)
            assert (pixels == pixels[..., :1]).all()
            assert set(np.unique(pixels)) <= {0, 255}
            (name,) = result["value"]["brushlabels"]
            found[pixels[..., 3] == 255] = CLASSES.index(name) + 1
        np.testing.assert_array_equal(found, np.maximum(image.mask, 0))


def test_label_studios_own_converter_decodes_the_brushes(source: DrawnLabels, exported: Any) -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    tasks = brushes(exported("label-studio"))
    for image in source.all():
        for result in tasks[image.sample.id]["predictions"][0]["result"]:
            pixels = brush.decode_rle(result["value"]["rle"]).reshape(*image.mask.shape, 4)
            class_id = CLASSES.index(result["value"]["brushlabels"][0])
            np.testing.assert_array_equal(pixels[..., 3] == 255, image.mask == class_id + 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (300, 400), (700, 13)])
def test_brushes_of_any_length_of_run_come_back(size: tuple[int, int], rng: np.random.Generator) -> None:
    from audit.export.labels.runs import brush_rle

    for mask in (np.zeros(size, bool), np.ones(size, bool), rng.random(size) < 0.5, rng.random(size) < 0.001):
        pixels = decode_brush(brush_rle(mask)).reshape(*size, 4)
        np.testing.assert_array_equal(pixels, np.where(mask, 255, 0)[..., None].repeat(4, -1))


def test_the_labelling_config_has_every_class_as_xml(exported: Any) -> None:
    import xml.etree.ElementTree as ET

    config = ET.parse(exported("label-studio") / "config.xml").getroot()
    read = [label.get("value") for label in config.iter("Label")]
    assert [" ".join(str(name).split()) for name in read] == [" ".join(name.split()) for name in CLASSES]


def test_the_fiftyone_folder_is_as_its_schema_says(source: DrawnLabels, exported: Any) -> None:
    out, expected = exported("fiftyone"), stems(source)
    del expected[IDS[GONE]]  # FiftyOne ends at a mask without an image
    targets = json.loads((out / "mask_targets.json").read_text())
    assert targets == {"0": "background", "255": "unknown"} | {str(i): name for i, name in enumerate(CLASSES, 1)}
    assert {path.stem for path in (out / "labels").iterdir()} == expected.keys()
    assert {path.stem for path in (out / "data").iterdir()} == expected.keys()
    for stem, image in expected.items():
        with Image.open(out / f"labels/{stem}.png") as png:
            assert png.mode == "L"  # of a palette it takes the colours
            np.testing.assert_array_equal(np.asarray(png), index(image))


def test_what_fiftyone_leaves_out_is_told(source: DrawnLabels, tmp_path: Path) -> None:
    said = export_labels(source, "fiftyone", tmp_path / "out")
    assert said.endswith("6 pseudo-masks; 1 of them left out, whose image is gone or behind a URL")


def raster(rows: list[list[str]], size: tuple[int, int], class_id: int) -> NDArray[np.bool_]:
    """A class's polygons, each with its outline and what it encloses, drawn by Pillow."""
    canvas = Image.new("1", size[::-1])
    for row in rows:
        if int(row[0]) == class_id:
            places = np.array(row[1:], float).reshape(-1, 2) * size[::-1]
            ImageDraw.Draw(canvas).polygon([tuple(place) for place in np.floor(places)], fill=1, outline=1)
    return np.asarray(canvas)


def test_yolo_polygons_draw_the_masks_with_their_holes_filled(source: DrawnLabels, exported: Any) -> None:
    out, added, masked = exported("yolo"), 0, 0
    for stem, image in stems(source).items():
        with (out / f"labels/train/{stem}.txt").open(newline="") as file:
            rows = list(csv.reader(file, delimiter=" "))
        assert all(len(row) >= 7 for row in rows)
        assert {int(row[0]) for row in rows} == set(image.class_ids)
        for class_id in image.class_ids:
            filled = binary_fill_holes(image.mask == class_id + 1)
            np.testing.assert_array_equal(raster(rows, image.mask.shape, class_id), filled)
            masked, added = masked + (image.mask == class_id + 1).sum(), added + filled.sum()
    assert added > masked
    yaml = pytest.importorskip("yaml")
    described = yaml.safe_load((out / "data.yaml").read_text())
    assert described["names"] == dict(enumerate(CLASSES))
    assert (out / described["train"] / "a__1.png").is_symlink()


def test_how_much_polygons_add_is_told(source: DrawnLabels, tmp_path: Path) -> None:
    said = export_labels(source, "yolo", tmp_path / "out")
    masks = [image.mask == class_id + 1 for image in source.all() for class_id in image.class_ids]
    added = sum(int((binary_fill_holes(mask) & ~mask).sum()) for mask in masks)
    share = added / sum(int(mask.sum()) for mask in masks)
    unknown = sum(int((image.mask == -1).sum()) for image in source.all())
    assert f"polygons fill holes of {added} pixels, {share:.2%} of the masks; {unknown} unknown pixels" in said
    assert added > 0


def test_the_table_of_masks_gives_the_masks_back(source: DrawnLabels, exported: Any) -> None:
    rows = pq.read_table(exported("mask-table") / "masks.parquet").to_pylist()
    found = {image.row: np.zeros_like(image.mask) for image in source.all()}
    for row in rows:
        if row["counts"] is not None:
            runs = {"size": [row["height"], row["width"]], "counts": row["counts"]}
            mask = pycocotools.mask.decode(runs).astype(bool)
            assert row["area"] == mask.sum()
            found[row["sample"]][mask] = -1 if row["class_id"] is None else row["class_id"] + 1
    for image in source.all():
        np.testing.assert_array_equal(found[image.row], image.mask)
    assert {row["id"] for row in rows} == set(IDS) - {IDS[FAILED]}
    assert all(row["class"] == CLASSES[row["class_id"]] for row in rows if row["class_id"] is not None)


def test_outlines_draw_any_part_with_its_holes_filled(rng: np.random.Generator) -> None:
    from audit.export.labels.yolo import outlines

    for share in np.linspace(0.05, 0.95, 60):
        size = tuple(rng.integers(1, 20, 2).tolist())
        filled = binary_fill_holes(rng.random(size) < share)
        rows = [["0", *map(str, ((points[:, ::-1] + 0.5) / size[::-1]).ravel())] for points in outlines(filled)]
        np.testing.assert_array_equal(raster(rows, size, 0), filled)


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_images_behind_urls_are_named_as_they_are_and_never_fetched(name: str, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Remote(DrawnLabels):
        def image(self, row: int, sample: Any) -> LabelImage:
            return replace(
                super().image(row, sample), sample=replace(sample, image=f"https://example.org/{row}.jpg?a=1")
            )

    out = tmp_path / "out"
    said = export_labels(Remote(drawn_labels(tmp_path).run), name, out)
    if name in ("voc", "fiftyone", "yolo"):
        assert "6 of them" in said
    named = {
        "coco": lambda: [image["file_name"] for image in COCO(out / "instances.json").imgs.values()],
        "label-studio": lambda: [task["data"]["image"] for task in brushes(out).values()],
        "mask-table": lambda: pq.read_table(out / "masks.parquet")["image"].unique().to_pylist(),
    }.get(name)
    if named is not None:
        assert named() == [f"https://example.org/{row}.jpg?a=1" for row in range(7) if row != FAILED]


def test_a_sample_that_is_called_as_zarrs_own_file_has_a_group(source: DrawnLabels, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Named(DrawnLabels):
        def image(self, row: int, sample: Any) -> LabelImage:
            name = "zarr.json" if row == 0 else sample.id
            return replace(super().image(row, sample), sample=replace(sample, id=name))

    killed = tmp_path / f"out/labels.zarr/a__1.{'0' * 16}.partial"
    export_labels(source, "zarr", tmp_path / "out")
    killed.mkdir(parents=True)
    export_labels(Named(source.run, seed=1), "zarr", tmp_path / "out", overwrite=True)
    store = zarr.open_group(tmp_path / "out/labels.zarr", mode="r")
    assert len(set(store.group_keys())) == 6
    assert {group.attrs["id"] for _, group in store.groups()} >= {"zarr.json"}


PALETTE = ("voc-png", "voc", "cvat")


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_a_thousand_classes_are_refused_by_palettes_and_written_by_others(name: str, tmp_path: Path) -> None:
    source = drawn_labels(tmp_path, [f"class {i}" for i in range(1000)])
    if name in PALETTE:
        with pytest.raises(RunError, match=f"^{name} holds 254 classes at most, the run has 1000; export "):
            export_labels(source, name, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    else:
        assert "6 pseudo-masks" in export_labels(source, name, tmp_path / "out")


@pytest.mark.parametrize("options", [{"none": True}, {"failed": tuple(range(7))}], ids=["no masks", "all failed"])
@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_nothing_to_write_is_written_whole(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    source = drawn_labels(tmp_path, **options)
    out = tmp_path / "out"
    assert f"{len(source.all())} pseudo-masks" in export_labels(source, name, out)
    assert all((out / joined).exists() for joined in LABEL_FORMATS[name].joined)
    for path in (*out.glob("*.json"), *out.glob("*/*.json")):
        json.loads(path.read_text())
    if name == "coco":
        assert COCO(out / "instances.json").anns == {}
