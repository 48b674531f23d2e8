"""From maps and objects to the tables of scores, of context and of pooled confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.datasets.objects import Objects, read_objects
from audit.findings.grid import Placed
from audit.findings.null import shift_null
from audit.findings.placement import by_cell, centre_energy, on_other_classes, peak_distance
from audit.metrics import Confusion, Scene, Scores, score
from audit.store.layout import CELLS, CONTEXT, LEVELS
from audit.store.quantised import Quantised
from audit.views import View
from pipelines.ahead import map_ahead

_AHEAD = 16
_NUMBERS = ("area", "energy", "lift", "best_iou")
_PLACED = ("p_low", "p_high", "attainable", "centre_energy", "peak_distance")
_CELLS = ("heat", "off_heat", "off_area")
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
    def at(cls, rows: Mapping[str, Sequence[Any]], places: Sequence[int]) -> Targets:
        """Those at some places of columns of the table `targets`."""
        return cls(
            np.array([rows["slot"][place] for place in places]),
            np.array([rows["class_id"][place] for place in places]),
            np.array([rows["status"][place] == "ok" for place in places]),
            np.array([rows["role"][place] == "label" for place in places]),
        )


class Scorer:
    """Scores sample after sample and keeps the rows of `scores`, `context` and `confusion`."""

    def __init__(self) -> None:
        self._scores: list[dict[str, NDArray[Any]]] = []
        self._context: list[tuple[int, int, int, float, float]] = []
        self._pooled: list[Confusion] = []

    def add(
        self, row: int, size: tuple[int, int], view: View, known: Objects, targets: Targets, maps: Any
    ) -> Placed | None:
        """Score a sample's targets.

        Args:
            row: of the sample in the manifest.
            size: (height, width) of the upright image.
            known: of its objects.
            maps: [K, h, w] by slot, as stored.

        Returns:
            The maps of the usable targets as placed; None without any.
        """
        rows = _begin(row, targets, known)
        self._scores.append(rows)
        usable = targets.usable
        if not usable.any():
            return None
        own, class_ids = maps[targets.slots[usable]], targets.class_ids[usable]
        placed = Placed.of(own, view, known.mask, class_ids, size)
        for name, cells in by_cell(placed).items():
            rows[name][usable] = cells
        if known.mask is not None:
            scene = Scene.seen(own, view, known.mask, class_ids)
            _fill(rows, usable, score(scene), _placement(placed), known.rests_on)
            self._add_context(row, targets.slots[usable], on_other_classes(placed, view, known.mask, class_ids))
            if known.rests_on == "mask":
                self._pool(scene, targets.labels[usable] if targets.labels.any() else np.ones(len(own), bool))
        return placed

    def tables(self) -> dict[str, dict[str, Any]]:
        """Columns of the tables."""
        names = _begin(0, Targets(*(np.zeros(0, int),) * 2, *(np.zeros(0, bool),) * 2), Objects())
        parts = self._scores or [names]
        context = list(zip(*self._context, strict=True)) or [()] * len(CONTEXT.names)
        pooled = Confusion.merge(self._pooled)
        return {
            "scores": {name: np.concatenate([part[name] for part in parts]) for name in names},
            "context": dict(zip(CONTEXT.names, map(list, context), strict=True)),
            "confusion": {name: getattr(pooled, name) for name in ("predicted", "true", "level", "count")},
        }

    def _add_context(self, row: int, slots: NDArray[np.int64], found: Sequence[tuple[int, int, float, float]]) -> None:
        self._context += [(row, int(slots[place]), other, heat, area) for place, other, heat, area in found]

    def _pool(self, scene: Scene, seeds: NDArray[np.bool_]) -> None:
        if seeds.any():
            self._pooled.append(scene.confusion(seeds))


def score_samples(
    samples: Sequence[Sample],
    maps: NDArray[np.floating] | Quantised,
    sample_rows: Mapping[str, Sequence[Any]],
    target_rows: Mapping[str, Sequence[Any]],
    mask_kind: str,
    class_count: int,
) -> tuple[dict[str, dict[str, Any]], set[int]]:
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

    for place, known in enumerate(map_ahead(read, range(len(samples)), _AHEAD)):
        passing |= {first + place} if known.transient else set()
        if places[place]:
            view = View(*(sample_rows[name][place] for name in ("x0", "y0", "x1", "y1")))
            targets = Targets.at(target_rows, places[place])
            scorer.add(first + place, sizes[place], view, known, targets, maps[place])
    return scorer.tables(), passing


def _begin(row: int, targets: Targets, known: Objects) -> dict[str, NDArray[Any]]:
    """Rows of the table `scores` for all targets of a sample, to be filled in where they can be scored."""
    count = len(targets.slots)
    missing = "bad_mask" if known.reason else "no_mask" if known.mask is None else "scored"
    rows: dict[str, NDArray[Any]] = {
        "sample": np.full(count, row),
        "slot": targets.slots,
        "status": np.where(targets.usable, missing, "no_map").astype(object),
        "reason": np.full(count, known.reason, object),
        "best_level": np.full(count, None, object),
        "rests_on": np.full(count, None, object),
        "inside": np.zeros((count, LEVELS), np.int32),
        "outside": np.zeros((count, LEVELS), np.int32),
    }
    rows |= {name: np.full((count, CELLS * CELLS), np.nan, np.float16) for name in _CELLS}
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
    for name in ("energy", "lift", *(() if boxed else ("best_iou", "best_level"))):
        rows[name][present] = getattr(scores, name)[~absent]
    for name, values in placement.items():
        rows[name][present] = values[~absent]


def _by_sample(rows: Mapping[str, Sequence[Any]], first: int, count: int) -> list[list[int]]:
    """Places of each sample's target rows."""
    places: list[list[int]] = [[] for _ in range(count)]
    for place, row in enumerate(rows["sample"]):
        places[row - first].append(place)
    return places
