"""From maps and objects to the tables of scores, of context and of pooled confusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.datasets.objects import Objects, OwnObject, read_objects
from audit.images import View, map_ahead
from audit.scores import Confusion, ConfusionPool, Scene, Scores, score
from audit.scores.given.detected import Detected
from audit.scores.given.segmented import Segmented
from audit.scores.placed import Placed
from audit.scores.placement import by_cell, centre_energy, on_other_classes, peak_distance
from audit.scores.shift_null import shift_null
from audit.store.layout import CELLS, CONFUSION, CONTEXT, DETECTIONS, LEVELS, SCORES
from audit.store.maps.quantised import Quantised
from audit.store.tables.parts import Column, Rows

_AHEAD = 16
_NUMBERS = ("area", "energy", "lift", "best_iou")
_PLACED = ("p_low", "p_high", "attainable", "centre_energy", "peak_distance")
_SHARES = ("on_heat", "off_heat", "off_area")
_FLAGS = ("hit", "hit_15px", "centre_hit", "centre_hit_15px")


@dataclass(frozen=True)
class Targets:
    """The targets of one sample.

    Attributes:
        slots, class_ids: [k].
        usable: [k] whether there is a map.
        labels: [k] whether the role is `label`.
    """

    slots: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    usable: NDArray[np.bool_]
    labels: NDArray[np.bool_]

    def taken(self, place: int) -> Targets:
        """One of them."""
        return Targets(*(values[place : place + 1] for values in vars(self).values()))

    @classmethod
    def at(cls, rows: Mapping[str, Column], places: Sequence[int]) -> Targets:
        """Those at some places of columns of the table `targets`."""
        return cls(
            np.array([rows["slot"][place] for place in places]),
            np.array([rows["class_id"][place] for place in places]),
            np.array([rows["status"][place] == "ok" for place in places]),
            np.array([rows["role"][place] == "label" for place in places]),
        )


@dataclass(frozen=True)
class Explained:
    """A sample that was explained: all that its scores are formed from.

    Attributes:
        row: of the sample in the manifest.
        size: (height, width) of the upright image.
        view: what the network saw of it.
        maps: [K, h, w] by slot, as stored.
        own: objects [k] that the targets bring along; None where a target's object is that of its class.
    """

    row: int
    size: tuple[int, int]
    view: View
    objects: Objects
    targets: Targets
    maps: NDArray[np.floating]
    own: Sequence[OwnObject] | None = None

    def parts(self) -> Iterator[Part]:
        """The targets, those that share a mask together."""
        if self.own is None:
            yield Part(self.targets, self.objects, self.targets.class_ids)
            return
        for place, own in enumerate(self.own):
            targets = self.targets.taken(place)
            objects, object_id = own.among(self.objects, int(targets.class_ids[0]), self.size)
            yield Part(targets, objects, np.array([object_id]))


class Part(NamedTuple):
    """Targets of a sample [k] that share a mask.

    Attributes:
        object_ids: [k] class of each target's object in the mask: its own class, or one that stands for the target.
    """

    targets: Targets
    objects: Objects
    object_ids: NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """What became of a sample's targets.

    Attributes:
        scores: columns of the table `scores`, a row for every target.
        context: rows of the table `context`.
        confusion: of its pixels; None where it has no mask to count against.
        placed: the maps of the usable targets as placed, those that share a mask together.
    """

    scores: Mapping[str, NDArray[Any]]
    context: Rows = field(default_factory=lambda: Rows(CONTEXT))
    confusion: Confusion | None = None
    placed: tuple[Placed, ...] = ()


class Scorer:
    """Gathers the rows of `scores`, `context` and `confusion`, sample after sample."""

    def __init__(self) -> None:
        self._scores, self._context, self._confusion = Rows(SCORES), Rows(CONTEXT), ConfusionPool()

    def add(self, part: Scored) -> None:
        """Take a sample's."""
        self._scores.extend(part.scores)
        self._context.merge(part.context)
        if part.confusion is not None:
            self._confusion.add(part.confusion)

    def merge(self, other: Scorer) -> None:
        """Take all that another holds, behind what is here."""
        self._scores.merge(other._scores)
        self._context.merge(other._context)
        self._confusion.merge(other._confusion)

    def result(self) -> dict[str, dict[str, Column]]:
        """Columns of the tables."""
        pooled = self._confusion.result()
        return {
            "scores": self._scores.columns(),
            "context": self._context.columns(),
            "confusion": {name: getattr(pooled, name) for name in CONFUSION.names},
        }


