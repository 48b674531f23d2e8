"""Whether names or looks give away that images are not independent; ordinary numbering does not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from audit.findings.dependence import alike_in_sequence, numbered_runs

CLASSES = 20


def of(ids: list[str], labels: list[list[int]] | None = None) -> tuple[str, int]:
    labels = [[row % CLASSES] for row in range(len(ids))] if labels is None else labels
    return numbered_runs(pa.chunked_array([ids]), pa.chunked_array([labels], pa.list_(pa.int32())))


def chosen(count: int, below: int, seed: int = 0) -> list[int]:
    return np.sort(np.random.default_rng(seed).choice(below, count, replace=False)).tolist()


RUNS = {
    "frames of videos": [f"vid{video:02d}_{frame:04d}" for video in range(60) for frame in range(1, 11)],
    "every fifth frame": [f"videos/{video}/f{frame:05d}" for video in range(60) for frame in range(0, 60, 5)],
    "slices of patients": [f"p{patient:03d}/slice_{part}.png" for patient in range(50) for part in range(4)],
    "bursts beside single images": [
        *(f"IMG_{shot}_BURST{frame}" for shot in range(50) for frame in range(5)),
        *(f"DSC{row:05d}" for row in range(400)),
    ],
}
ORDINARY = {
    "a year and a number, a choice of them": [
        f"{year}_{n:06d}" for year in range(2007, 2013) for n in chosen(46, 9000)
    ],
    "a number": [f"{row:06d}" for row in range(1000)],
    "a number in a year": [f"COCO_val2014_{n:012d}" for n in chosen(500, 580_000)],
    "a number of a choice": [f"{n:012d}.jpg" for n in chosen(500, 580_000)],
    "letters and digits": [f"{n:016x}" for n in np.random.default_rng(0).integers(0, 2**60, 3000).tolist()],
    "no number": [chr(97 + a) + chr(97 + b) for a in range(20) for b in range(20)],
    "three cameras": [f"cam{camera}_{row:04d}" for camera in range(3) for row in range(100)],
    "long videos": [f"cam{camera}_{row:04d}" for camera in range(60) for row in range(300)],
}


@pytest.mark.parametrize("kind", RUNS)
def test_runs_of_ids_are_seen(kind: str) -> None:
    first, number = of(RUNS[kind])
    assert number == sum("DSC" not in name for name in RUNS[kind])
    assert first == ", ".join(sorted(name for name in RUNS[kind] if "DSC" not in name)[:2])


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_numbers_are_no_runs(kind: str) -> None:
    assert of(ORDINARY[kind]) == ("", 0)


def test_names_that_tell_the_class_are_no_runs() -> None:
    ids = [f"n{1440764 + 37 * label:08d}_{n}" for label in range(CLASSES) for n in chosen(40, 30_000, label)]
    numbered = [f"{part}/cat{label}/{row:03d}" for label in range(CLASSES) for part in ("a", "b") for row in range(20)]
    labels = [[label] for label in range(CLASSES) for _ in range(40)]
    assert of(ids, labels) == of(numbered, labels) == ("", 0)


def test_without_labels_names_alone_are_looked_at() -> None:
    ids = RUNS["frames of videos"]
    assert of(ids, [[] for _ in ids])[1] == len(ids)


def test_looks_that_drift_are_seen_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    apart = rng.integers(-(2**63), 2**63, 400)
    frames = np.repeat(apart[:80], 5)
    for _ in range(10):
        frames = frames ^ (1 << rng.integers(0, 63, 400))
    assert alike_in_sequence(frames) > 0.5
    assert alike_in_sequence(apart) == 0
    assert alike_in_sequence(np.repeat(apart[:80], 5)) == 0
    plain = np.zeros(400, np.int64)
    for _ in range(4):
        plain = plain ^ (1 << rng.integers(0, 63, 400))
    assert alike_in_sequence(plain) == 0
    assert alike_in_sequence(apart[:0]) == alike_in_sequence(apart[:1]) == 0
