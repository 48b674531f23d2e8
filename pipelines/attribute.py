"""From a shard of samples to maps and targets: decode ahead, explain in batches, account for every sample."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Attribution, Method, choose_targets
from audit.attribution.targets import role_of
from audit.datasets.manifest import Sample
from audit.errors import ImageError, TransientError
from audit.images import decode_image, read_bytes
from audit.store.layout import SAMPLES, TARGETS
from audit.store.maps import Maps, empty_maps
from audit.views import Fit, View
from pipelines.config import RunConfig

QUARANTINED = "killed the worker that read it"
_LEFT = TypeVar("_LEFT")
_RIGHT = TypeVar("_RIGHT")


@dataclass(frozen=True)
class Decoded:
    """A sample as the network will see it, or why it cannot.

    Attributes:
        row: its row in the manifest.
        pixels: [size, size, 3] fitted image, None if it failed.
        height, width, view: of the upright image.
        digest: of the file's bytes.
    """

    row: int
    sample: Sample
    pixels: NDArray[np.uint8] | None = None
    height: int | None = None
    width: int | None = None
    view: View | None = None
    digest: str | None = None
    reason: str | None = None
    transient: bool = False


@dataclass
class ShardMaps:
    """Maps [n, K, h, w] of a shard, as the run keeps them, and its rows of the tables `samples` and `targets`."""

    maps: Maps
    samples: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in SAMPLES.names})
    targets: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in TARGETS.names})


def attribute_samples(
    samples: Sequence[Sample],
    first_row: int,
    explain: Method,
    config: RunConfig,
    slots: int,
    before: Callable[[int], None] | None = None,
    quarantined: frozenset[int] = frozenset(),
) -> ShardMaps:
    """Explain the targets of consecutive samples.

    Args:
        samples: they begin at row `first_row` of the manifest.
        explain: the method, entered.
        slots: K.
        before: called with a row before it is touched; samples are then taken one by one, nothing ahead.
        quarantined: rows that are not touched.
    """
    result = ShardMaps(empty_maps((len(samples), slots, *explain.grid), encoding_of(explain)))
    fit = explain.classifier.preprocessing.fit

    def decode(item: tuple[int, Sample]) -> Decoded:
        row, sample = item
        if row in quarantined:
            return Decoded(row, sample, reason=QUARANTINED)
        if before is not None:
            before(row)
        return decode_sample(row, sample, fit, config.max_pixels)

    items = enumerate(samples, first_row)
    size = 1 if before is not None else config.batch_size
    ahead = 0 if before is not None else 2 * size
    for batch in _batches(map_ahead(decode, items, ahead), size):
        for decoded in batch:
            _add_sample(result.samples, decoded)
        readable = [decoded for decoded in batch if decoded.pixels is not None]
        if readable:
            _explain_batch(result, readable, first_row, explain, config)
    return result


def decode_sample(row: int, sample: Sample, fit: Fit, max_pixels: int) -> Decoded:
    """Read, decode and fit one image; what goes wrong with it becomes its reason."""
    try:
        data = read_bytes(sample.image)
        image = decode_image(data, sample.image, max_pixels)
    except TransientError as error:
        return Decoded(row, sample, reason=str(error), transient=True)
    except ImageError as error:
        return Decoded(row, sample, reason=str(error))
    pixels, view = fit(image)
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    return Decoded(row, sample, pixels, image.shape[0], image.shape[1], view, digest)


def map_ahead(work: Callable[[_LEFT], _RIGHT], items: Iterable[_LEFT], ahead: int) -> Iterator[_RIGHT]:
    """`map`, with up to `ahead` items worked on by a thread before they are asked for; 0 for none."""
    if not ahead:
        yield from map(work, items)
        return
    queue: deque[Future[_RIGHT]] = deque()
    with ThreadPoolExecutor(1) as pool:
        try:
            for item in items:
                queue.append(pool.submit(work, item))
                if len(queue) > ahead:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(items: Iterator[_LEFT], size: int) -> Iterator[list[_LEFT]]:
    while batch := list(islice(items, size)):
        yield batch


def _explain_batch(
    result: ShardMaps, batch: Sequence[Decoded], first_row: int, explain: Method, config: RunConfig
) -> None:
    labels = [decoded.sample.labels for decoded in batch]
    slots = result.maps.shape[1]
    images = explain.classifier.preprocessing.normalise(np.stack([decoded.pixels for decoded in batch]))  # type: ignore[misc]
    found = explain.attribute(images, lambda logits: choose_targets(config.roles, labels, logits, slots))
    maps, peaks = by_peak(found.maps)
    for place, decoded in enumerate(batch):
        result.maps[decoded.row - first_row] = maps[place]
        _add_targets(result.targets, decoded, found, place, peaks[place], explain, config.roles)


def encoding_of(explain: Method) -> str:
    """How a run keeps the method's maps, one of `audit.store.maps.ENCODINGS`: many pixels have fewer bits each."""
    return "int8" if explain.pixels else "float16"


def by_peak(raw: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Raw maps [B, K, h, w] -> the maps divided by their peaks, and the peaks [B, K].

    NaN where the peak is not positive or anything is not finite: such a map is no evidence.
    """
    peaks = raw.amax(dim=(2, 3))
    usable = raw.isfinite().all(dim=3).all(dim=2) & (peaks > 0)
    scaled = raw / torch.where(usable, peaks, torch.nan)[:, :, None, None]
    return scaled.numpy(), peaks.numpy()


def _add_sample(rows: dict[str, list[Any]], decoded: Decoded) -> None:
    view = decoded.view
    values = {
        "sample": decoded.row,
        "id": decoded.sample.id,
        "status": "failed" if decoded.pixels is None else "processed",
        "reason": decoded.reason,
        "transient": decoded.transient,
        "height": decoded.height,
        "width": decoded.width,
        "digest": decoded.digest,
        **{name: getattr(view, name, None) for name in ("x0", "y0", "x1", "y1")},
    }
    for name, column in rows.items():
        column.append(values[name])


def _add_targets(
    rows: dict[str, list[Any]],
    decoded: Decoded,
    found: Attribution,
    place: int,
    peaks: NDArray[np.float32],
    explain: Method,
    roles: Sequence[str],
) -> None:
    logits, probabilities = found.logits[place], found.probabilities[place]
    for slot, class_id in enumerate(found.class_ids[place].tolist()):
        if class_id < 0:
            continue
        rank = int((logits > logits[class_id]).sum())
        values = {
            "sample": decoded.row,
            "slot": slot,
            "class_id": class_id,
            "class": explain.classifier.classes[class_id],
            "role": role_of(class_id, decoded.sample.labels, rank, roles),
            "rank": rank,
            "logit": float(logits[class_id]),
            "probability": float(probabilities[class_id]),
            "peak": float(peaks[slot]),
            "status": _status(explain, class_id, found.maps[place, slot]),
        }
        for name, column in rows.items():
            column.append(values[name])


def _status(explain: Method, class_id: int, raw: torch.Tensor) -> str:
    if not explain.classifier.named[class_id]:
        return "no_output"
    if not bool(raw.isfinite().all()):
        return "not_finite"
    return "ok" if float(raw.max()) > 0 else "no_evidence"
