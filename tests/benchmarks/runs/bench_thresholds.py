"""What 256 thresholds cost beside one: the scoring pass over images of VOC's size, from masks and maps to tables.

One threshold is the pass of one who has chosen the threshold before: comparisons in place of counts by level, written
with as much care. All else (masks, upsampling, energy, pointing, the shift null) is the same code. Beside it the counts
alone, without reading masks and placing heat.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.images import View, write_index_png
from audit.scores import Confusion, Scene, Scores, score
from audit.scores.localization import TOLERANCE_PX, energy_inside, peak_pixel
from audit.scores.scene import pointing_hits
from audit.scores.scorer import score_samples
from tests.benchmarks.timing import Measured, Row, interleave, speed_row, timed

HEIGHT, WIDTH, GRID, CLASSES, TARGETS = 375, 500, 20, 20, 2
IMAGES = 20
THRESHOLD = 0.3
VIEW = View(0.0, 0.0, float(WIDTH), float(HEIGHT))
Drawn = tuple[NDArray[np.float16], NDArray[np.int16], NDArray[np.int64]]


def measure(rounds: int) -> list[Row]:
    """Rows for one threshold and for 256, of the whole pass and of the counts alone."""
    images = [_drawn(np.random.default_rng(seed)) for seed in range(IMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        whole = _whole_pass(images, Path(folder))
        candidates = {
            "whole pass, one": _with_one_threshold(whole),
            "whole pass, 256": timed(whole),
            "counts, one": _with_one_threshold(lambda: _counts(images)),
            "counts, 256": timed(lambda: _counts(images)),
        }
        found = interleave(candidates, IMAGES, rounds)
    return [row for one, every in (found[:2], found[2:]) for row in _rows(one, every)]


def _rows(one: Measured, every: Measured) -> list[Row]:
    return [speed_row(one), speed_row(every) | {"times_as_long": round(1 / every.speed_of(one), 3)}]


def _with_one_threshold(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        with (
            patch("audit.scores.scorer.score", score_at_one),
            patch(f"{__name__}.score", score_at_one),
            patch.object(Scene, "confusion", confusion_at_one),
        ):
            return timed(work)()

    return run


def score_at_one(scene: Scene) -> Scores:
    """`audit.scores.score` with counts at one threshold."""
    valid, objects = scene.valid, scene.objects
    lit = scene.heat >= THRESHOLD
    inside = np.array([np.count_nonzero(on & own) for on, own in zip(lit, objects, strict=True)])
    kept = np.array([np.count_nonzero(on & valid) for on in lit])
    size = np.array([np.count_nonzero(own) for own in objects])
    area = size / max(np.count_nonzero(valid), 1)
    energy = energy_inside(scene.heat, objects, valid)
    points = [peak_pixel(heat) for heat in scene.heat]
    middle = [(scene.mask.shape[0] // 2, scene.mask.shape[1] // 2)] * len(points)
    hits = [pointing_hits(at, objects, valid, near) for at in (points, middle) for near in (0, TOLERANCE_PX)]
    iou = inside / np.maximum(kept + size - inside, 1)
    none = np.zeros((len(points), 256), np.int64)
    lift = np.divide(energy, area, out=np.full(len(area), np.nan), where=area > 0)
    return Scores(area, energy, lift, *hits, iou, np.zeros(len(points), np.int64), none, none)


def confusion_at_one(scene: Scene, _slots: NDArray[np.bool_]) -> Confusion:
    """`Scene.confusion` with one threshold, at level 0: pixels by winning slot, or none, and true class."""
    highest, codes = scene.heat[0], np.zeros(scene.mask.shape, np.int32)
    for place in range(1, len(scene.heat)):
        np.copyto(codes, place, where=scene.heat[place] > highest)
        highest = np.maximum(highest, scene.heat[place])
    codes += 1
    codes *= highest >= THRESHOLD
    codes *= CLASSES + 2
    codes += np.where(scene.valid, scene.mask, np.int16(CLASSES + 1))
    tally = np.bincount(codes.ravel())
    occurring = np.flatnonzero(tally)
    slot, true = np.divmod(occurring, CLASSES + 2)
    counts = true <= CLASSES
    return Confusion(slot[counts], true[counts], 0 * true[counts], tally[occurring[counts]])


def _counts(images: list[Drawn]) -> None:
    for maps, mask, class_ids in images:
        scene = Scene.of(maps, VIEW, mask, class_ids)
        score(scene)
        scene.confusion(np.ones(len(maps), bool))


def _whole_pass(images: list[Drawn], folder: Path) -> Callable[[], object]:
    samples = []
    for place, (_, mask, class_ids) in enumerate(images):
        write_index_png(folder / f"{place}.png", np.where(mask < 0, 255, mask).astype(np.uint8))
        samples.append(Sample(str(place), "", tuple(map(int, class_ids)), str(folder / f"{place}.png")))
    rows = {"sample": list(range(IMAGES)), "height": [HEIGHT] * IMAGES, "width": [WIDTH] * IMAGES}
    rows |= {name: [getattr(VIEW, name)] * IMAGES for name in ("x0", "y0", "x1", "y1")}
    targets: dict[str, list[Any]] = {name: [] for name in ("sample", "slot", "class_id", "status", "role")}
    for place, (_, _, class_ids) in enumerate(images):
        for slot, class_id in enumerate(class_ids):
            for name, value in zip(targets, (place, slot, int(class_id), "ok", "label"), strict=True):
                targets[name].append(value)
    maps = np.stack([image[0] for image in images])
    return lambda: score_samples(samples, maps, rows, targets, "index", CLASSES)


def _drawn(rng: np.random.Generator) -> Drawn:
    """Maps that fall off from two places, and a mask with two objects and their void rims."""
    y, x = (np.arange(GRID) + 0.5)[:, None] / GRID, (np.arange(GRID) + 0.5) / GRID
    places = rng.random((TARGETS, 2))
    maps = np.stack([np.exp(-8 * ((y - down) ** 2 + (x - across) ** 2)) for down, across in places])
    maps /= maps.max(axis=(1, 2), keepdims=True)
    class_ids = rng.choice(CLASSES, TARGETS, replace=False)
    mask = np.zeros((HEIGHT, WIDTH), np.int16)
    for class_id, (down, across) in zip(class_ids, places, strict=True):
        top, left = int(down * HEIGHT * 0.6), int(across * WIDTH * 0.6)
        mask[top : top + 140, left : left + 190] = -1
        mask[top + 4 : top + 136, left + 4 : left + 186] = class_id + 1
    return maps.astype(np.float16), mask, class_ids
