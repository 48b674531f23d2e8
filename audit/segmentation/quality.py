"""How good a label set is, where masks are known: mean IoU by threshold, and of the share that is most trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import RunError
from audit.progress import Progress, silent, tracked
from audit.segmentation.confidence import confidence
from audit.segmentation.cut import Cut
from audit.segmentation.regions import NO_MAP, Pool, best_level, best_levels, level_counts
from audit.store import Shard
from audit.store.label_store import LabelStore
from audit.store.layout import LEVELS

SHARES = tuple(round(0.1 * step, 1) for step in range(1, 11))
_SUMS = ["named", "hits", "lost", "lost_background", "objects"]


def pool_regions(store: LabelStore, progress: Progress = silent) -> Pool:
    """Regions of all finished shards, summed.

    Raises:
        RunError: no shard is finished, or a part is damaged.
    """
    shards = _finished(store)
    parts = tracked(progress, "pooling", (store.read("regions", shard) for shard in shards), len(shards))
    return reduce(add, (Pool.of(part, len(store.run.classes)) for part in parts))


def best_cut(store: LabelStore, by_class: bool = False, band: float = 0.0, progress: Progress = silent) -> Cut:
    """The threshold, or one a class, with the highest mean IoU on a label set; for labels of other samples.

    Raises:
        RunError: no mask is known there.
    """
    pool = pool_regions(store, progress)
    if not pool.known:
        raise RunError(f"{store.path} has no masks to choose a threshold by; name one with --threshold")
    origin = f"{store.run.path}:{store.name}"
    own = {}
    if by_class:
        levels = best_levels(pool)
        own = {int(class_id): levels[class_id] / LEVELS for class_id in np.flatnonzero(pool.objects)}
    return Cut(best_level(pool) / LEVELS, own, band, origin)


@dataclass(frozen=True)
class Masks:
    """Every mask of a label set at its thresholds, and what its pixels are.

    Attributes:
        rows: `sample`, `class_id` (-1 for pixels without a map), `confidence` (NaN without a map), and pixels:
            `named` (of the mask), `hits` (of these, of the class), `lost` (below the threshold), `lost_background` (of
            these, of the background), `objects` (of the class in the true mask; NaN where none is known).
        class_count: of the run.
    """

    rows: pd.DataFrame
    class_count: int

    @classmethod
    def of(cls, store: LabelStore, cut: Cut, progress: Progress = silent) -> Masks:
        """Of all finished shards; a million masks take about 60 MB.

        Raises:
            RunError: no shard is finished, or a part is damaged.
        """
        shards = _finished(store)
        parts = [_masks(store, shard, cut) for shard in tracked(progress, "cutting", shards)]
        return cls(pd.concat(parts, ignore_index=True), len(store.run.classes))

    @property
    def scored(self) -> Masks:
        """Those of samples with a true mask."""
        return Masks(self.rows[self.rows["objects"].notna()], self.class_count)

    def iou(self) -> NDArray[np.float64]:
        """IoU [1 + C] of background and classes, pooled; NaN for a class that neither masks nor labels show."""
        rows = self.scored.rows
        of_class = rows[rows["class_id"] >= 0].groupby("class_id")[_SUMS].sum().reindex(range(self.class_count))
        known = of_class.fillna(0).to_numpy()
        named, hits, _, _, objects = np.concatenate([np.zeros((1, len(_SUMS))), known]).T
        named[0], hits[0] = rows["lost"].sum(), rows["lost_background"].sum()
        objects[0] = rows.loc[rows["class_id"] == NO_MAP, "objects"].sum()
        union = named + objects - hits
        return np.asarray(np.divide(hits, union, out=np.full(len(union), np.nan), where=union > 0))

    def mean_iou(self) -> float:
        """Mean of `iou`; NaN without a true mask."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    def by_trust(self, shares: Sequence[float] = SHARES) -> dict[float, float]:
        """Share of images kept, those with the most trusted masks first -> mean IoU of these.

        An image counts for what its least trusted mask does.
        """
        scored = self.scored.rows
        masks = scored[scored["class_id"] >= 0]
        least = masks.dropna(subset="confidence").groupby("sample")["confidence"].min()
        trust = least.sort_values(ascending=False, kind="stable")
        kept = {share: trust.index[: max(round(share * len(trust)), 1)] for share in shares}
        return {share: self.of_samples(samples).mean_iou() for share, samples in kept.items()} if len(trust) else {}

    def of_samples(self, samples: Sequence[int] | pd.Index) -> Masks:
        """Those of some samples."""
        return Masks(self.rows[self.rows["sample"].isin(samples)], self.class_count)


def _finished(store: LabelStore) -> list[Shard]:
    shards = store.done()
    if not shards:
        raise RunError(f"{store.path} has no finished shard; go on with `camaudit labels {store.run.path}`")
    return shards


def _masks(store: LabelStore, shard: Shard, cut: Cut) -> pd.DataFrame:
    regions = store.read("regions", shard)
    images = store.read("images", shard, ["sample", "class_ids", "probabilities"])
    probability = {
        (row["sample"], class_id): value
        for row in images.to_pylist()
        for class_id, value in zip(row["class_ids"] or (), row["probabilities"] or (), strict=True)
    }
    table: pd.DataFrame = regions.select(["sample", "class_id", "object"]).to_pandas()
    table = table.rename(columns={"object": "objects"})
    pixels = level_counts(regions["pixels"])
    keys = list(zip(table["sample"], table["class_id"], strict=True))
    at = [LEVELS if key[1] == NO_MAP else cut.level(key[1], own) for key, own in zip(keys, pixels, strict=True)]
    from_level = np.arange(LEVELS) >= np.array(at, np.int64).reshape(-1, 1)
    table["named"], table["lost"] = (np.where(side, pixels, 0).sum(axis=1) for side in (from_level, ~from_level))
    table["hits"] = np.where(from_level, level_counts(regions["correct"]), 0).sum(axis=1)
    table["lost_background"] = np.where(from_level, 0, level_counts(regions["background"])).sum(axis=1)
    # A class that the mask alone shows has no map, so no confidence: what is trusted owes nothing to the truth.
    sure = zip(pixels, at, (probability.get(key, np.nan) for key in keys), strict=True)
    table["confidence"] = [confidence(*one) for one in sure]
    return table.astype({"objects": np.float64})
