"""From a shard of samples to maps and targets: decode ahead, explain in batches, account for every sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Method
from audit.attribution.inside.channels import leading_channels
from audit.attribution.inside.features import features_of, relevance_by_channel
from audit.attribution.targets import WORD, role_of
from audit.datasets import Objects, Readable, Sample, Unreadable, decode_sample
from audit.datasets.objects import OwnObject
from audit.images import batches, cut, map_ahead
from audit.models.aimed.detectors import Detector
from audit.models.aimed.kind import Given
from audit.models.aimed.regions import RegionClassifier
from audit.models.device import HALVING, Upload
from audit.scores.given.detected import Detected
from audit.scores.given.segmented import Segmented
from audit.scores.placed import Placed
from audit.scores.scorer import Explained, Scorer, Targets, score_sample
from audit.store.layout import (
    CHANNELS,
    CHECKS,
    DETECTIONS,
    FEATURES,
    LEADING,
    SAMPLES,
    SEGMENTATIONS,
    SHARE_STEPS,
    TARGETS,
)
from audit.store.maps.files import Maps, empty_maps
from audit.store.tables.parts import Column, Rows, in_order
from pipelines.run.config import RunConfig
from pipelines.run.found import Found, explained
from pipelines.run.quick_check import QuickCheck

QUARANTINED = "killed the worker that read it"
ReadObjects = Callable[[Sample, tuple[int, int]], Objects]
"""From a sample and the (height, width) of its upright image to what is known of its objects."""
_Weighted = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights [K, channels, ...] and activation [channels, h, w] of a sample; see `audit.attribution.method.Weighted`."""


@dataclass(frozen=True)
class Prepared:
    """A sample ready to be explained, and what is known of its objects: nothing, where it is not to be scored."""

    image: Readable
    objects: Objects


@dataclass(frozen=True)
class ShardMaps:
    """Maps [n, K, h, w] of a shard, as the run keeps them, and its rows of tables.

    Attributes:
        checks: what targets lose without their background.
        scorer: what was scored on the way, None where nothing is.
        check: gathers whom to ask for `checks`, None where nobody is.
        detections: a detector's boxes, None of any other network.
        segmentations: regions, None of a network that gives none.
    """

    maps: Maps
    samples: Rows = field(default_factory=lambda: Rows(SAMPLES))
    targets: Rows = field(default_factory=lambda: Rows(TARGETS))
    features: Rows = field(default_factory=lambda: Rows(FEATURES))
    channels: Rows = field(default_factory=lambda: Rows(CHANNELS))
    checks: Rows = field(default_factory=lambda: Rows(CHECKS))
    scorer: Scorer | None = None
    check: QuickCheck | None = None
    detections: Rows | None = None
    segmentations: Rows | None = None

    def tables(self) -> dict[str, dict[str, Column]]:
        """Columns of all tables, by name; rows in the order of samples, which batches of one shape did not keep."""
        names = ("samples", "targets", "features", "channels", "checks")
        rows: dict[str, Rows] = {name: getattr(self, name) for name in names}
        given = {"detections": self.detections, "segmentations": self.segmentations}
        rows |= {name: table for name, table in given.items() if table is not None}
        scores = self.scorer.result() if self.scorer is not None else {}
        tables = {name: table.columns() for name, table in rows.items()} | scores
        return {
            name: in_order(columns, "sample") if "sample" in columns else columns for name, columns in tables.items()
        }


def attribute_samples(
    samples: Sequence[Sample],
    first_row: int,
    explain: Method,
    config: RunConfig,
    slots: int,
    read_objects: ReadObjects | None = None,
    before: Callable[[int], None] | None = None,
    quarantined: frozenset[int] = frozenset(),
    check: QuickCheck | None = None,
) -> ShardMaps:
    """Explain the targets of consecutive samples, and score them on the way.

    Args:
        samples: they begin at row `first_row` of the manifest.
        explain: the method, entered.
        slots: K.
        read_objects: nothing is scored without.
        before: called with a row before it is touched; samples are then taken one by one, nothing ahead.
        quarantined: rows that are not touched.
        check: asks again about some targets that are scored; nobody does without.
    """
    result = _begin(len(samples), slots, explain, read_objects is not None, check)
    fit = explain.classifier.preprocessing.fit

    def prepare(item: tuple[int, Sample]) -> Prepared | Unreadable:
        row, sample = item
        if row in quarantined:
            return Unreadable(row, sample, QUARANTINED)
        if before is not None:
            before(row)
        decoded = decode_sample(row, sample, fit, config.max_pixels)
        if isinstance(decoded, Unreadable):
            return decoded
        return Prepared(decoded, read_objects(sample, decoded.size) if read_objects else Objects())

    items = enumerate(samples, first_row)
    size = 1 if before is not None else config.batch_size
    ahead = 0 if before is not None else 2 * size
    upload = Upload(explain.classifier.device)

    def given(item: Prepared | Unreadable) -> tuple[int, int]:
        return fit.given(*(item.image.size if isinstance(item, Prepared) else (1, 1)))

    def sent(batch: list[Prepared | Unreadable]) -> tuple[list[Prepared | Unreadable], torch.Tensor | None]:
        pixels = [cut(item.image.pixels, fit, item.image.size) for item in batch if isinstance(item, Prepared)]
        return batch, upload.send(np.stack(pixels)) if pixels else None

    # To a device of its own, a batch travels while the one before is explained.
    travelling = 1 if ahead and explain.classifier.device.type != "cpu" else 0
    for batch, pixels in map_ahead(sent, batches(map_ahead(prepare, items, ahead), size, given), travelling):
        for item in batch:
            result.samples.add(**_sample_row(item))
        if pixels is not None:
            prepared = [item for item in batch if isinstance(item, Prepared)]
            _explain_batch(result, prepared, upload.receive(pixels), first_row, explain, config)
    if check is not None:
        result.checks.extend(check.result())
    return result


