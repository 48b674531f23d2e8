"""The verbs that index: what they say of the files, and when they write nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from faults.collection import camaudit
from PIL import Image

from audit.datasets import Manifest
from audit.images.masks import write_index_png


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """60 images in two folders, and their binary masks beside them."""
    for row in range(60):
        path = Path(("cat", "dog")[row % 2]) / f"{row}.png"
        for folder in ("photos", "masks"):
            (tmp_path / folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4)).save(tmp_path / "photos" / path)
        write_index_png(tmp_path / "masks" / path, np.eye(4, 6, dtype=np.uint8))
    return tmp_path


def table(folder: Path, root: str, mask: str = "") -> Path:
    path = folder / "photos.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "mask"])
        rows.writerows([f"{root}cat/{row}.png", "cat", mask and f"{mask}/cat/{row}.png"] for row in range(0, 60, 2))
    return path


def test_an_index_says_how_many_images_and_masks_open(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photos / "m.parquet"
    asked = ["index", "folder", str(photos / "photos"), "--masks", str(photos / "masks"), "-o", str(out)]
    assert camaudit(asked, monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "images: 51 of 51 open\nmasks: 51 of 51 open\n" in shown
    assert "60 samples" in shown
    assert len(Manifest.open(out)) == 60


def test_some_that_do_not_open_are_told_and_the_manifest_is_written(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "photos/cat/0.png").write_bytes(b"")
    out = photos / "m.parquet"
    assert camaudit(["index", "folder", str(photos / "photos"), "-o", str(out)], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "images: 50 of 51 open; the first that does not: " in shown
    assert "cat/0.png is empty (0 bytes)" in shown
    assert "masks" not in shown
    assert out.exists()


def test_a_wrong_root_writes_nothing_unless_unchecked(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photos / "m.parquet"
    asked = ["index", "table", str(table(photos, "")), "--root", str(photos / "elsewhere"), "-o", str(out)]
    assert camaudit(asked, monkeypatch) == 1
    shown = capsys.readouterr()
    assert "images: 0 of 30 open; the first that does not: No such file: " in shown.out
    assert shown.err.splitlines()[-1].startswith("camaudit: Expected images that open, found none, so nothing was wr")
    assert not out.exists()
    assert camaudit([*asked, "--no-check"], monkeypatch) == 0
    assert " open" not in capsys.readouterr().out
    assert len(Manifest.open(out)) == 30


def test_images_of_no_bytes_write_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (photos / "photos").rglob("*.png"):
        path.write_bytes(b"")
    assert camaudit(["index", "folder", str(photos / "photos"), "-o", str(photos / "m.parquet")], monkeypatch) == 1
    assert "images: 0 of 51 open" in capsys.readouterr().out


def test_an_empty_folder_of_masks_writes_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "none").mkdir()
    out = photos / "m.parquet"
    asked = ["index", "folder", str(photos / "photos"), "--masks", str(photos / "none"), "-o", str(out)]
    assert camaudit(asked, monkeypatch) == 1
    shown = capsys.readouterr()
    assert "masks: 0 of 60 samples have one" in shown.out
    assert "Expected masks that open, found none, so nothing was written" in shown.err
    assert not out.exists()


def test_a_split_of_voc_without_its_masks_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "VOC2012"
    for folder in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("a\nb\n")
    for name in "ab":
        Image.new("RGB", (8, 6)).save(root / "JPEGImages" / f"{name}.jpg")
    out = tmp_path / "voc.parquet"
    assert camaudit(["index", "voc", str(root), "--split", "val", "-o", str(out)], monkeypatch) == 1
    shown = capsys.readouterr()
    assert "masks: 0 of 2 samples have one" in shown.out
    assert "Expected masks that open, found none" in shown.err
    assert not out.exists()


def test_masks_of_which_none_fits_write_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (photos / "masks").rglob("*.png"):
        Image.new("P", (9, 9)).save(path)
    out = photos / "m.parquet"
    listed = str(table(photos, "photos/", "masks"))
    assert camaudit(["index", "table", listed, "--mask-kind", "binary", "-o", str(out)], monkeypatch) == 1
    shown = capsys.readouterr()
    assert "masks: 0 of 30 open; the first that does not: Expected a mask of 4 x 6" in shown.out
    assert not out.exists()


def test_a_root_that_is_never_read_is_refused(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["index", "table", str(table(photos, "")), "--root", f"local://{photos}", "-o", str(photos / "m.parquet")]
    assert camaudit([*asked, "--no-check"], monkeypatch) == 1
    assert "Expected as root a path, or one URL of file, http" in capsys.readouterr().err
