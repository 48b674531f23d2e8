"""Pseudo-masks as PASCAL VOC palette PNGs: one file a sample, index 0 background, i + 1 class i."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import RunError
from audit.export.place import sign
from audit.images import View, write_index_png
from audit.progress import Progress, silent, tracked
from audit.segmentation import pseudo_mask
from audit.store import Run, Shard
from audit.store.files import file_stem

_MOST_CLASSES = 254


def export_voc_png(
    run: Run, out: Path, threshold: float, roles: Iterable[str] = ("label",), progress: Progress = silent
) -> int:
    """Write `out`/ID.png for every processed sample and return how many; a file of any other sample is deleted.

    Targets with one of `roles` take part; where a map has no evidence there is none, and the file is all background.
    `camaudit-export.json` says which run they are of, and whether they are all there.

    Raises:
        RunError: more classes than a palette image can index.
    """
    if len(run.classes) > _MOST_CLASSES:
        raise RunError(
            f"VOC masks hold {_MOST_CLASSES} classes at most, the run has {len(run.classes)}; export Parquet"
        )
    chosen = frozenset(roles)
    sign(run, out, finished=False)
    shards = tracked(progress, "exporting", run.done())
    count = sum(_export_shard(run, shard, out, threshold, chosen) for shard in shards)
    sign(run, out, finished=True)
    return count


def _export_shard(run: Run, shard: Shard, out: Path, threshold: float, roles: frozenset[str]) -> int:
    samples = run.read("samples", shard).to_pylist()
    maps = run.maps(shard.start, shard.stop)
    wanted: dict[int, list[dict[str, Any]]] = {}
    for target in run.read("targets", shard).to_pylist():
        if target["role"] in roles and target["status"] == "ok":
            wanted.setdefault(target["sample"], []).append(target)
    processed = [sample for sample in samples if sample["status"] == "processed"]
    for sample in processed:
        index = _index(sample, wanted.get(sample["sample"], []), maps[sample["sample"] - shard.start], threshold)
        write_index_png(_file(out, sample), index)
    for sample in samples:
        if sample["status"] != "processed":  # of an earlier export, perhaps of another run
            _file(out, sample).unlink(missing_ok=True)
    return len(processed)


def _file(out: Path, sample: dict[str, Any]) -> Path:
    return out / f"{file_stem(sample['id'])}.png"


def _index(
    sample: dict[str, Any], targets: list[dict[str, Any]], maps: NDArray[np.floating], threshold: float
) -> NDArray[np.uint8]:
    slots = [target["slot"] for target in targets]
    class_ids = np.array([target["class_id"] for target in targets])
    view = View(sample["x0"], sample["y0"], sample["x1"], sample["y1"])
    return pseudo_mask(maps[slots], class_ids, view, (sample["height"], sample["width"]), threshold).astype(np.uint8)
