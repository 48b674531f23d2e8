"""Plant a cue in a copy of any collection, to see whether the audit finds it on one's own images and model.

DIR/
  images/            the images that were changed, as PNG; all others are named where they lie
  planted.parquet    manifest of the copy
  twins.parquet      manifest of the same samples, none with the cue
  truth.parquet      what was planted where, written last

A model that relies on the cue gives the class a higher probability in a sample of `planted` than in its twin, which has
the same id; nothing but the cue differs between the two.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from audit.datasets import Manifest, Sample, has_objects, read_objects
from audit.datasets.cues import NEEDS_OBJECTS, Bounds, paint_cue
from audit.datasets.reach import holding_folder
from audit.errors import AuditError, ImageError, ManifestError, TransientError
from audit.images import MAX_PIXELS, decode_image, is_url, read_bytes
from audit.progress import Progress, silent, tracked
from audit.store.storage.files import write_atomically
from audit.store.tables.parts import Rows, write_table
from pipelines.asked import Planting

PLANTED, TWINS, TRUTH = "planted.parquet", "twins.parquet", "truth.parquet"
TRUTH_COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("class", pa.string()),  # the class that the cue goes with, null where the sample is of none of it
        ("cue", pa.string()),  # its kind, null where there is none
        ("planted", pa.bool_()),
        *((corner, pa.int32()) for corner in ("x0", "y0", "x1", "y1")),  # box in upright pixels; null for everywhere
        ("reason", pa.string()),  # why a sample that was to have the cue has none
    ]
)
NO_PLACE = "no place for it off the objects"


@dataclass(frozen=True)
class _Planted:
    """What became of a sample that was to get the cue: its new image, or why there is none."""

    image: str | None = None
    box: Bounds | None = None
    reason: str | None = None


def plant(manifest: Manifest, planting: Planting, out: Path, progress: Progress = silent) -> dict[str, int]:
    """Write the copy.

    Returns:
        How many `samples` there are, `of_class`, `chosen` for the cue, `planted` of the class, `elsewhere` (planted of
        other classes), with `no_place` for it, and `unreadable`, image or mask.

    Raises:
        ManifestError: the class is unknown or has no sample, `out` is not empty, or the cue needs masks or boxes.
        AuditError: not one sample could be given the cue.
    """
    class_id = _class_id(manifest, planting.class_name)
    samples = list(manifest)
    chosen = [row for row, sample in enumerate(samples) if _is_chosen(sample, class_id, planting)]
    _check_plantable(samples, class_id, chosen, planting, out)
    (out / "images").mkdir(parents=True, exist_ok=True)
    work = partial(_plant_sample, planting=planting, manifest=manifest, out=out)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(work, chosen, (samples[row] for row in chosen))
        try:
            planted = dict(zip(tracked(progress, "planting", chosen), done, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
    if chosen and not any(done.image for done in planted.values()):
        first = planted[chosen[0]].reason
        raise AuditError(f"Expected to plant the cue in {len(chosen)} images, could in none; the first: {first}")
    _write(manifest, samples, planted, planting, class_id, out)
    return _counts(samples, planted, class_id)


def _class_id(manifest: Manifest, name: str) -> int:
    if name in manifest.classes:
        return manifest.classes.index(name)
    close = difflib.get_close_matches(name, manifest.classes) or manifest.classes[:10]
    raise ManifestError(f"Expected a class of the manifest, as {', '.join(close)}; got {name!r}")


def _check_plantable(
    samples: Sequence[Sample], class_id: int, chosen: list[int], planting: Planting, out: Path
) -> None:
    if not any(class_id in sample.labels for sample in samples):
        raise ManifestError(f"Expected samples labelled {planting.class_name!r}, found none among {len(samples)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ManifestError(f"Expected a new or empty folder to write to, got {out}; choose another")
    kind = planting.cue.kind
    if chosen and kind in NEEDS_OBJECTS and not any(has_objects(samples[row]) for row in chosen):
        raise ManifestError(
            f"Expected masks or boxes for the cue {kind}, which must leave the objects alone, found none; "
            "plant a watermark, a border or a tint"
        )


def _streams(planting: Planting, id_: str) -> list[np.random.Generator]:
    """Independent streams of one sample: whether it gets the cue, and the cue."""
    key = int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng([planting.seed, key]).spawn(2)


def _is_chosen(sample: Sample, class_id: int, planting: Planting) -> bool:
    share = planting.share if class_id in sample.labels else planting.elsewhere
    return bool(_streams(planting, sample.id)[0].random() < share)


def _plant_sample(row: int, sample: Sample, planting: Planting, manifest: Manifest, out: Path) -> _Planted:
    """Write one sample's image with the cue; what goes wrong with it becomes its reason."""
    try:
        image = decode_image(read_bytes(sample.image), sample.image, MAX_PIXELS)
    except (ImageError, TransientError) as error:
        return _Planted(reason=str(error))
    height, width, _ = image.shape
    known = read_objects(sample, manifest.mask_kind, (height, width), len(manifest.classes))
    if known.reason is not None:
        return _Planted(reason=known.reason)
    if known.mask is None and planting.cue.kind in NEEDS_OBJECTS:
        return _Planted(reason="neither mask nor boxes")
    objects = None if known.mask is None else known.mask != 0  # void may hide one
    painted = paint_cue(planting.cue, image, objects, _streams(planting, sample.id)[1])
    if painted is None:
        return _Planted(reason=NO_PLACE)
    # By row: an id may be anything, also no name for a file.
    name = f"images/{row:07d}.png"
    picture = Image.fromarray(painted[0])
    write_atomically(out / name, lambda partial: picture.save(partial, format="PNG", compress_level=1))
    return _Planted(name, painted[1])


