"""From a shard of samples to maps and targets: decode ahead, explain in batches, account for every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch

from audit.attribution import Method
from audit.attribution.targets import WORD, role_of
from audit.datasets import Readable, Sample, Unreadable
from audit.images import batches, cut, map_ahead
from audit.models.aimed.detectors import Detector
from audit.models.aimed.kind import Given
from audit.models.aimed.regions import RegionClassifier
from audit.models.device import HALVING, Upload
from audit.scores.given.detected import Detected
from audit.scores.given.segmented import Segmented
from audit.scores.scorer import Scorer, Targets
from audit.store.layout import CHANNELS, CHECKS, DETECTIONS, FEATURES, SAMPLES, SEGMENTATIONS, TARGETS
from audit.store.maps.files import Maps, empty_maps
from audit.store.tables.parts import Column, Rows, in_order
from pipelines.run.config import RunConfig
from pipelines.run.shards.found import Found, explained
from pipelines.run.shards.quick_check import QuickCheck
from pipelines.run.shards.reading import Prepared, Reader
from pipelines.run.shards.scorers import InOrder, Scorers
from pipelines.run.shards.scoring import Batch, GivenItself, ScoredBatch, Subject

_KEPT = ("rank", "logit", "probability", "peak", "finite")


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
    reader: Reader,
    check: QuickCheck | None = None,
    scorers: Scorers | None = None,
    begun: Callable[[], None] = lambda: None,
) -> ShardMaps:
    """Explain the targets of consecutive samples, and score them on the way.

    Args:
        samples: they begin at row `first_row` of the manifest.
        explain: the method, entered.
        slots: K.
        reader: reads them. Nothing is scored where it reads no objects.
        check: asks again about some targets that are scored; nobody does without.
        scorers: processes that read objects and score; the same is done here without.
        begun: called when the last sample is on its way: whoever comes next may begin to read.
    """

    def items() -> Iterator[tuple[int, Sample]]:
        yield from enumerate(samples, first_row)
        begun()

    shard = _Shard(explain, config, first_row, _room(len(samples), slots, explain, reader, check), reader)
    scoring, upload = InOrder(shard.keep, scorers), Upload(explain.classifier.device)
    for batch, pixels in _sent(items(), reader, upload, config.batch_size):
        shard.fail([item for item in batch if isinstance(item, Unreadable)])
        if pixels is not None:
            prepared = [item for item in batch if isinstance(item, Prepared)]
            for part, found in shard.explained(prepared, upload.receive(pixels)):
                subjects = [shard.take(item, found, place) for place, item in enumerate(part)]
                scoring.put([item.image for item in part], shard.about(found, subjects))
    scoring.finish()
    if check is not None:
        shard.result.checks.extend(check.result())
    return shard.result


def _room(count: int, slots: int, explain: Method, reader: Reader, check: QuickCheck | None) -> ShardMaps:
    """Room for the maps and rows of so many samples."""
    return ShardMaps(
        empty_maps((count, slots, *explain.grid), encoding_of(explain)),
        scorer=Scorer() if reader.objects else None,
        check=check,
        detections=Rows(DETECTIONS) if isinstance(explain.classifier, Detector) else None,
        segmentations=Rows(SEGMENTATIONS) if isinstance(explain.classifier, RegionClassifier) else None,
    )


def _sent(
    items: Iterator[tuple[int, Sample]], reader: Reader, upload: Upload, batch_size: int
) -> Iterator[tuple[list[Prepared | Unreadable], torch.Tensor | None]]:
    """Batches of one shape, with the pixels [B, H, W, 3] of those that can be read on their way to the device.

    To a device of its own, a batch travels while the one before is explained.
    """
    size = batch_size if reader.before is None else 1

    def shape(item: Prepared | Unreadable) -> tuple[int, int]:
        return reader.fit.given(*(item.image.size if isinstance(item, Prepared) else (1, 1)))

    def send(batch: list[Prepared | Unreadable]) -> tuple[list[Prepared | Unreadable], torch.Tensor | None]:
        pixels = [cut(item.image.pixels, reader.fit, item.image.size) for item in batch if isinstance(item, Prepared)]
        return batch, upload.send(np.stack(pixels)) if pixels else None

    travelling = int(reader.before is None and upload.device.type != "cpu")
    yield from map_ahead(send, batches(reader.ahead(items, size), size, shape), travelling)


@dataclass(frozen=True)
class _Shard:
    """A shard under way: what is found of its samples, and where it is kept."""

    explain: Method
    config: RunConfig
    first_row: int
    result: ShardMaps
    reader: Reader

    def fail(self, items: Sequence[Unreadable]) -> None:
        """Account for samples that cannot be read."""
        for item in items:
            self.result.samples.add(**_failed(item))

    def explained(self, batch: Sequence[Prepared], pixels: torch.Tensor) -> Iterator[tuple[list[Prepared], Found]]:
        """Explain images whose pixels [B, H, W, 3] lie on the device: parts of them, with what came of each."""
        samples, slots = [prepared.image.sample for prepared in batch], self.result.maps.shape[1]

        def part(places: slice) -> Found:
            images = self.explain.classifier.preprocessing.normalise(pixels[places])
            weighted = self.reader.objects is not None
            return explained(self.explain, images, samples[places], self.config.roles, slots, weighted)

        rest = iter(batch)
        for found in HALVING(part, len(batch)):
            yield list(islice(rest, len(found["maps"]))), found

    def take(self, item: Prepared, found: Found, place: int) -> Subject:
        """Keep what was found of the image at a place of a batch; gives what its scores are formed from."""
        image, stored = item.image, item.image.row - self.first_row
        self.result.maps[stored] = found["maps"][place]
        rows = _target_rows(image, found, place, self.explain, self.config.roles)
        self.result.targets.extend(rows)
        return Subject(
            image.row,
            image.sample,
            image.size,
            image.view,
            len(image.pixels),
            Targets.at(rows, range(len(rows["slot"]))),
            np.array(rows["probability"], np.float32),
            self.result.maps[stored],
            item.objects,
            _given(self.result, image, rows, found, place),
        )

    def about(self, found: Found, subjects: Sequence[Subject]) -> Batch:
        """What is to be scored."""
        weights, activation = found.get("weights"), found.get("activation")
        classes, objects = len(self.explain.classifier.classes), self.reader.objects
        return Batch(
            subjects, weights, activation, classes, objects, objects is not None, self.result.check is not None
        )

    def keep(self, images: Sequence[Readable], batch: Batch, scored: ScoredBatch) -> None:
        """Keep what was made of a batch."""
        result = self.result
        for image, transient in zip(images, scored.transient, strict=True):
            result.samples.add(**_processed(image, transient))
        if result.detections is not None:
            result.detections.merge(scored.detections)
        result.features.merge(scored.features)
        result.channels.merge(scored.channels)
        if result.scorer is not None:
            result.scorer.merge(scored.scorer)
        if result.check is not None:
            about = {image.row: (image, subject) for image, subject in zip(images, batch.subjects, strict=True)}
            for suspect in scored.suspects:
                image, subject = about[suspect.row]
                result.check.add(image, suspect, _asked(subject, suspect.slot))


def _given(
    result: ShardMaps, image: Readable, rows: Mapping[str, Column], found: Found, place: int
) -> GivenItself | None:
    """What the network gave itself for the image at a place of a batch, or its text; None of a classifier.

    Args:
        rows: of the table `targets`, as columns.
    """
    if result.detections is not None:
        return _detected(image, found, place)
    if result.segmentations is not None:
        regions = Segmented(found["labels"][place], image.view, image.size)
        result.segmentations.add(sample=image.row, labels=regions.png())
        return regions
    return image.sample.attributes.get("text") if rows["role"][:1] == [WORD] else None


def _asked(subject: Subject, slot: int) -> Given | None:
    """What the network is asked again by about the target of a slot; None of a classifier."""
    if isinstance(subject.given, Detected):
        return subject.given.asked(slot)
    return subject.given.labels if isinstance(subject.given, Segmented) else subject.given


def encoding_of(explain: Method) -> str:
    """How a run keeps the method's maps, one of `ENCODINGS`: many pixels have fewer bits each."""
    return "int8" if explain.pixels else "float16"


