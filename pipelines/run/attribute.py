"""From a shard of samples to maps and targets: decode ahead, explain in batches, account for every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Attribution, Method, choose_targets
from audit.attribution.features import relevance_in
from audit.attribution.targets import role_of
from audit.datasets import Objects, Readable, Sample, Unreadable, decode_sample
from audit.images import map_ahead
from audit.models.device import HALVING, Upload, fetch
from audit.scores.placed import Placed
from audit.scores.scorer import Explained, Scorer, Targets, score_sample
from audit.store.layout import CHECKS, FEATURES, SAMPLES, TARGETS
from audit.store.maps import Maps, empty_maps
from audit.store.tables import Column, Rows
from pipelines.run.config import RunConfig
from pipelines.run.quick_check import QuickCheck

QUARANTINED = "killed the worker that read it"
ReadObjects = Callable[[Sample, tuple[int, int]], Objects]
"""From a sample and the (height, width) of its upright image to what is known of its objects."""
_Weighted = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights [K, channels, ...] and activation [channels, h, w] of a sample; see `audit.attribution.method.Weighted`."""
_Item = TypeVar("_Item")
Found = dict[str, NDArray[Any]]
"""What the host keeps of a batch; see `found_of`."""


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
    """

    maps: Maps
    samples: Rows = field(default_factory=lambda: Rows(SAMPLES))
    targets: Rows = field(default_factory=lambda: Rows(TARGETS))
    features: Rows = field(default_factory=lambda: Rows(FEATURES))
    checks: Rows = field(default_factory=lambda: Rows(CHECKS))
    scorer: Scorer | None = None
    check: QuickCheck | None = None

    def tables(self) -> dict[str, dict[str, Column]]:
        """Columns of all tables, by name."""
        rows = {"samples": self.samples, "targets": self.targets, "features": self.features, "checks": self.checks}
        scores = self.scorer.result() if self.scorer is not None else {}
        return {name: table.columns() for name, table in rows.items()} | scores


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
    maps = empty_maps((len(samples), slots, *explain.grid), encoding_of(explain))
    result = ShardMaps(maps, scorer=Scorer() if read_objects else None, check=check)
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

    def sent(batch: list[Prepared | Unreadable]) -> tuple[list[Prepared | Unreadable], torch.Tensor | None]:
        pixels = [item.image.pixels for item in batch if isinstance(item, Prepared)]
        return batch, upload.send(np.stack(pixels)) if pixels else None

    # To a device of its own, a batch travels while the one before is explained.
    travelling = 1 if ahead and explain.classifier.device.type != "cpu" else 0
    for batch, pixels in map_ahead(sent, _batches(map_ahead(prepare, items, ahead), size), travelling):
        for item in batch:
            result.samples.add(**_sample_row(item))
        if pixels is not None:
            prepared = [item for item in batch if isinstance(item, Prepared)]
            _explain_batch(result, prepared, upload.receive(pixels), first_row, explain, config)
    if check is not None:
        result.checks.extend(check.result())
    return result


def _batches(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while batch := list(islice(items, size)):
        yield batch


def _explain_batch(
    result: ShardMaps,
    batch: Sequence[Prepared],
    pixels: torch.Tensor,
    first_row: int,
    explain: Method,
    config: RunConfig,
) -> None:
    """Explain images whose pixels [B, S, S, 3] lie on the method's device, and read what came of them once."""
    labels = [prepared.image.sample.labels for prepared in batch]
    slots, weighted = result.maps.shape[1], result.scorer is not None

    def part(places: slice) -> Found:
        images = explain.classifier.preprocessing.normalise(pixels[places])
        choose = partial(choose_targets, config.roles, labels[places], slots=slots)
        return found_of(explain.attribute(images, choose), weighted)

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
    if result.scorer is not None:
        weighted = (found["weights"][place], found["activation"][place]) if "weights" in found else None
        _score(result, result.scorer, prepared, rows, weighted, first_row)


def _score(
    result: ShardMaps,
    scorer: Scorer,
    prepared: Prepared,
    rows: Rows,
    weighted: _Weighted | None,
    first_row: int,
) -> None:
    """Score a sample from its maps as stored, and keep what its heat off the objects comes from.

    Args:
        rows: of the table `targets`.
    """
    image, maps, mask = prepared.image, result.maps[prepared.image.row - first_row], prepared.objects.mask
    targets = Targets.at(rows.columns(), range(len(rows)))
    scored = score_sample(Explained(image.row, image.size, image.view, prepared.objects, targets, maps))
    scorer.add(scored)
    if result.check is not None and mask is not None:
        result.check.add(image, mask, targets, np.array(rows.column("probability"), np.float32), scored.scores)
    if scored.placed is not None and weighted is not None:
        _add_features(result.features, image.row, targets, scored.placed, weighted)


def _add_features(features: Rows, row: int, targets: Targets, placed: Placed, weighted: _Weighted) -> None:
    slots, (weights, activation) = targets.slots[targets.usable], weighted
    part = placed.off_and_warm((activation.shape[1], activation.shape[2]))
    relevance = relevance_in(part, weights[slots], activation)
    features.extend(
        {
            "sample": [row] * len(slots),
            "slot": slots.tolist(),
            "relevance": [None if vector is None else vector.astype(np.float16) for vector in relevance],
        }
    )


def encoding_of(explain: Method) -> str:
    """How a run keeps the method's maps, one of `audit.store.maps.ENCODINGS`: many pixels have fewer bits each."""
    return "int8" if explain.pixels else "float16"


def by_peak(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw maps [B, K, h, w] -> the maps divided by their peaks, and the peaks [B, K].

    NaN where the peak is not positive or anything is not finite: such a map is no evidence.
    """
    peaks = raw.amax(dim=(2, 3))
    usable = raw.isfinite().all(dim=3).all(dim=2) & (peaks > 0)
    return raw / torch.where(usable, peaks, torch.nan)[:, :, None, None], peaks


def found_of(explained: Attribution, weighted: bool) -> Found:
    """What the host keeps of a batch, worked out where the batch lies and brought over in one transfer.

    Arrays by name: `maps` [B, K, h, w] divided by their `peak`; by target [B, K] also `class_id`, `rank` of its logit
    (0 = predicted), `logit`, `probability`, whether all of the map is `finite`. Where asked and there, `weights` and
    `activation`, see `audit.attribution.method.Weighted`.
    """
    maps, peaks = by_peak(explained.maps)
    places = explained.class_ids.clamp(min=0)
    logit = explained.logits.gather(1, places)
    found = {
        "maps": maps,
        "peak": peaks,
        "class_id": explained.class_ids,
        "rank": (explained.logits[:, None] > logit[:, :, None]).sum(dim=2),
        "logit": logit,
        "probability": explained.probabilities.gather(1, places),
        "finite": explained.maps.isfinite().all(dim=3).all(dim=2),
    }
    if weighted and explained.weighted is not None:
        found |= {"weights": explained.weighted.weights, "activation": explained.weighted.activation}
    return fetch(found)


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


def _status(explain: Method, class_id: int, finite: bool, peak: float) -> str:
    if not explain.classifier.named[class_id]:
        return "no_output"
    if not finite:
        return "not_finite"
    return "ok" if peak > 0 else "no_evidence"