def _begin(count: int, slots: int, explain: Method, scored: bool, check: QuickCheck | None) -> ShardMaps:
    """Room for the maps and rows of so many samples."""
    return ShardMaps(
        empty_maps((count, slots, *explain.grid), encoding_of(explain)),
        scorer=Scorer() if scored else None,
        check=check,
        detections=Rows(DETECTIONS) if isinstance(explain.classifier, Detector) else None,
        segmentations=Rows(SEGMENTATIONS) if isinstance(explain.classifier, RegionClassifier) else None,
    )


def _explain_batch(
    result: ShardMaps,
    batch: Sequence[Prepared],
    pixels: torch.Tensor,
    first_row: int,
    explain: Method,
    config: RunConfig,
) -> None:
    """Explain images whose pixels [B, H, W, 3] lie on the method's device, and read what came of them once."""
    samples = [prepared.image.sample for prepared in batch]
    slots, weighted = result.maps.shape[1], result.scorer is not None

    def part(places: slice) -> Found:
        images = explain.classifier.preprocessing.normalise(pixels[places])
        return explained(explain, images, samples[places], config.roles, slots, weighted)

    rest = iter(batch)
    for found in HALVING(part, len(batch)):
        for place, prepared in enumerate(islice(rest, len(found["maps"]))):
            _take(result, prepared, found, place, first_row, explain, config)


def _take(
    result: ShardMaps, prepared: Prepared, found: Found, place: int, first_row: int, explain: Method, config: RunConfig
) -> None:
    """Keep what was found of the image at a place of a batch, and score it."""
    result.maps[prepared.image.row - first_row] = found["maps"][place]
    rows = _target_rows(prepared.image, found, place, explain, config.roles)
    result.targets.merge(rows)
    own = _own_objects(result, prepared, found, place, rows, len(explain.classifier.classes))
    if result.scorer is not None:
        weighted = (found["weights"][place], found["activation"][place]) if "weights" in found else None
        _score(result, result.scorer, prepared, rows, own, weighted, first_row)


class _Own(NamedTuple):
    """Objects [k] that targets bring along, if any, and what the network is asked about that of a slot again by."""

    objects: Sequence[OwnObject] | None
    asked: Callable[[int], Given]


def _own_objects(
    result: ShardMaps, prepared: Prepared, found: Found, place: int, rows: Rows, class_count: int
) -> _Own | None:
    """Keep what the network gave itself for the image at a place of a batch; None of a classifier."""
    image = prepared.image
    if result.detections is not None:
        boxes = _detected(image, found, place)
        beside = boxes.beside(image.row, image.sample, prepared.objects, class_count)
        result.detections.merge(beside.rows())
        return _Own(beside.own(np.array(rows.column("slot"))), boxes.asked)
    if result.segmentations is not None:
        regions = Segmented(found["labels"][place], image.view, image.size)
        result.segmentations.add(sample=image.row, labels=regions.png())
        return _Own(regions.own(list(rows.column("class_id"))), lambda _slot: regions.labels)
    text = image.sample.attributes.get("text") if rows and rows.column("role")[0] == WORD else None
    return None if text is None else _Own(None, lambda _slot: text)


def _score(
    result: ShardMaps,
    scorer: Scorer,
    prepared: Prepared,
    rows: Rows,
    own: _Own | None,
    weighted: _Weighted | None,
    first_row: int,
) -> None:
    """Score a sample from its maps as stored, and keep what its heat off the objects comes from.

    Args:
        rows: of the table `targets`.
        own: what the network gave itself: the objects of its targets.
    """
    image, maps = prepared.image, result.maps[prepared.image.row - first_row]
    targets = Targets.at(rows.columns(), range(len(rows)))
    objects = None if own is None else own.objects
    sample = Explained(image.row, image.size, image.view, prepared.objects, targets, maps, objects)
    scored = score_sample(sample)
    scorer.add(scored)
    if result.check is not None:
        asked = None if own is None else own.asked
        result.check.add(image, sample, np.array(rows.column("probability"), np.float32), scored.scores, asked)
    if scored.placed and weighted is not None:
        _add_origins(result, image.row, targets, scored.placed, weighted)