def _failed(item: Unreadable) -> dict[str, object]:
    """A row of the table `samples`; what is not known of a sample that failed is null."""
    row = {"sample": item.row, "id": item.sample.id, "status": "failed", "reason": item.reason}
    return dict.fromkeys(SAMPLES.names) | row | {"transient": item.transient}


def _processed(image: Readable, transient: bool) -> dict[str, object]:
    """A row of the table `samples`.

    Args:
        transient: whether its mask may be read later.
    """
    return {
        "sample": image.row,
        "id": image.sample.id,
        "status": "processed",
        "reason": None,
        "transient": transient,
        "height": image.size[0],
        "width": image.size[1],
        **asdict(image.view),
        "digest": image.digest,
        "look": image.look,
    }


def _target_rows(
    image: Readable, found: Found, place: int, explain: Method, roles: Sequence[str]
) -> dict[str, list[Any]]:
    """Columns of the table `targets` of the image at a place of a batch."""
    class_ids = found["class_id"][place].tolist()
    slots = [slot for slot, class_id in enumerate(class_ids) if class_id >= 0]
    kept = {name: [found[name][place, slot].item() for slot in slots] for name in _KEPT}
    ids = [class_ids[slot] for slot in slots]
    seen = zip(ids, kept["finite"], kept["peak"], strict=True)
    del kept["finite"]
    return kept | {
        "sample": [image.row] * len(slots),
        "slot": slots,
        "class_id": ids,
        "role": [
            role_of(class_id, image.sample.labels, rank, roles)
            for class_id, rank in zip(ids, kept["rank"], strict=True)
        ],
        "status": [_status(explain, *each) for each in seen],
        "class": [explain.classifier.classes[class_id] for class_id in ids],
    }


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
