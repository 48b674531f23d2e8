"""Whether a manifest's files open: tried on a few, before anybody waits for a run over all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.datasets.manifest import Box, Manifest, Sample, taken
from audit.datasets.manifest_file import BATCH, ManifestFile
from audit.datasets.objects import read_objects
from audit.errors import ImageError, TransientError
from audit.images import decode_image, read_bytes
from audit.images.masks import box_fault
from audit.progress import Progress, silent, tracked

RANDOM = 50
"""Rows tried beside the first."""
_THREADS = 4
_NOT_FINITE = re.compile("NaN|Infinity")


@dataclass(frozen=True)
class Tally:
    """Files of a kind that were tried.

    Attributes:
        listed: samples that have one.
        tried: how many of them were tried.
        opened: how many of these open.
        reason: why the first that does not open does not.
    """

    listed: int
    tried: int
    opened: int
    reason: str | None = None


@dataclass(frozen=True)
class Opening:
    """What was seen of a manifest's images, and of its masks and regions; `drawings`: of its boxes and outlines.

    Of boxes and outlines the numbers alone are looked at, and those of every sample.
    """

    images: Tally
    masks: Tally
    drawings: Tally


@dataclass(frozen=True)
class _Trial:
    """Why a sample's image, and its mask, cannot be used; None where they can."""

    image: str | None
    mask: str | None = None


def try_opening(manifest: Manifest | ManifestFile, seed: int = 0, progress: Progress = silent) -> Opening:
    """Decode the first and `RANDOM` random images with their masks; where few of them have one, other samples' too.

    A mask is tried where its image opens: it has to have that image's size.

    Args:
        seed: of the rows.
        progress: told of every sample.
    """
    masked = _masked(manifest)
    rows, masked_rows = _draw_rows(masked, np.random.default_rng(seed))
    chosen = taken(manifest, np.union1d(rows, masked_rows))
    trials = dict(zip(np.union1d(rows, masked_rows).tolist(), _try_all(chosen, progress), strict=True))
    images = [trials[row].image for row in rows.tolist()]
    masks = [trials[row].mask for row in masked_rows.tolist() if trials[row].image is None]
    drawings = _faults(manifest)
    return Opening(_tally(len(manifest), images), _tally(int(masked.sum()), masks), _tally(len(drawings), drawings))


def _faults(manifest: Manifest | ManifestFile) -> list[str | None]:
    """Of each sample with boxes or outlines: what keeps them from being drawn, None where nothing is seen."""
    tables = manifest.tables(["id", "boxes", "regions"])
    batches = (batch for table in tables for batch in table.to_batches(max_chunksize=BATCH))
    rows = (row.values() for batch in batches for row in batch.to_pylist())
    return [
        _fault(name, boxes or [], regions or "", len(manifest.classes))
        for name, boxes, regions in rows
        if boxes or regions
    ]


def _fault(name: str, boxes: list[dict[str, float]], regions: str, classes: int) -> str | None:
    for place, box in enumerate(boxes):
        if fault := box_fault(Box(**box), classes):  # type: ignore[arg-type]
            return f"Expected box {place} of {name!r} to have {fault}"
    if _NOT_FINITE.search(regions):
        return f"Expected outlines of {name!r} with finite coordinates"
    return None


def _masked(manifest: Manifest | ManifestFile) -> NDArray[np.bool_]:
    """[N] samples with a mask file or regions."""
    tables = manifest.tables(["mask", "regions"])
    known = (pc.or_(pc.is_valid(table["mask"]), pc.is_valid(table["regions"])) for table in tables)
    return np.concatenate([np.asarray(part.to_numpy(), bool) for part in known])


def _draw_rows(masked: NDArray[np.bool_], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending rows of images to try, and of masks: of the same samples, as far as these have one."""
    others = rng.permutation(np.arange(1, len(masked)))
    rows = np.sort(np.append(0, others[:RANDOM]))
    order = np.append(rows, others[RANDOM:])
    return rows, np.sort(order[masked[order]][: RANDOM + 1])


def _try_all(chosen: Manifest, progress: Progress) -> Iterator[_Trial]:
    with ThreadPoolExecutor(_THREADS) as pool:
        trials = pool.map(lambda sample: _try(sample, chosen), list(chosen))
        yield from tracked(progress, "opening", trials, len(chosen))


def _try(sample: Sample, manifest: Manifest) -> _Trial:
    try:
        height, width, _ = decode_image(read_bytes(sample.image), sample.image).shape
    except (ImageError, TransientError) as error:
        return _Trial(str(error))
    # Without classes masks are of no use: that is told as it is of one.
    objects = read_objects(sample, manifest.mask_kind, (height, width), max(len(manifest.classes), 1))
    return _Trial(None, objects.reason)


def _tally(listed: int, reasons: Iterable[str | None]) -> Tally:
    """Of files with the reason why they do not open, or None."""
    tried = list(reasons)
    refused = [reason for reason in tried if reason is not None]
    return Tally(listed, len(tried), len(tried) - len(refused), next(iter(refused), None))
