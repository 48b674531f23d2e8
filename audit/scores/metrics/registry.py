"""The field's measures of a run by their standard names, gathered in one pass over its shards.

What 256-level counts tell is formed from the scores that the run keeps; outlines and boxes need maps and masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from audit.datasets.manifest import Sample
from audit.datasets.objects import Objects, read_objects
from audit.errors import RunError
from audit.images import View, map_ahead
from audit.images.masks import box_fault, object_mask
from audit.progress import Progress, silent, tracked
from audit.scores.boxes import BoxCounts, Boxes, Lit, tight_box
from audit.scores.metrics.agreement import Agreement
from audit.scores.metrics.from_scores import LABEL, FromScores, scored_labels
from audit.segmentation import LabelImage, LabelSource
from audit.store import Run, Shard

_AHEAD = 16


def measure_run(source: LabelSource, progress: Progress = silent) -> dict[str, Any]:
    """All measures of a source of label images and of the run that it is from, as JSON.

    `segmentation` is of the label images. All others are of the maps of targets with the role `label`. A part of which
    nothing can be said, for there are no masks, no boxes or no scores, has the number of what it is of as 0.

    Raises:
        RunError: no shard is finished.
    """
    run = source.run
    if not source.shards:
        raise RunError(f"{run.path} has no finished shard to measure; finish it with `camaudit run`")
    agreement, boxes, tables = Agreement.none(len(source.classes)), BoxCounts(), FromScores()
    masked = 0
    for shard in tracked(progress, "measuring", source.shards):
        masked += _measure_pixels(source, shard, agreement, boxes)
        if run.has_scores(shard):
            tables.add(*scored_labels(run, shard), len(run.classes))
    return {
        "labels": source.about(),
        "segmentation": {"images": masked, **agreement.result(source.classes)},
        "boxes": boxes.result(),
        **tables.result(),
    }


def _measure_pixels(source: LabelSource, shard: Shard, agreement: Agreement, boxes: BoxCounts) -> int:
    """Take a shard's label images and maps; returns how many images have masks."""
    run = source.run
    lit, masked = _lit_reader(run, shard), 0
    kind, count = run.manifest(0, 0).mask_kind, len(run.classes)

    def read(image: LabelImage) -> tuple[LabelImage, Objects]:
        return image, read_objects(image.sample, kind, image.mask.shape, count)

    for image, objects in map_ahead(read, source.images(shard), _AHEAD):
        boxes.add(lit(image, objects))
        if objects.rests_on == "mask" and objects.mask is not None:
            agreement.add(image.mask, objects.mask)
            masked += 1
    return masked


def _lit_reader(run: Run, shard: Shard) -> Callable[[LabelImage, Objects], list[Lit]]:
    """Gives an image's labelled targets whose objects have boxes."""
    maps = run.maps(shard.start, shard.stop)
    views = {row["sample"]: View(*(row[name] for name in ("x0", "y0", "x1", "y1"))) for row in _rows(run, shard)}
    targets: dict[int, list[dict[str, Any]]] = {}
    for target in run.read("targets", shard, ["sample", "slot", "class_id", "role", "rank", "status"]).to_pylist():
        if target["role"] == LABEL:
            targets.setdefault(target["sample"], []).append(target)

    def lit(image: LabelImage, objects: Objects) -> list[Lit]:
        found = []
        for target in targets.get(image.row, []):
            truth = true_boxes(image.sample, objects, target["class_id"], len(run.classes))
            if len(truth):
                kept = maps[image.row - shard.start, target["slot"]] if target["status"] == "ok" else None
                found.append(Lit.of(kept, views[image.row], image.mask.shape, truth, target["rank"]))
        return found

    return lit


def _rows(run: Run, shard: Shard) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.read("samples", shard, ["sample", "x0", "y0", "x1", "y1"]).to_pylist()
    return [row for row in rows if row["x0"] is not None]


def true_boxes(sample: Sample, objects: Objects, class_id: int, classes: int) -> Boxes:
    """Boxes [m, 4] of a class: the manifest's, else the one around all of the class's pixels in the mask."""
    own = [box for box in sample.boxes if box.class_id == class_id and box_fault(box, classes) is None]
    if own:
        return np.array([(box.x0, box.y0, box.x1, box.y1) for box in own], float)
    return np.zeros((0, 4)) if objects.mask is None else tight_box(object_mask(objects.mask, class_id))
