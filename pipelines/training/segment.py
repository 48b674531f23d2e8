"""Ask a segmentation network for masks of a whole manifest: index PNGs that can be labels again, and their score."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.datasets import Manifest, Sample
from audit.errors import ImageError, ManifestError, MaskError, RunError
from audit.images import decode_image, map_ahead, read_bytes, read_mask, write_index_png
from audit.images.masks import VOID_INDEX
from audit.models.classifier import weights_fingerprint
from audit.models.segmenters import Segmenter
from audit.progress import Advanced, Progress, silent, stretch
from audit.scores import MaskConfusion
from audit.store.storage.files import file_stem, read_json, write_atomically, write_json
from pipelines.training.labels import RECORD, check_classes

CONFIDENCE = "confidence.csv"
"""Table in a folder of masks: `id` and `confidence`, as `camaudit distill --confidence` takes it."""
_LEDGER = "masks.jsonl"
_AHEAD = 16


@dataclass(frozen=True)
class _Read:
    """A sample's image [H, W, 3] and its true mask [H, W], None where it has none; or why the image cannot be read."""

    sample: Sample
    image: NDArray[np.uint8] | str
    truth: NDArray[np.int16] | None = None


def segment_manifest(
    manifest: Manifest,
    segmenter: Segmenter,
    out: Path,
    unsure: float = 0.0,
    progress: Progress = silent,
    labelled: bool = False,
) -> dict[str, Any]:
    """Write `out`/ID.png for every readable sample, 255 where the network is unsure; returns counts and the score.

    The masks are scored before anything is made 255. A line in `masks.jsonl`, written after the mask, says what is
    done: called again after it was killed, it goes on. `confidence.csv` and `camaudit-export.json` are written last.

    Args:
        unsure: pixels whose class has a lower probability become 255.
        labelled: whether an image shows no class but its labels; one without labels may show any.

    Raises:
        ManifestError: the network knows other classes.
        RunError: `out` holds something else.
    """
    check_classes(segmenter.classes, manifest, "of the network")
    record = {
        "model": weights_fingerprint(segmenter.module),
        "manifest": manifest.fingerprint,
        "classes": list(manifest.classes),
        "unsure": unsure,
        "labelled": labelled,
    }
    _begin(out, record)
    rows = _ledger(out)
    done = {row["id"] for row in rows}
    left = (sample for sample in manifest if sample.id not in done)
    with (out / _LEDGER).open("a") as ledger, stretch(progress, "segmenting", len(manifest), len(done)):
        for read in map_ahead(lambda sample: _read(sample, manifest), left, _AHEAD):
            rows.append(_segment(read, segmenter, out, unsure, labelled))
            ledger.write(json.dumps(rows[-1]) + "\n")
            ledger.flush()
            progress(Advanced(failed=int("failed" in rows[-1])))
    summary = _summary(rows, manifest)
    _finish(out, record, rows, summary)
    return summary


def _begin(out: Path, record: dict[str, Any]) -> None:
    """Make the folder, or see that it is one to go on with."""
    if (out / RECORD).exists():
        there = read_json(out / RECORD, "choose another --out")
        if any(there.get(name) != value for name, value in record.items()):
            raise RunError(f"Expected --out to be new or of the same network and manifest, got {out}; choose another")
        return
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise RunError(f"Expected --out to be new, got {out}, which holds other files; choose another")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECORD, record | {"finished": False})


def _ledger(out: Path) -> list[dict[str, Any]]:
    """What is done already; a last line that was cut short is taken off."""
    path = out / _LEDGER
    if not path.exists():
        return []
    whole = path.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def _read(sample: Sample, manifest: Manifest) -> _Read:
    try:
        image = decode_image(read_bytes(sample.image), sample.image)
    except ImageError as error:
        return _Read(sample, str(error))
    if sample.mask is None and sample.regions is None:
        return _Read(sample, image)
    try:
        return _Read(sample, image, read_mask(sample, manifest.mask_kind, image.shape[:2], len(manifest.classes)))
    except MaskError:
        return _Read(sample, image)


def _segment(read: _Read, segmenter: Segmenter, out: Path, unsure: float, labelled: bool) -> dict[str, Any]:
    """Write one mask; what the ledger says of it."""
    if isinstance(read.image, str):
        return {"id": read.sample.id, "failed": read.image}
    index, sure = segmenter.mask(read.image, (read.sample.labels or None) if labelled else None)
    row: dict[str, Any] = {"id": read.sample.id, "confidence": _confidence(index, sure)}
    if read.truth is not None:
        confusion = MaskConfusion(len(segmenter.classes))
        confusion.add(index, read.truth)
        row["pixels"] = confusion.cells()
    index[sure < unsure] = VOID_INDEX
    write_atomically(out / f"{file_stem(read.sample.id)}.png", lambda path: write_index_png(path, index), durable=False)
    return row


def _confidence(index: NDArray[np.uint8], sure: NDArray[np.float32]) -> float:
    """Mean probability of the objects' pixels; of all pixels where there is no object."""
    objects = index > 0
    return round(float(sure[objects].mean() if objects.any() else sure.mean()), 6)


def _summary(rows: list[dict[str, Any]], manifest: Manifest) -> dict[str, Any]:
    confusion = MaskConfusion(len(manifest.classes))
    for row in rows:
        confusion.merge(row.get("pixels", ()))
    scored = sum("pixels" in row for row in rows)
    failures = [row for row in rows if "failed" in row]
    names = ("background", *manifest.classes)
    ious = {name: _rounded(iou) for name, iou in zip(names, confusion.ious(), strict=True)}
    return {
        "masks": len(rows) - len(failures),
        "failed": len(failures),
        "scored": scored,
        "mean_iou": _rounded(confusion.mean_iou()),
        "iou": ious if scored else {},
        "failures": failures[:20],
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _finish(out: Path, record: dict[str, Any], rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    if not summary["masks"]:
        raise ManifestError(f"Expected readable images, found none; the first: {rows[0]['failed']}")
    table = pd.DataFrame([row for row in rows if "confidence" in row])[["id", "confidence"]]
    write_atomically(out / CONFIDENCE, lambda path: table.to_csv(path, index=False))
    write_json(out / RECORD, record | {"finished": True, "summary": summary})
