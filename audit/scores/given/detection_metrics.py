"""How good a detector is over a collection: average precision as COCO measures it, and what is wrong by kind.

Average precision is that of pycocotools: the mean over IoU thresholds 0.5 to 0.95 and over classes with objects of the
precision at 101 recalls (Lin et al., ECCV 2014). No object is a crowd, and none is difficult.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.datasets.objects import read_objects
from audit.errors import RunError
from audit.images import map_ahead
from audit.progress import Progress, silent, tracked
from audit.scores.boxes import Boxes
from audit.scores.given.detected import CORNERS
from audit.scores.given.errors import ERRORS, MISSED, Truths, true_objects
from audit.store import Run, Shard

KINDS = (*ERRORS, MISSED)
_AHEAD = 16
_COLUMNS = ("sample", "class_id", "score", *CORNERS, "error")


def measure_detections(run: Run, progress: Progress = silent) -> dict[str, Any]:
    """Average precision and errors of a detector's run, as JSON; of images whose objects are known.

    Raises:
        RunError: no shard is finished.
    """
    if not run.done():
        raise RunError(f"{run.path} has no finished shard to measure; finish it with `camaudit run`")
    truths: list[tuple[int, Truths]] = []
    found: list[dict[str, Any]] = []
    for shard in tracked(progress, "measuring", run.done()):
        known = list(_truths(run, shard))
        rows = {row for row, _ in known}
        truths += known
        table = run.read("detections", shard, _COLUMNS).to_pylist()
        found += [row for row in table if row["score"] is not None and row["sample"] in rows]
    record: dict[str, Any] = {"images": len(truths), "objects": sum(len(of.class_ids) for _, of in truths)}
    return record | {"errors": count_errors(run)} | average_precision(truths, found, run.classes)


def count_errors(run: Run) -> dict[str, dict[str, int]]:
    """Boxes by what is wrong with them, and objects that were missed: of each class that has any, by kind."""
    counts: dict[int, Counter[str]] = {}
    for shard in run.done():
        if run.part("detections", shard) is not None:
            table = run.read("detections", shard, ["class_id", "error"])
            for class_id, error in zip(table["class_id"].to_pylist(), table["error"].to_pylist(), strict=True):
                if error is not None:
                    counts.setdefault(class_id, Counter())[error] += 1
    return {run.classes[class_id]: {kind: counts[class_id][kind] for kind in KINDS} for class_id in sorted(counts)}


def average_precision(
    truths: Sequence[tuple[int, Truths]], found: Iterable[dict[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """`ap`, `ap50` and `ap75` over classes, and `classes`: the first two of each that has objects; None without any.

    Args:
        truths: sample and its objects.
        found: boxes with `sample`, `class_id`, `score` and corners, of those samples.
    """
    if not any(len(of.class_ids) for _, of in truths):
        return {"ap": None, "ap50": None, "ap75": None, "classes": []}
    precision = _evaluated(truths, list(found), len(classes))
    present = [class_id for class_id in range(len(classes)) if (precision[:, :, class_id] > -1).any()]
    rows = [{"class": classes[i], "ap": _mean(precision[:, :, i]), "ap50": _mean(precision[:1, :, i])} for i in present]
    at = {"ap": precision, "ap50": precision[:1], "ap75": precision[5:6]}
    return {name: _mean(part) for name, part in at.items()} | {"classes": rows}


def _evaluated(
    truths: Sequence[tuple[int, Truths]], found: Sequence[dict[str, Any]], classes: int
) -> NDArray[np.float64]:
    """Precision [10 IoU thresholds, 101 recalls, C] by pycocotools; -1 of classes without objects."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, guess = COCO(), COCO()
    common = {
        "images": [{"id": row} for row, _ in truths],
        "categories": [{"id": class_id} for class_id in range(classes)],
    }
    objects = [
        _annotation(row, class_id, box)
        for row, of in truths
        for class_id, box in zip(of.class_ids.tolist(), of.boxes, strict=True)
    ]
    boxes = [_annotation(row["sample"], row["class_id"], np.array([row[name] for name in CORNERS])) for row in found]
    truth.dataset = common | {"annotations": _numbered(objects)}
    scored = [box | {"score": row["score"]} for box, row in zip(boxes, found, strict=True)]
    guess.dataset = common | {"annotations": _numbered(scored)}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        guess.createIndex()
        asked = COCOeval(truth, guess, "bbox")
        asked.evaluate()
        asked.accumulate()
    return np.asarray(asked.eval["precision"][:, :, :, 0, -1], np.float64)


def _annotation(row: int, class_id: int, box: Boxes) -> dict[str, Any]:
    x0, y0, x1, y1 = map(float, box)
    size = [x1 - x0, y1 - y0]
    return {
        "image_id": row,
        "category_id": class_id,
        "bbox": [x0, y0, *size],
        "area": size[0] * size[1],
        "iscrowd": 0,
    }


def _numbered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"id": place} for place, row in enumerate(rows, 1)]  # pycocotools takes 0 for no match


def _mean(precision: NDArray[np.float64]) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else None


def _truths(run: Run, shard: Shard) -> Iterable[tuple[int, Truths]]:
    """The processed samples of a shard whose objects are known, and these."""
    manifest, classes = run.manifest(shard.start, shard.stop), len(run.classes)
    samples = run.read("samples", shard, ["sample", "status", "height", "width"]).to_pylist()
    pairs = zip(samples, manifest, strict=True)

    def read(pair: tuple[dict[str, Any], Sample]) -> tuple[int, Truths | None]:
        row, sample = pair
        objects = read_objects(sample, manifest.mask_kind, (row["height"], row["width"]), classes)
        return row["sample"], true_objects(sample, objects, classes)

    processed = (pair for pair in pairs if pair[0]["status"] == "processed")
    for row, of in map_ahead(read, processed, _AHEAD):
        if of is not None:
            yield row, of