def _write(
    manifest: Manifest,
    samples: Sequence[Sample],
    planted: dict[int, _Planted],
    planting: Planting,
    class_id: int,
    out: Path,
) -> None:
    twins = [_with_paths(sample, _absolute) for sample in samples]
    images = {row: os.path.abspath(out / done.image) for row, done in planted.items() if done.image}
    copies = [replace(twin, image=images.get(row, twin.image)) for row, twin in enumerate(twins)]
    root = _common_root(out, twins)
    for name, listed in ((PLANTED, copies), (TWINS, twins)):
        below = (_with_paths(sample, partial(_below, root)) for sample in listed)
        Manifest.from_samples(below, manifest.classes, root, manifest.mask_kind).save(out / name)
    truth = Rows(TRUTH_COLUMNS)
    for row, sample in enumerate(samples):
        truth.add(**_truth_row(sample, planted.get(row, _Planted()), planting, class_id))
    write_table(out / TRUTH, truth.columns(), TRUTH_COLUMNS)


def _common_root(out: Path, samples: Sequence[Sample]) -> str:
    """The folder that holds the copy and the collection, or else the copy's."""
    named = (path for sample in samples for path in (sample.image, sample.mask) if path and "://" not in path)
    folder = os.path.abspath(out)
    return holding_folder({folder, *map(os.path.dirname, named)}) or folder


def _with_paths(sample: Sample, change: Callable[[str], str]) -> Sample:
    mask = None if sample.mask is None else change(sample.mask)
    return replace(sample, image=change(sample.image), mask=mask)


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


def _below(root: str, path: str) -> str:
    return path.removeprefix(f"{root.rstrip('/')}/")


def _truth_row(sample: Sample, done: _Planted, planting: Planting, class_id: int) -> dict[str, object]:
    shown = done.image is not None
    return {
        "id": sample.id,
        "class": planting.class_name if class_id in sample.labels else None,
        "cue": planting.cue.kind if shown else None,
        "planted": shown,
        **dict(zip(("x0", "y0", "x1", "y1"), done.box or (None,) * 4, strict=True)),
        "reason": done.reason,
    }


def _counts(samples: Sequence[Sample], planted: dict[int, _Planted], class_id: int) -> dict[str, int]:
    shown = [class_id in samples[row].labels for row, done in planted.items() if done.image]
    reasons = [done.reason for done in planted.values() if done.reason]
    return {
        "samples": len(samples),
        "of_class": sum(class_id in sample.labels for sample in samples),
        "chosen": len(planted),
        "planted": sum(shown),
        "elsewhere": len(shown) - sum(shown),
        "no_place": reasons.count(NO_PLACE),
        "unreadable": len(reasons) - reasons.count(NO_PLACE),
    }
