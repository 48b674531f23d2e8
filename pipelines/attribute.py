"""From a shard of samples to maps and targets: decode ahead, explain in batches, account for every sample."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Attribution, Method, choose_targets
from audit.attribution.features import activation_under
from audit.attribution.targets import role_of
from audit.datasets.manifest import Sample
from audit.datasets.objects import Objects
from audit.errors import ImageError, TransientError
from audit.findings.grid import Placed
from audit.images import decode_image, difference_hash, read_bytes
from audit.store.layout import FEATURES, SAMPLES, TARGETS
from audit.store.maps import Maps, empty_maps
from audit.views import Fit, View
from pipelines.ahead import map_ahead
from pipelines.config import RunConfig
from pipelines.score import Scorer, Targets

QUARANTINED = "killed the worker that read it"
Annotate = Callable[[Sample, tuple[int, int]], Objects]
"""From a sample and the (height, width) of its upright image to what is known of its objects."""
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Decoded:
    """A sample as the network will see it, or why it cannot.

    Attributes:
        row: its row in the manifest.
        pixels: [size, size, 3] fitted image, None if it failed.
        height, width, view: of the upright image.
        digest: of the file's bytes.
        look: difference hash of the fitted image.
        known: of its objects, where that was asked.
    """

    row: int
    sample: Sample
    pixels: NDArray[np.uint8] | None = None
    height: int | None = None
    width: int | None = None
    view: View | None = None
    digest: str | None = None
    look: int | None = None
    reason: str | None = None
    transient: bool = False
    known: Objects | None = None


@dataclass
class ShardMaps:
    """Maps [n, K, h, w] of a shard, as the run keeps them, and its rows of tables.

    Attributes:
        scorer: what was scored on the way, None where nothing is.
    """

    maps: Maps
    samples: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in SAMPLES.names})
    targets: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in TARGETS.names})
    features: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in FEATURES.names})
    scorer: Scorer | None = None


def attribute_samples(
    samples: Sequence[Sample],
    first_row: int,
    explain: Method,
    config: RunConfig,
    slots: int,
    annotate: Annotate | None = None,
    before: Callable[[int], None] | None = None,
    quarantined: frozenset[int] = frozenset(),
) -> ShardMaps:
    """Explain the targets of consecutive samples, and score them on the way.

    Args:
        samples: they begin at row `first_row` of the manifest.
        explain: the method, entered.
        slots: K.
        annotate: reads what is known of a sample's objects; nothing is scored without.
        before: called with a row before it is touched; samples are then taken one by one, nothing ahead.
        quarantined: rows that are not touched.
    """
    result = ShardMaps(empty_maps((len(samples), slots, *explain.grid), encoding_of(explain)))
    result.scorer = Scorer() if annotate else None
    fit = explain.classifier.preprocessing.fit

    def decode(item: tuple[int, Sample]) -> Decoded:
        row, sample = item
        if row in quarantined:
            return Decoded(row, sample, reason=QUARANTINED)
        if before is not None:
            before(row)
        decoded = decode_sample(row, sample, fit, config.max_pixels)
        if annotate is None or decoded.height is None or decoded.width is None:
            return decoded
        return replace(decoded, known=annotate(sample, (decoded.height, decoded.width)))

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
    return Decoded(row, sample, pixels, image.shape[0], image.shape[1], view, digest, difference_hash(pixels))


def _batches(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
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
        first = len(result.targets["sample"])
        _add_targets(result.targets, decoded, found, place, peaks[place], explain, config.roles)
        if result.scorer is not None:
            rows = range(first, len(result.targets["sample"]))
            _score(result, decoded, Targets.at(result.targets, rows), found, place, first_row)


def _score(
    result: ShardMaps, decoded: Decoded, targets: Targets, found: Attribution, place: int, first_row: int
) -> None:
    """Score a sample from its maps as stored, and keep what lies under its heat off the object."""
    assert result.scorer is not None
    assert decoded.known is not None
    assert decoded.view is not None
    assert decoded.height is not None
    assert decoded.width is not None
    size = (decoded.height, decoded.width)
    maps = result.maps[decoded.row - first_row]
    placed = result.scorer.add(decoded.row, size, decoded.view, decoded.known, targets, maps)
    if placed is not None and found.activation is not None:
        _add_features(result.features, decoded.row, targets, placed, found.activation[place].numpy())


def _add_features(
    rows: dict[str, list[Any]], row: int, targets: Targets, placed: Placed, activation: NDArray[np.float32]
) -> None:
    under = activation_under(activation, placed.off_heat_on((activation.shape[1], activation.shape[2])))
    rows["sample"] += [row] * len(under)
    rows["slot"] += targets.slots[targets.usable].tolist()
    rows["under"] += [None if vector is None else vector.astype(np.float16) for vector in under]


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
        "transient": decoded.transient or (decoded.known is not None and decoded.known.transient),
        "height": decoded.height,
        "width": decoded.width,
        "digest": decoded.digest,
        "look": decoded.look,
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