def score_sample(sample: Explained) -> Scored:
    """Score the targets of a sample."""
    scored = [_score_part(sample, part) for part in sample.parts()]
    if len(scored) == 1:
        return scored[0]
    context = Rows(CONTEXT)
    for part in scored:
        context.merge(part.context)
    names = scored[0].scores if scored else _begin(sample.row, sample.targets, sample.objects)
    scores = {name: np.concatenate([part.scores[name] for part in scored]) for name in names} if scored else names
    return Scored(scores, context, placed=tuple(placed for part in scored for placed in part.placed))


def _score_part(sample: Explained, part: Part) -> Scored:
    """Score targets that share a mask."""
    targets, objects, object_ids = part
    usable, mask = targets.usable, objects.mask
    rows = _begin(sample.row, targets, objects)
    if not usable.any():
        return Scored(rows)
    slots, class_ids = targets.slots[usable], object_ids[usable]
    maps = sample.maps[slots]
    placed = Placed.of(maps, sample.view, mask, class_ids, sample.size)
    for name, cells in by_cell(placed).items():
        rows[name][usable] = cells
    known = objects.cover(class_ids)
    if mask is None or not known.any():
        return Scored(rows, placed=(placed,))
    scene = Scene.of(maps[known], sample.view, mask, class_ids[known])
    placement = {name: values[known] for name, values in _placement(placed).items()}
    judged = usable.copy()
    judged[usable] = known
    _fill(rows, judged, score(scene), placement, objects.rests_on)
    on_others = [row for row in on_other_classes(placed, class_ids) if known[row[0]]]
    context = _context(sample.row, slots, on_others)
    return Scored(rows, context, _confusion(scene, part), (placed,))


def _context(row: int, slots: NDArray[np.int64], on_others: Sequence[tuple[int, int, float, float]]) -> Rows:
    rows = Rows(CONTEXT)
    for place, class_id, heat, area in on_others:
        rows.add(sample=row, slot=int(slots[place]), class_id=class_id, heat=heat, area=area)
    return rows


def _confusion(scene: Scene, part: Part) -> Confusion | None:
    """Of the maps of labels, or of all where the sample has no label; boxes are no outlines to count against."""
    targets = part.targets
    seeds = targets.labels[targets.usable] if targets.labels.any() else np.ones(targets.usable.sum(), bool)
    return scene.confusion(seeds) if part.objects.rests_on == "mask" and seeds.any() else None


