"""A look at a manifest's files before a run: which open, which do not, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.datasets import Manifest, Sample, Tally, try_opening
from audit.errors import TransientError
from audit.images import read_bytes
from audit.images.masks import write_index_png
from audit.progress import Advanced, Event

CLASSES = ("cat", "dog")


def drawn(folder: Path, count: int, masked: int | None = None) -> list[Sample]:
    """Samples of 4 x 6 pixels, the last `masked` of them with a mask; all unless told."""
    samples = []
    for row in range(count):
        Image.new("RGB", (6, 4), (row % 256, 0, 0)).save(folder / f"{row}.png")
        samples.append(Sample(f"{row}", f"{row}.png", (0,)))
    for row in range(count - (count if masked is None else masked), count):
        write_index_png(folder / f"{row}-mask.png", np.eye(4, 6, dtype=np.uint8))
        samples[row] = replace(samples[row], mask=f"{row}-mask.png")
    return samples


def listed(folder: Path, samples: list[Sample], kind: str = "index") -> Manifest:
    return Manifest.from_samples(samples, CLASSES, folder, kind)


def test_all_of_few_and_51_of_many_are_tried(tmp_path: Path) -> None:
    samples = drawn(tmp_path, 60)
    few, many = (try_opening(listed(tmp_path, samples[:count])) for count in (7, 60))
    assert few.images == few.masks == Tally(listed=7, tried=7, opened=7)
    assert many.images == many.masks == Tally(listed=60, tried=51, opened=51)


def test_the_first_is_among_them_and_the_same_rows_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = listed(tmp_path, drawn(tmp_path, 70, masked=0))
    read: list[str] = []

    def watched(path: str) -> bytes:
        read.append(Path(path).name)
        return read_bytes(path)

    monkeypatch.setattr("audit.datasets.opening.read_bytes", watched)
    told: list[Event] = []
    try_opening(manifest, progress=told.append)
    first = sorted(read)
    assert "0.png" in first
    assert len(set(first)) == told.count(Advanced()) == 51
    read.clear()
    try_opening(manifest)
    assert sorted(read) == first


def test_masks_of_few_samples_are_tried_wherever_they_are(tmp_path: Path) -> None:
    manifest = listed(tmp_path, drawn(tmp_path, 90, masked=3))
    opening = try_opening(manifest)
    assert opening.masks == Tally(listed=3, tried=3, opened=3)
    assert opening.images.tried == 51


def test_what_does_not_open_has_the_reason_of_the_first(tmp_path: Path) -> None:
    samples = drawn(tmp_path, 6)
    (tmp_path / "1.png").write_bytes(b"<html>")
    (tmp_path / "4.png").unlink()
    Image.new("P", (3, 3)).save(tmp_path / "2-mask.png")
    samples[5] = replace(samples[5], mask=None, regions='[{"class_id":9}]')
    opening = try_opening(listed(tmp_path, samples))
    assert (opening.images.tried, opening.images.opened) == (6, 4)
    assert "1.png looks like HTML" in str(opening.images.reason)
    assert (opening.masks.listed, opening.masks.tried, opening.masks.opened) == (6, 4, 2)
    assert "the size of the upright image" in str(opening.masks.reason)


def test_what_cannot_be_read_now_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(path: str) -> bytes:
        raise TransientError("Cannot read it, tried 3 times")

    samples = drawn(tmp_path, 2)
    monkeypatch.setattr("audit.datasets.opening.read_bytes", away)
    assert try_opening(listed(tmp_path, samples)).images == Tally(2, 2, 0, "Cannot read it, tried 3 times")


def test_without_masks_none_is_tried(tmp_path: Path) -> None:
    assert try_opening(listed(tmp_path, drawn(tmp_path, 3, masked=0))).masks == Tally(0, 0, 0)
