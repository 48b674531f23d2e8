"""Measures that follow from the scores and counts by level that a run keeps; no pixel is read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.scores.metrics.ranking import pixel_average_precision, relevance_rank_accuracy
from audit.store import Run, Shard
from audit.store.layout import LEVELS

DIFFICULT_AREA = 0.25
"""An object below this share of the image, beside one of another class, is difficult (Zhang et al., IJCV 2018)."""
LABEL = "label"
_POINTS = ("hit", "hit_15px", "centre_hit", "centre_hit_15px")


@dataclass(frozen=True)
class Pointed:
    """Hits and misses of the pointing game by class; no more than sums, so that shards add up.

    Attributes:
        hits, tries: [C] by class.
    """

    hits: NDArray[np.int64]
    tries: NDArray[np.int64]

    def result(self) -> dict[str, Any]:
        """`accuracy` over all targets, and `mean_accuracy`, the mean over classes, which TorchRay tells."""
        tries = int(self.tries.sum())
        if not tries:
            return {"targets": 0, "accuracy": None, "mean_accuracy": None}
        occurs = self.tries > 0
        mean = float((self.hits[occurs] / self.tries[occurs]).mean())
        return {"targets": tries, "accuracy": int(self.hits.sum()) / tries, "mean_accuracy": mean}


class FromScores:
    """What follows from the scores and counts that a run keeps of its labelled targets."""

    def __init__(self) -> None:
        self._inside, self._outside = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)
        self._rank: list[NDArray[np.float64]] = []
        self._mass: list[NDArray[np.float64]] = []
        self._pointed: dict[tuple[str, str], Pointed] = {}

    def add(self, scores: Mapping[str, NDArray[Any]], distracted: NDArray[np.bool_], classes: int) -> None:
        """Take a shard's.

        Args:
            scores: columns of the table `scores`, and `class_id`, of labelled targets that were scored.
            distracted: [n] whether an object of another class is in the image.
            classes: number of classes.
        """
        inside, outside = scores["inside"].reshape(-1, LEVELS), scores["outside"].reshape(-1, LEVELS)
        outlined = scores["rests_on"] == "mask"  # a filled box says nothing of pixels
        self._inside += inside[outlined].sum(axis=0)
        self._outside += outside[outlined].sum(axis=0)
        self._rank.append(relevance_rank_accuracy(inside[outlined], outside[outlined]))
        self._mass.append(scores["energy"][outlined].astype(float))
        difficult = (scores["area"] < DIFFICULT_AREA) & distracted
        for which, chosen in (("all", np.ones(len(difficult), bool)), ("difficult", difficult)):
            for point in _POINTS:
                self._point(which, point, scores[point][chosen], scores["class_id"][chosen], classes)

    def _point(self, which: str, point: str, hits: NDArray[Any], class_ids: NDArray[Any], classes: int) -> None:
        known = np.array([hit is not None for hit in hits], bool)  # the peak may lie on a void pixel
        hit = np.array([bool(value) for value in hits], bool)
        part = [np.bincount(class_ids[chosen], minlength=classes) for chosen in (known & hit, known)]
        before = self._pointed.get((which, point), Pointed(*np.zeros((2, classes), np.int64)))
        self._pointed[which, point] = Pointed(before.hits + part[0], before.tries + part[1])

    def result(self) -> dict[str, Any]:
        """`pixels`: PxAP; `relevance`: means of rank and mass accuracy over targets; `pointing`: the game's rates."""
        rank, mass = (np.concatenate([*parts, []]) for parts in (self._rank, self._mass))
        targets = len(rank)
        average = pixel_average_precision(self._inside, self._outside) if targets else None
        pointing: dict[str, Any] = {}
        for (which, point), pointed in self._pointed.items():
            pointing.setdefault(which, {})[point] = pointed.result()
        return {
            "pixels": {"targets": targets, "px_ap": average},
            "relevance": {"targets": targets, "rank_accuracy": _mean(rank), "mass_accuracy": _mean(mass)},
            "pointing": pointing,
        }


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def scored_labels(run: Run, shard: Shard) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """What `FromScores.add` takes of a shard of a run."""
    targets = run.read("targets", shard, ["sample", "slot", "class_id", "role"]).to_pylist()
    labels = {(row["sample"], row["slot"]): row["class_id"] for row in targets if row["role"] == LABEL}
    columns = ["sample", "slot", "status", "rests_on", "area", "energy", *_POINTS, "inside", "outside"]
    table = run.read("scores", shard, columns)
    keys = list(zip(*(table[name].to_pylist() for name in ("sample", "slot")), strict=True))
    states = table["status"].to_pylist()
    chosen = [key in labels and status == "scored" for key, status in zip(keys, states, strict=True)]
    table = table.filter(pa.array(chosen, pa.bool_()))
    scores = {name: _plain(table, name) for name in columns}
    keys = [key for key, kept in zip(keys, chosen, strict=True) if kept]
    scores["class_id"] = np.array([labels[key] for key in keys], np.int64)
    beside = {(row["sample"], row["slot"]) for row in run.read("context", shard, ["sample", "slot"]).to_pylist()}
    return scores, np.array([key in beside for key in keys], bool)


def _plain(table: pa.Table, name: str) -> NDArray[Any]:
    """A column as an array; lists end to end."""
    column = table[name].combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten())
    return np.asarray(column.to_numpy(zero_copy_only=False))
