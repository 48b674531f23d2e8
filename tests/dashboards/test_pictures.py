"""What there is to see of a target, against pixels and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pages import page, said
from PIL import Image
from rewritten import map_files_of, put_manifest
from small_run import HEIGHT, OBJECT, WIDTH, make_run

from audit.datasets.manifest import Box, Manifest
from audit.drawing.targets import CHANGED, read_picture, thumbnail_webp
from audit.scores import iou_curve
from audit.store import Run, layout
from dashboards.tables import RunTables


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def fresh_path(tmp_path: Path) -> Path:
    """A run of a test's own, to be damaged."""
    return make_run(tmp_path)


@pytest.mark.parametrize("number", [0, 3])
def test_the_iou_of_the_counts_is_that_of_the_pixels_shown(run_path: Path, number: int) -> None:
    run = Run.open(run_path)
    tables = RunTables(run)
    (target,) = tables.targets_of(number)
    seen = read_picture(run, tables.sample(number) or {}, 0, target["class_id"])
    curve = iou_curve(np.array(target["inside"]), np.array(target["outside"]))
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[OBJECT] = True
    assert (seen.target == truth).all()
    for level in (0, 1, 14, 100, 255):
        mask = seen.mask_at(level / 256)
        assert mask is not None
        assert curve[level] == pytest.approx((mask & truth).sum() / (mask | truth).sum())


def test_where_there_are_boxes_alone_they_are_the_object(fresh_path: Path) -> None:
    listed = Manifest.open(fresh_path / layout.MANIFEST)
    boxes = (Box(0, 8, 4, 30, 20), Box(1, 0, 0, 64, 3))
    boxed = [replace(sample, mask=None, boxes=boxes) for sample in listed]
    run = put_manifest(Run.open(fresh_path), Manifest.from_samples(boxed, listed.classes, listed.root))
    seen = read_picture(run, RunTables(run).sample(0) or {}, 0, 0)
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[4:20, 8:30] = True
    assert seen.notices == []
    assert seen.image is not None
    assert (seen.target == truth).all()
    assert (seen.with_contour(seen.image) != seen.with_contour(seen.image, wanted=False)).any()


def test_a_changed_image_is_shown_without_its_map(fresh_path: Path) -> None:
    run = Run.open(fresh_path)
    sample = RunTables(run).sample(0) or {}
    Image.new("RGB", (30, 20), "red").save(fresh_path.parent / "images" / "0.png")
    seen = read_picture(run, sample, 0, 0)
    assert seen.notices == [CHANGED]
    assert seen.image is not None
    assert seen.image.shape == (20, 30, 3)
    assert seen.overlay(0.5) is None
    assert seen.mask_at(0.5) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("0.png", None, "No such file"),
        ("0.mask.png", None, "No such file"),
        ("0.mask.png", b"<html>", "looks like HTML"),
    ],
)
def test_a_lost_or_damaged_file_is_a_notice(fresh_path: Path, name: str, content: bytes | None, message: str) -> None:
    file = fresh_path.parent / "images" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    run = Run.open(fresh_path)
    sample = RunTables(run).sample(0) or {}
    data, notices = thumbnail_webp(run, sample, 0, 0)
    assert data.startswith(b"RIFF")
    assert len(notices) == 1
    assert message in notices[0]
    app = page("review", fresh_path, at="0:0")
    assert not app.exception
    assert message in said(app)


def test_damaged_maps_leave_the_image_and_a_notice(fresh_path: Path) -> None:
    run = Run.open(fresh_path)
    sample = RunTables(run).sample(0) or {}
    (stored,) = map_files_of(run, 0)
    stored.write_bytes(b"\0" * stored.stat().st_size)
    seen = read_picture(run, sample, 0, 0)
    assert seen.image is not None
    assert seen.heat is None
    assert "Damaged maps" in seen.notices[0]