def score_samples(
    samples: Sequence[Sample],
    maps: NDArray[np.floating] | Quantised,
    sample_rows: Mapping[str, Column],
    target_rows: Mapping[str, Column],
    mask_kind: str,
    class_count: int,
    detection_rows: Mapping[str, Column] | None = None,
    segmentation_rows: Mapping[str, Column] | None = None,
) -> tuple[dict[str, dict[str, Column]], set[int]]:
    """Score every target of consecutive samples from their stored maps.

    Args:
        samples: of the shard.
        maps: [n, K, h, w] as stored.
        sample_rows, target_rows: the shard's rows of those tables, as columns.
        detection_rows: those of a detector, whose targets are its boxes.
        segmentation_rows: those of a network that segments, whose targets are its regions.

    Returns:
        Columns of the tables of `Scorer`, and of `detections`; and the rows whose mask could not be read now but may be
        later.
    """
    first = sample_rows["sample"][0]
    places = _by_sample(target_rows, first, len(samples))
    boxes = None if detection_rows is None else _by_sample(detection_rows, first, len(samples))
    segmented = segmentation_rows or {"sample": [], "labels": []}
    regions = dict(zip(segmented["sample"], segmented["labels"], strict=True))
    sizes = list(zip(sample_rows["height"], sample_rows["width"], strict=True))
    scorer, found, passing = Scorer(), Rows(DETECTIONS), set()

    def read(place: int) -> Objects:
        asked = sizes[place][0] is not None if boxes else places[place]
        return read_objects(samples[place], mask_kind, sizes[place], class_count) if asked else Objects()

    for place, objects in enumerate(map_ahead(read, range(len(samples)), _AHEAD)):
        passing |= {first + place} if objects.transient else set()
        targets, own = Targets.at(target_rows, places[place]), None
        if detection_rows is not None and boxes is not None and sizes[place][0] is not None:
            detected = Detected.at(detection_rows, boxes[place])
            beside = detected.beside(first + place, samples[place], objects, class_count)
            found.merge(beside.rows())
            own = beside.own(targets.slots)
        if places[place]:
            view = View(*(sample_rows[name][place] for name in ("x0", "y0", "x1", "y1")))
            if first + place in regions:
                own = Segmented.of(regions[first + place], view, sizes[place]).own(targets.class_ids.tolist())
            explained = Explained(first + place, sizes[place], view, objects, targets, maps[place], own)
            scorer.add(score_sample(explained))
    return scorer.result() | ({} if boxes is None else {"detections": found.columns()}), passing


def _begin(row: int, targets: Targets, objects: Objects) -> dict[str, NDArray[Any]]:
    """Rows of the table `scores` for all targets of a sample, to be filled in where they can be scored."""
    count = len(targets.slots)
    missing = "bad_mask" if objects.reason else np.where(objects.cover(targets.class_ids), "scored", "no_mask")
    rows: dict[str, NDArray[Any]] = {
        "sample": np.full(count, row),
        "slot": targets.slots,
        "status": np.where(targets.usable, missing, "no_map").astype(object),
        "reason": np.full(count, objects.reason, object),
        "best_map_level": np.full(count, None, object),
        "rests_on": np.full(count, None, object),
        "inside": np.zeros((count, LEVELS), np.int32),
        "outside": np.zeros((count, LEVELS), np.int32),
    }
    rows |= {name: np.full((count, CELLS * CELLS), np.nan, np.float16) for name in _SHARES}
    rows["clear"] = np.zeros((count, CELLS * CELLS), bool)
    rows |= {name: np.full(count, np.nan) for name in (*_NUMBERS, *_PLACED)}
    return rows | {name: np.full(count, None, object) for name in _FLAGS}


def _placement(placed: Placed) -> dict[str, NDArray[np.float64]]:
    null = shift_null(placed)
    values = (null.low, null.high, null.attainable, centre_energy(placed), peak_distance(placed))
    return dict(zip(_PLACED, values, strict=True))


def _fill(
    rows: dict[str, NDArray[Any]],
    usable: NDArray[np.bool_],
    scores: Scores,
    placement: Mapping[str, NDArray[np.float64]],
    rests_on: str | None,
) -> None:
    for name in ("inside", "outside", "area", *_FLAGS):
        rows[name][usable] = getattr(scores, name)
    absent = scores.area == 0
    present = usable.copy()
    present[usable] = ~absent
    rows["status"][usable] = np.where(absent, "absent", "scored")
    rows["rests_on"][usable] = rests_on
    boxed = rests_on in ("boxes", "detection")  # an IoU with a filled box says nothing
    for name in ("energy", "lift", *(() if boxed else ("best_iou", "best_map_level"))):
        rows[name][present] = getattr(scores, name)[~absent]
    for name, values in placement.items():
        rows[name][present] = values[~absent]


def _by_sample(rows: Mapping[str, Column], first: int, count: int) -> list[list[int]]:
    """Places of each sample's target rows."""
    places: list[list[int]] = [[] for _ in range(count)]
    for place, row in enumerate(rows["sample"]):
        places[row - first].append(place)
    return places
