"""From maps and objects to the tables of scores, of context and of pooled confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.datasets.objects import Objects, read_objects
from audit.images import View, map_ahead
from audit.scores import Confusion, ConfusionPool, Scene, Scores, score
from audit.scores.placed import Placed
from audit.scores.placement import by_cell, centre_energy, on_other_classes, peak_distance
from audit.scores.shift_null import shift_null
from audit.store.layout import CELLS, CONFUSION, CONTEXT, LEVELS, SCORES
from audit.store.quantised import Quantised
from audit.store.tables import Column, Rows

_AHEAD = 16
_NUMBERS = ("area", "energy", "lift", "best_iou")
_PLACED = ("p_low", "p_high", "attainable", "centre_energy", "peak_distance")
_SHARES = ("heat", "off_heat", "off_area")
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
    """

    row: int
    size: tuple[int, int]
    view: View
    objects: Objects
    targets: Targets
    maps: NDArray[np.floating]


@dataclass(frozen=True)
class Scored:
    """What became of a sample's targets.

    Attributes:
        scores: columns of the table `scores`, a row for every target.
        context: rows of the table `context`.
        confusion: of its pixels; None where it has no mask to count against.
        placed: the maps of the usable targets as placed; None without any.
    """

    scores: Mapping[str, NDArray[Any]]
    context: Rows = field(default_factory=lambda: Rows(CONTEXT))
    confusion: Confusion | None = None
    placed: Placed | None = None


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
    usable, mask = sample.targets.usable, sample.objects.mask
    rows = _begin(sample.row, sample.targets, sample.objects)
    if not usable.any():
        return Scored(rows)
    slots, class_ids = sample.targets.slots[usable], sample.targets.class_ids[usable]
    maps = sample.maps[slots]
    placed = Placed.of(maps, sample.view, mask, class_ids, sample.size)
    for name, cells in by_cell(placed).items():
        rows[name][usable] = cells
    known = sample.objects.cover(class_ids)
    if mask is None or not known.any():
        return Scored(rows, placed=placed)
    scene = Scene.of(maps[known], sample.view, mask, class_ids[known])
    placement = {name: values[known] for name, values in _placement(placed).items()}
    judged = usable.copy()
    judged[usable] = known
    _fill(rows, judged, score(scene), placement, sample.objects.rests_on)
    on_others = [row for row in on_other_classes(placed, class_ids) if known[row[0]]]
    context = _context(sample.row, slots, on_others)
    return Scored(rows, context, _confusion(scene, sample), placed)


def _context(row: int, slots: NDArray[np.int64], on_others: Sequence[tuple[int, int, float, float]]) -> Rows:
    rows = Rows(CONTEXT)
    for place, class_id, heat, area in on_others:
        rows.add(sample=row, slot=int(slots[place]), class_id=class_id, heat=heat, area=area)
    return rows


def _confusion(scene: Scene, sample: Explained) -> Confusion | None:
    """Of the maps of labels, or of all where the sample has no label; boxes are no outlines to count against."""
    targets = sample.targets
    seeds = targets.labels[targets.usable] if targets.labels.any() else np.ones(targets.usable.sum(), bool)
    return scene.confusion(seeds) if sample.objects.rests_on == "mask" and seeds.any() else None


def score_samples(
    samples: Sequence[Sample],
    maps: NDArray[np.floating] | Quantised,
    sample_rows: Mapping[str, Column],
    target_rows: Mapping[str, Column],
    mask_kind: str,
    class_count: int,
) -> tuple[dict[str, dict[str, Column]], set[int]]:
    """Score every target of consecutive samples from their stored maps.

    Args:
        samples: of the shard.
        maps: [n, K, h, w] as stored.
        sample_rows, target_rows: the shard's rows of those tables, as columns.

    Returns:
        Columns of the tables of `Scorer`, and the rows whose mask could not be read now but may be later.
    """
    first = sample_rows["sample"][0]
    places = _by_sample(target_rows, first, len(samples))
    sizes = list(zip(sample_rows["height"], sample_rows["width"], strict=True))
    scorer, passing = Scorer(), set()

    def read(place: int) -> Objects:
        return read_objects(samples[place], mask_kind, sizes[place], class_count) if places[place] else Objects()

    for place, objects in enumerate(map_ahead(read, range(len(samples)), _AHEAD)):
        passing |= {first + place} if objects.transient else set()
        if places[place]:
            view = View(*(sample_rows[name][place] for name in ("x0", "y0", "x1", "y1")))
            targets = Targets.at(target_rows, places[place])
            explained = Explained(first + place, sizes[place], view, objects, targets, maps[place])
            scorer.add(score_sample(explained))
    return scorer.result(), passing


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
    boxed = rests_on == "boxes"  # an IoU with a filled box says nothing
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