def _add_origins(result: ShardMaps, row: int, targets: Targets, placed: Sequence[Placed], weighted: _Weighted) -> None:
    """Keep what the heat of a sample's usable targets comes from."""
    slots, (weights, activation) = targets.slots[targets.usable], weighted
    weights, grid = weights[slots], (activation.shape[1], activation.shape[2])
    keys = {"sample": np.full(len(slots), row), "slot": slots}
    off = np.concatenate([maps.off_and_warm(grid) for maps in placed])
    relevance = relevance_by_channel(off, weights, activation)
    under = [None if vector is None else vector.astype(np.float16) for vector in features_of(relevance)]
    result.features.extend(keys | {"relevance": under})
    warm = np.concatenate([maps.warm(grid) for maps in placed])
    _add_channels(result.channels, keys, (weights, activation), warm, off, relevance)


def _add_channels(
    channels: Rows,
    keys: dict[str, NDArray[Any]],
    weighted: _Weighted,
    warm: NDArray[np.float32],
    off: NDArray[np.float32],
    off_relevance: NDArray[np.floating],
) -> None:
    """Keep which channels carry most of all heat [K, h, w], and of that off the object."""
    columns: dict[str, NDArray[Any]] = {}
    relevance = relevance_by_channel(warm, *weighted)
    for prefix, part, by_channel in (("", warm, relevance), ("off_", off, off_relevance)):
        leading = leading_channels(by_channel, part, *weighted, LEADING)
        columns[f"{prefix}channel"], columns[f"{prefix}cell"] = leading.channel, leading.cell
        columns[f"{prefix}share"] = np.rint(leading.share * SHARE_STEPS).astype(np.uint8)
    channels.extend(keys | columns)


def encoding_of(explain: Method) -> str:
    """How a run keeps the method's maps, one of `ENCODINGS`: many pixels have fewer bits each."""
    return "int8" if explain.pixels else "float16"


def _sample_row(item: Prepared | Unreadable) -> dict[str, object]:
    """A row of the table `samples`; what is not known of a sample that failed is null."""
    return dict.fromkeys(SAMPLES.names) | (_failed(item) if isinstance(item, Unreadable) else _processed(item))


def _failed(item: Unreadable) -> dict[str, object]:
    return {
        "sample": item.row,
        "id": item.sample.id,
        "status": "failed",
        "reason": item.reason,
        "transient": item.transient,
    }


def _processed(prepared: Prepared) -> dict[str, object]:
    image, (height, width) = prepared.image, prepared.image.size
    return {
        "sample": image.row,
        "id": image.sample.id,
        "status": "processed",
        "transient": prepared.objects.transient,
        "height": height,
        "width": width,
        **asdict(image.view),
        "digest": image.digest,
        "look": image.look,
    }


def _target_rows(image: Readable, found: Found, place: int, explain: Method, roles: Sequence[str]) -> Rows:
    """Rows of the table `targets` of the image at a place of a batch."""
    rows = Rows(TARGETS)
    for slot, class_id in enumerate(found["class_id"][place].tolist()):
        if class_id < 0:
            continue
        rank, peak = int(found["rank"][place, slot]), float(found["peak"][place, slot])
        rows.add(
            sample=image.row,
            slot=slot,
            class_id=class_id,
            role=role_of(class_id, image.sample.labels, rank, roles),
            rank=rank,
            logit=float(found["logit"][place, slot]),
            probability=float(found["probability"][place, slot]),
            peak=peak,
            status=_status(explain, class_id, bool(found["finite"][place, slot]), peak),
            **{"class": explain.classifier.classes[class_id]},
        )
    return rows


def _detected(image: Readable, found: Found, place: int) -> Detected:
    """A detector's boxes of the image at a place of a batch, as the run keeps them."""
    there = np.flatnonzero(found["box_class"][place] >= 0)
    corners = image.view.to_upright(found["box"][place][there], len(image.pixels), image.size)
    slots = np.where(there < found["class_id"].shape[1], there, -1)
    scores, candidates = (found[name][place][there] for name in ("box_score", "candidate"))
    return Detected(slots, found["box_class"][place][there], scores, corners, candidates)


def _status(explain: Method, class_id: int, finite: bool, peak: float) -> str:
    if not explain.classifier.named[class_id]:
        return "no_output"
    if not finite:
        return "not_finite"
    return "ok" if peak > 0 else "no_evidence"
