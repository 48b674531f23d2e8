"""From a shard's maps and masks to scores and pooled confusion counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.errors import MaskError, TransientError
from audit.findings import shift_null
from audit.masks import read_mask
from audit.metrics import Confusion, Scene, Scores, score
from audit.store.layout import LEVELS, SCORES
from audit.store.quantised import Quantised
from audit.views import View
from pipelines.attribute import map_ahead

_AHEAD = 16
_NUMBERS = ("area", "energy", "lift", "best_iou")
_FLAGS = ("hit", "hit_15px", "centre_hit", "centre_hit_15px")


def score_samples(
    samples: Sequence[Sample],
    maps: NDArray[np.floating] | Quantised,
    sample_rows: Mapping[str, Sequence[Any]],
    target_rows: Mapping[str, Sequence[Any]],
    mask_kind: str,
    class_count: int,
    before: Callable[[int], None] | None = None,
) -> tuple[dict[str, Any], dict[str, Any], set[int]]:
    """Score every target of consecutive samples.

    Args:
        samples: of the shard.
        maps: [n, K, h, w] as stored.
        sample_rows, target_rows: the shard's rows of those tables, as columns.
        before: called with a row before its mask is touched; nothing is then read ahead.

    Returns:
        Columns of the tables `scores` and `confusion`, and the rows whose mask could not be read now but may be later.
    """
    first = sample_rows["sample"][0]
    targets = _by_sample(target_rows, first, len(samples))
    sizes = list(zip(sample_rows["height"], sample_rows["width"], strict=True))
    passing: set[int] = set()

    def read(place: int) -> NDArray[np.int16] | str | None:
        if before is not None:
            before(first + place)
        try:
            return _mask_or_reason(samples[place], mask_kind, sizes[place], class_count) if targets[place] else None
        except TransientError as error:
            passing.add(first + place)
            return str(error)

    table = _ScoreTable()
    pooled = []
    for place, mask in enumerate(map_ahead(read, range(len(samples)), 0 if before is not None else _AHEAD)):
        rows = targets[place]
        if not rows:
            continue
        view = View(*(sample_rows[name][place] for name in ("x0", "y0", "x1", "y1")))
        slots = np.array([target_rows["slot"][row] for row in rows])
        class_ids = np.array([target_rows["class_id"][row] for row in rows])
        usable = np.array([target_rows["status"][row] == "ok" for row in rows])
        by_label = np.array([target_rows["role"][row] == "label" for row in rows])
        table.begin(first + place, slots, usable, mask)
        if isinstance(mask, np.ndarray) and usable.any():
            scene = Scene.seen(maps[place, slots[usable]], view, mask, class_ids[usable])
            null = shift_null(maps[place, slots[usable]], view, mask, class_ids[usable])
            table.fill(usable, score(scene), null)
            seeds = by_label[usable] if by_label.any() else np.ones(int(usable.sum()), bool)
            pooled.append(scene.confusion(seeds)) if seeds.any() else None
    return table.columns(), _confusion_columns(Confusion.merge(pooled)), passing


class _ScoreTable:
    """Rows of the table `scores`, begun for all targets of a sample and filled in where they can be scored."""

    def __init__(self) -> None:
        self._parts: list[dict[str, NDArray[Any]]] = []

    def begin(
        self, row: int, slots: NDArray[np.int64], usable: NDArray[np.bool_], mask: NDArray[np.int16] | str | None
    ) -> None:
        count = len(slots)
        missing = "no_mask" if mask is None else "bad_mask" if isinstance(mask, str) else "scored"
        part: dict[str, NDArray[Any]] = {
            "sample": np.full(count, row),
            "slot": slots,
            "status": np.where(usable, missing, "no_map").astype(object),
            "reason": np.full(count, mask if isinstance(mask, str) else None, object),
            "best_level": np.full(count, None, object),
            "inside": np.zeros((count, LEVELS), np.int32),
            "outside": np.zeros((count, LEVELS), np.int32),
        }
        part |= {name: np.full(count, np.nan) for name in (*_NUMBERS, "p_low", "p_high")}
        part |= {name: np.full(count, None, object) for name in _FLAGS}
        self._parts.append(part)

    def fill(
        self, usable: NDArray[np.bool_], scores: Scores, null: tuple[NDArray[np.float64], NDArray[np.float64]]
    ) -> None:
        part = self._parts[-1]
        for name in ("inside", "outside", "area", *_FLAGS):
            part[name][usable] = getattr(scores, name)
        absent = scores.area == 0
        present = usable.copy()
        present[usable] = ~absent
        part["status"][usable] = np.where(absent, "absent", "scored")
        for name in ("energy", "lift", "best_iou", "best_level"):
            part[name][present] = getattr(scores, name)[~absent]
        part["p_low"][present], part["p_high"][present] = null[0][~absent], null[1][~absent]

    def columns(self) -> dict[str, Any]:
        empty: dict[str, NDArray[Any]] = {name: np.empty(0, object) for name in SCORES.names}
        empty |= {name: np.zeros((0, LEVELS), np.int32) for name in ("inside", "outside")}
        return {name: np.concatenate([p[name] for p in self._parts]) if self._parts else empty[name] for name in empty}


def _mask_or_reason(
    sample: Sample, mask_kind: str, size: tuple[int, int], class_count: int
) -> NDArray[np.int16] | str | None:
    """The sample's mask, why it cannot be used, or None where it has none."""
    if sample.mask is None and sample.regions is None:
        return None
    try:
        return read_mask(sample, mask_kind, size, class_count)
    except MaskError as error:
        return str(error)


def _by_sample(rows: Mapping[str, Sequence[Any]], first: int, count: int) -> list[list[int]]:
    """Places of each sample's target rows."""
    places: list[list[int]] = [[] for _ in range(count)]
    for place, row in enumerate(rows["sample"]):
        places[row - first].append(place)
    return places


def _confusion_columns(pooled: Confusion) -> dict[str, Any]:
    return {name: getattr(pooled, name) for name in ("predicted", "true", "level", "count")}
