"""Which objects are a sample's, and that everybody who asks gets the same pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rewritten import put_manifest
from small_run import CLASSES, make_run

from audit.datasets import Box, Manifest, Sample
from audit.datasets.cues import Cue, paint_cue
from audit.datasets.objects import Objects, has_objects, read_objects
from audit.drawing.targets import read_picture
from audit.errors import ManifestError, TransientError
from audit.images.masks import draw_boxes, write_index_png
from audit.scores.scorer import score_samples
from audit.store import Run
from pipelines.planted import plant
from pipelines.planted.plant import Planting

SIZE = (48, 64)
BOX = Box(0, 4.6, 4.6, 14.4, 14.4)
"""81 pixels when its corners are rounded, 121 were they moved outwards."""
PIXELS = np.s_[5:14, 5:14]


def boxed() -> NDArray[np.bool_]:
    pixels = np.zeros(SIZE, bool)
    pixels[PIXELS] = True
    return pixels


def test_a_box_has_the_same_pixels_in_scoring_pictures_and_planting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(make_run(tmp_path))
    listed = [replace(sample, mask=None, boxes=(BOX,), labels=(0,)) for sample in run.manifest()]
    manifest = Manifest.from_samples(listed, CLASSES)
    run = put_manifest(run, manifest)
    samples, targets = (run.read(name, run.shards[0]).to_pydict() for name in ("samples", "targets"))

    scores = score_samples(listed[:2], run.maps(0, 2), samples, targets, "index", len(CLASSES))[0]["scores"]
    assert scores["inside"][0].sum() == boxed().sum() == 81

    row = {name: values[0] for name, values in samples.items()}
    np.testing.assert_array_equal(read_picture(run, row, 0, 0).target, boxed())

    kept: list[NDArray[np.bool_]] = []

    def watched(cue: Cue, image: NDArray[np.uint8], objects: NDArray[np.bool_], rng: np.random.Generator) -> Any:
        kept.append(objects)
        return paint_cue(cue, image, objects, rng)

    monkeypatch.setattr(plant, "paint_cue", watched)
    plant.plant(manifest, Planting(CLASSES[0], Cue("tint"), 1.0), tmp_path / "out")
    np.testing.assert_array_equal(kept[0], boxed())


@pytest.mark.parametrize(
    ("sample", "known"),
    [
        (Sample("a", "a.png"), False),
        (Sample("a", "a.png", mask="gone.png"), True),
        (Sample("a", "a.png", regions="[]"), True),
        (Sample("a", "a.png", boxes=(BOX,)), True),
    ],
)
def test_objects_come_from_masks_regions_or_boxes(sample: Sample, known: bool) -> None:
    assert has_objects(sample) == known


NOWHERE = float("nan")


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (Box(0, NOWHERE, 0, 5, 5), "corners that are numbers of pixels, got (nan, 0, 5, 5)"),
        (Box(0, 0, 0, float("inf"), 5), "corners that are numbers of pixels"),
        (Box(0, 0, 0, 10**400, 5), "corners that are numbers of pixels"),
        (Box(0, 9, 0, 5, 5), "corners x0, y0 up to x1, y1, got (9, 0, 5, 5)"),
        (Box(2, 0, 0, 5, 5), "a class below 2, got 2"),
        (Box(-1, 0, 0, 5, 5), "a class below 2, got -1"),
        (Box(40000, 0, 0, 5, 5), "a class below 2, got 40000"),
        (Box(None, 0, 0, 5, None), "a class below 2, got None"),  # type: ignore[arg-type]
    ],
)
def test_a_box_that_cannot_be_drawn_is_a_reason_that_names_the_sample(box: Box, words: str) -> None:
    objects = read_objects(Sample("a", "a.png", boxes=(BOX, box)), "index", SIZE, 2)
    assert (objects.mask, objects.rests_on, objects.transient) == (None, None, False)
    assert f"Boxes of sample 'a': Expected box 1 to have {words}" in str(objects.reason)


@pytest.mark.parametrize("corner", [NOWHERE, float("inf"), 10**400, None, "two"])
def test_a_manifest_keeps_a_box_that_cannot_be_drawn_for_its_sample_to_tell(corner: Any) -> None:
    manifest = Manifest.from_samples([Sample("a", "a.png", boxes=(BOX, Box(0, 0, 0, corner, 5)))], CLASSES)
    objects = read_objects(next(iter(manifest)), "index", SIZE, len(CLASSES))
    assert "Expected box 1 to have corners that are numbers of pixels" in str(objects.reason)


@pytest.mark.parametrize("class_id", [len(CLASSES), -1, 40000, None])
def test_a_manifest_refuses_a_box_of_no_class_by_its_sample(class_id: Any) -> None:
    with pytest.raises(ManifestError, match=f"labels of 'a' below {len(CLASSES)}, got {class_id}"):
        Manifest.from_samples([Sample("a", "a.png", boxes=(Box(class_id, 0, 0, 5, 5),))], CLASSES)


ANY = st.integers() | st.floats() | st.integers(-9, 80) | st.floats(-9, 80) | st.none()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.builds(Box, ANY, ANY, ANY, ANY, ANY), max_size=3))
def test_whatever_boxes_hold_they_are_objects_or_a_reason(boxes: list[Box]) -> None:
    objects = read_objects(Sample("a", "a.png", boxes=tuple(boxes)), "index", SIZE, 2)
    assert (objects.mask is None) == (objects.reason is not None or not boxes)
    if objects.mask is not None:
        assert set(np.unique(objects.mask)) <= {0, 1, 2}


def test_a_box_without_an_extent_is_no_fault() -> None:
    assert not read_objects(Sample("a", "a.png", boxes=(Box(0, 4, 4, 4, 9),)), "index", SIZE, 2).mask.any()


def test_without_any_nothing_is_known() -> None:
    assert read_objects(Sample("a", "a.png"), "index", SIZE, 2) == Objects()


def test_boxes_count_only_where_there_is_no_mask(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[:10] = 2
    write_index_png(tmp_path / "mask.png", mask)
    both = Sample("a", "a.png", mask=str(tmp_path / "mask.png"), boxes=(BOX,))
    masked = read_objects(both, "index", SIZE, 2)
    np.testing.assert_array_equal(masked.mask, mask)
    assert (masked.rests_on, masked.reason, masked.transient) == ("mask", None, False)
    alone = read_objects(replace(both, mask=None), "index", SIZE, 2)
    np.testing.assert_array_equal(alone.mask, draw_boxes((BOX,), SIZE, 2))
    assert alone.rests_on == "boxes"


def test_a_mask_that_cannot_be_used_says_why_and_whether_it_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("P", (7, 5)).save(tmp_path / "mask.png")
    sample = Sample("a", "a.png", mask=str(tmp_path / "mask.png"), boxes=(BOX,))
    damaged = read_objects(sample, "index", SIZE, 2)
    assert "the size of the upright image" in str(damaged.reason)
    assert (damaged.mask, damaged.rests_on, damaged.transient) == (None, None, False)

    def away(path: str) -> bytes:
        raise TransientError(f"Cannot read {path}")

    monkeypatch.setattr("audit.images.masks.read_bytes", away)
    assert read_objects(sample, "index", SIZE, 2).transient
