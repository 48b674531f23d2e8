"""The planted scenes: what is drawn, what differs between twins, what is written."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from manifests import told_of_all
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.stats import arcsine, kstest, uniform

from audit.datasets.planted import (
    CLASSES,
    CUES,
    REGIMES,
    STANDARD,
    VOID,
    PlantedSpec,
    Scene,
    draw_planted,
    draw_scene,
    read_truth,
    shows_cue,
)
from audit.datasets.readers.voc import read_voc
from audit.errors import ManifestError
from audit.progress import Advanced, Event

SMALL = PlantedSpec(seed=3, train=18, test=12, size=64)
CUED = [class_id for class_id, name in enumerate(CLASSES) if name in CUES]
PLAIN = [class_id for class_id, name in enumerate(CLASSES) if name not in CUES]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_planted(tmp_path_factory.mktemp("planted") / "VOC2012", SMALL)


def scenes(class_id: int, count: int = 12, spec: PlantedSpec = STANDARD) -> Iterator[tuple[Scene, Scene]]:
    """Test scenes of a class, each with and without its cue."""
    for index in range(class_id, class_id + count * len(CLASSES), len(CLASSES)):
        yield draw_scene(spec, "test", index, True), draw_scene(spec, "test", index, False)


def differing(one: Scene, other: Scene) -> NDArray[np.bool_]:
    different: NDArray[np.bool_] = np.any(one.image != other.image, axis=2)
    return different


def inside(box: tuple[int, int, int, int], size: int) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:size, :size]
    return np.asarray((rows >= box[1]) & (rows < box[3]) & (columns >= box[0]) & (columns < box[2]))


def listed(root: Path, name: str) -> list[str]:
    return (root / f"ImageSets/Segmentation/{name}.txt").read_text().split()


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_three_classes_have_a_cue_of_their_own_kind_and_three_have_none() -> None:
    assert sorted(CUES.values()) == ["companion", "texture", "watermark"]
    assert (len(CUED), len(PLAIN)) == (3, 3)


@pytest.mark.parametrize("class_id", CUED)
def test_twins_share_mask_and_box_and_differ_in_the_cue_alone(class_id: int) -> None:
    for shown, hidden in scenes(class_id):
        changed = differing(shown, hidden)
        assert changed.any()
        assert not changed[shown.mask == class_id + 1].any()
        if shown.cue_box is not None:
            assert not changed[~inside(shown.cue_box, STANDARD.size)].any()
        np.testing.assert_array_equal(shown.mask, hidden.mask)
        assert shown.box == hidden.box
        assert (shown.cue, hidden.cue, hidden.cue_box) == (CUES[CLASSES[class_id]], None, None)


@pytest.mark.parametrize("class_id", PLAIN)
def test_the_twin_of_a_class_without_a_cue_is_the_scene_itself(class_id: int) -> None:
    for shown, hidden in scenes(class_id):
        assert not differing(shown, hidden).any()
        assert (shown.cue, shown.cue_box) == (None, None)


def test_the_cue_box_is_filled_by_the_cue() -> None:
    for class_id in CUED:
        for shown, hidden in scenes(class_id):
            if shown.cue_box is not None:
                x0, y0, x1, y1 = shown.cue_box
                share = differing(shown, hidden)[y0:y1, x0:x1].mean()
                assert share > 0.25
                assert (x1 - x0) * (y1 - y0) < 0.03 * STANDARD.size**2


def test_a_texture_reaches_the_whole_background_and_has_no_box() -> None:
    for shown, hidden in scenes(CLASSES.index("square")):
        assert differing(shown, hidden)[shown.mask == 0].mean() > 0.9
        assert shown.cue_box is None


def test_a_companion_lies_on_unlabelled_background_clear_of_object_and_rim() -> None:
    for shown, hidden in scenes(CLASSES.index("pentagon"), count=40):
        assert set(shown.mask[differing(shown, hidden)]) == {0}


def test_a_watermark_keeps_to_its_corner_with_a_little_jitter() -> None:
    boxes = np.array([shown.cue_box for shown, _ in scenes(CLASSES.index("disc"), count=40)])
    assert (boxes[:, :2] >= 0.84 * STANDARD.size - 1).all()
    assert (boxes[:, 2:] <= STANDARD.size).all()
    assert (np.ptp(boxes[:, :2], axis=0) >= 3).all()


@pytest.mark.parametrize("size", [48, 64, 96, 200])
def test_no_object_of_any_class_reaches_the_watermark(size: int) -> None:
    spec = PlantedSpec(size=size)
    corner = inside((round(0.84 * size), round(0.84 * size), size, size), size)
    for index in range(60):
        assert not draw_scene(spec, "test", index, False).mask[corner].any()


@pytest.mark.parametrize("size", [48, 200])
def test_every_size_draws_cues_within_the_frame(size: int) -> None:
    for class_id in CUED:
        for shown, hidden in scenes(class_id, 8, PlantedSpec(size=size)):
            assert differing(shown, hidden).any()
            assert shown.cue_box is None or (min(shown.cue_box) >= 0 and max(shown.cue_box) <= size)


def test_the_void_rim_is_what_lies_within_two_steps_of_the_object() -> None:
    for index in range(len(CLASSES)):
        mask = draw_scene(SMALL, "test", index, False).mask
        rows, columns = np.nonzero(mask == index + 1)
        for y, x in product(range(SMALL.size), repeat=2):
            steps = np.min(abs(rows - y) + abs(columns - x))
            assert mask[y, x] == (index + 1 if steps == 0 else VOID if steps <= 2 else 0)


def test_the_object_is_whole_within_the_frame_and_fills_its_box() -> None:
    for index in range(60):
        scene = draw_scene(STANDARD, "train", index, True)
        pixels = scene.mask == scene.class_id + 1
        pieces = np.bincount(ndimage.label(pixels, np.ones((3, 3)))[0][pixels])
        assert pieces.max() >= 0.98 * pixels.sum()  # the thin tip of a star may lose a pixel
        frame = np.concatenate([scene.mask[0], scene.mask[-1], scene.mask[:, 0], scene.mask[:, -1]])
        assert not np.isin(frame, scene.class_id + 1).any()
        rows, columns = np.nonzero(pixels)
        assert scene.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


FILLING = {
    "disc": np.pi,
    "square": 2.0,
    "pentagon": 2.5 * np.sin(2 * np.pi / 5),
    "ring": np.pi * (1 - (0.16 / 0.88) ** 2),
    "bar": 4 * 0.97 * 0.24 / (0.97**2 + 0.24**2),
    "star": 5 * np.sin(np.pi / 10) / np.sin(7 * np.pi / 10) * np.sin(np.pi / 5),
}
"""Area of each shape over its squared reach, from school geometry."""


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_has_the_area_and_the_holes_of_its_shape(name: str) -> None:
    mask = draw_scene(PlantedSpec(size=800), "test", CLASSES.index(name), False).mask
    pixels = mask == CLASSES.index(name) + 1
    rows, columns = np.nonzero(pixels)
    reach = np.hypot(rows - rows.mean(), columns - columns.mean()).max()
    assert pixels.sum() / reach**2 == pytest.approx(FILLING[name], rel=0.04)
    assert ndimage.label(~pixels)[1] - 1 == (name == "ring")


def test_places_sizes_and_colours_vary_within_a_class() -> None:
    drawn = [shown for shown, _ in scenes(CLASSES.index("ring"), count=30)]
    boxes = np.array([scene.box for scene in drawn])
    colours = np.array([scene.image[scene.mask == scene.class_id + 1].mean(axis=0) for scene in drawn])
    assert np.ptp(boxes[:, 0]) > 30
    assert np.ptp(boxes[:, 1]) > 30
    assert np.ptp(boxes[:, 2] - boxes[:, 0]) >= 8
    assert (np.ptp(colours, axis=0) > 60).all()


def test_the_standard_scenes_keep_their_bytes() -> None:
    digest = sha256()
    for split, index, with_cue in product(("train", "test"), range(24), (True, False)):
        scene = draw_scene(STANDARD, split, index, with_cue)
        digest.update(scene.image.tobytes() + scene.mask.tobytes())
    assert digest.hexdigest() == "5c345cca829734ef006501e6024e0213957614e45503691f6cba8c52cf2e2f6f"


def measured_contrast(class_id: int, spec: PlantedSpec, count: int = 30) -> NDArray[np.float64]:
    """Length of the difference of mean colours between object and background, for test scenes without cues."""
    found = []
    for _, scene in scenes(class_id, count, spec):
        means = [scene.image[pixels].mean(axis=0) for pixels in (scene.mask == class_id + 1, scene.mask == 0)]
        found.append(np.linalg.norm(means[0] - means[1]))
    return np.array(found)


def test_contrast_is_the_length_of_the_colour_difference_and_classes_with_a_cue_may_have_their_own() -> None:
    spec = PlantedSpec(contrast=(100, 101), cued_contrast=(20, 40))
    for class_id in (*CUED, *PLAIN):
        low, high = (20, 40) if class_id in CUED else (100, 101)
        contrast = measured_contrast(class_id, spec)
        assert low - 15 < contrast.min()  # blotches of the background move its mean a little
        assert contrast.max() < high + 15


def test_the_contrast_of_classes_with_a_cue_is_mostly_near_the_bounds_and_that_of_others_even() -> None:
    spec, rng = PlantedSpec(contrast=(60, 200), cued_contrast=(20, 120)), np.random.default_rng(0)
    cued = [spec.draw_contrast(rng, "disc") for _ in range(2000)]
    even = [spec.draw_contrast(rng, "ring") for _ in range(2000)]
    assert kstest(cued, arcsine(20, 100).cdf).pvalue > 0.01
    assert kstest(even, uniform(60, 140).cdf).pvalue > 0.01


@pytest.mark.parametrize("radius", [(0.1, 0.1), (0.3, 0.3)])
def test_objects_have_the_radius_asked_for(radius: tuple[float, float]) -> None:
    for scene, _ in scenes(CLASSES.index("disc"), 6, PlantedSpec(radius=radius)):
        area = (scene.mask == CLASSES.index("disc") + 1).sum()
        assert area == pytest.approx(np.pi * (0.88 * radius[0] * STANDARD.size) ** 2, rel=0.05)


def test_the_regimes_show_their_cues_nearly_always_about_half_the_time_and_never() -> None:
    shown = {name: np.mean([shows_cue(spec, index) for index in range(600)]) for name, spec in REGIMES.items()}
    assert shown["strong"] > 0.9
    assert 0.45 < shown["mixed"] < 0.65
    assert shown["clean"] == 0


def test_a_scene_depends_on_seed_split_and_index_and_on_nothing_else() -> None:
    first = draw_scene(STANDARD, "test", 8, True)
    np.random.default_rng().normal()
    again = draw_scene(PlantedSpec(train=1, test=9, cue_share=0.1), "test", 8, True)
    np.testing.assert_array_equal(first.image, again.image)
    for other in (
        draw_scene(PlantedSpec(seed=1), "test", 8, True),
        draw_scene(STANDARD, "train", 8, True),
        draw_scene(STANDARD, "test", 14, True),
    ):
        assert differing(first, other).mean() > 0.9


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97, 1.0])
def test_the_cue_shows_in_its_share_of_the_training_scenes(share: float) -> None:
    spec = PlantedSpec(cue_share=share)
    shown = np.mean([shows_cue(spec, index) for index in range(1500)])
    assert abs(shown - share) <= 4 * np.sqrt(share * (1 - share) / 1500)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 47}, "`size` to be at least 48"),
        ({"cue_share": 1.2}, "`cue_share` to be within 0 and 1, got 1.2"),
        ({"contrast": (90.0, 60.0)}, "`contrast` to rise within 0 and 255, got 90.0 to 60.0"),
        ({"cued_contrast": (0.0, 300.0)}, "`cued_contrast` to rise within 0 and 255"),
        ({"radius": (0.2, 0.5)}, "`radius` to rise within 0.05 and 0.4"),
        ({"train": -1}, "not to be negative"),
        ({"seed": -1}, "not to be negative"),
    ],
)
def test_a_spec_that_cannot_be_drawn_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlantedSpec(**values)


def test_the_lists_hold_biased_scenes_test_scenes_and_their_twins(planted: Path) -> None:
    train, val, twins = (listed(planted, name) for name in ("train", "val", "twins"))
    assert (len(train), len(val), len(twins)) == (SMALL.train, SMALL.test, SMALL.test)
    assert len(set(val) & set(twins)) == SMALL.test * len(PLAIN) // len(CLASSES)
    everything = {f"{id_}.png" for id_ in (*train, *val, *twins)}
    assert {path.name for path in (planted / "JPEGImages").iterdir()} == everything
    assert {path.name for path in (planted / "SegmentationClass").iterdir()} == everything


def test_files_hold_the_drawn_pixels_without_loss(planted: Path) -> None:
    truth = read_truth(planted)
    for index, row in truth.iterrows():
        for id_, with_cue in ((row["id"], True), (row["twin"], False)):
            scene = draw_scene(SMALL, "test", int(str(index)), with_cue)
            np.testing.assert_array_equal(np.asarray(Image.open(planted / f"JPEGImages/{id_}.png")), scene.image)
            np.testing.assert_array_equal(np.asarray(Image.open(planted / f"SegmentationClass/{id_}.png")), scene.mask)


def test_training_files_show_their_cue_as_chosen(planted: Path) -> None:
    for index, id_ in enumerate(listed(planted, "train")):
        scene = draw_scene(SMALL, "train", index, shows_cue(SMALL, index))
        np.testing.assert_array_equal(np.asarray(Image.open(planted / f"JPEGImages/{id_}.png")), scene.image)


def test_annotated_boxes_bound_the_pixels_of_the_mask(planted: Path) -> None:
    for path in sorted((planted / "Annotations").iterdir()):
        name, corners = annotated_object(path)
        mask = np.asarray(Image.open(planted / f"SegmentationClass/{path.stem}.png"))
        rows, columns = np.nonzero(mask == CLASSES.index(name) + 1)
        assert corners == (columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1)


def annotated_object(path: Path) -> tuple[str, tuple[int, ...]]:
    root = ElementTree.parse(path).getroot()
    found = root.findall("object")
    assert len(found) == 1
    corners = (found[0].findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax"))
    return found[0].findtext("name", ""), tuple(int(corner) for corner in corners)


def test_the_voc_reader_takes_the_drawn_folder(planted: Path) -> None:
    for split, count in (("train", SMALL.train), ("val", SMALL.test), ("twins", SMALL.test)):
        manifest = read_voc(planted, split=split)
        assert manifest.classes == CLASSES
        assert [sample.labels for sample in manifest] == [(index % len(CLASSES),) for index in range(count)]
    index, sample = 4, list(read_voc(planted, split="val"))[4]
    box = sample.boxes[0]
    assert (box.x0, box.y0, box.x1, box.y1) == draw_scene(SMALL, "test", index, True).box


def test_the_truth_names_twin_class_cue_and_its_box(planted: Path) -> None:
    truth = read_truth(planted)
    assert list(truth.columns) == ["id", "twin", "class", "cue", "x0", "y0", "x1", "y1"]
    assert list(truth["id"]) == listed(planted, "val")
    assert list(truth["twin"]) == listed(planted, "twins")
    assert list(truth["class"]) == [CLASSES[index % len(CLASSES)] for index in range(SMALL.test)]
    for index, row in truth.iterrows():
        scene = draw_scene(SMALL, "test", int(str(index)), True)
        assert (None if pd.isna(row["cue"]) else row["cue"]) == scene.cue
        box = row[["x0", "y0", "x1", "y1"]]
        assert box.isna().all() if scene.cue_box is None else tuple(box) == scene.cue_box
        assert (row["twin"] == row["id"]) == (scene.cue is None)


def test_drawing_again_gives_the_same_bytes(planted: Path, tmp_path: Path) -> None:
    assert files(draw_planted(tmp_path, SMALL)) == files(planted)
    assert files(draw_planted(tmp_path, SMALL)) == files(planted)


def test_a_larger_benchmark_begins_with_the_smaller_one(planted: Path, tmp_path: Path) -> None:
    larger = files(draw_planted(tmp_path, PlantedSpec(seed=3, train=24, test=18, size=64)))
    for name, data in files(planted).items():
        if name.startswith(("JPEGImages", "SegmentationClass", "Annotations")):
            assert larger[name] == data


def test_every_scene_is_told(tmp_path: Path) -> None:
    told: list[Event] = []
    draw_planted(tmp_path, SMALL, told.append)
    assert told == told_of_all("drawing", SMALL.train + SMALL.test + SMALL.test * len(CUED) // len(CLASSES))


def test_an_interrupted_drawing_leaves_no_truth_and_can_be_drawn_again(planted: Path, tmp_path: Path) -> None:
    told: list[Event] = []

    def interrupt(event: Event) -> None:
        told.append(event)
        if told.count(Advanced()) == 5 and event == Advanced():
            raise KeyboardInterrupt

    draw_planted(tmp_path, SMALL)
    with pytest.raises(KeyboardInterrupt):
        draw_planted(tmp_path, SMALL, interrupt)
    with pytest.raises(ManifestError, match=r"Expected a planted benchmark with its truth at .*truth\.parquet"):
        read_truth(tmp_path)
    assert files(draw_planted(tmp_path, SMALL)) == files(planted)


def test_another_data_set_is_never_drawn_over(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(ManifestError, match="which holds another data set"):
        draw_planted(tmp_path, SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["JPEGImages"]
