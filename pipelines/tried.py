"""Which of the targets that were intervened on a claim is about: those that show what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings.frames import near_object
from audit.findings.spots import hot_cells
from audit.findings.zones import ZONES, in_zone
from audit.store import Run, Shard, layout
from audit.store.tables import read_table

_KEYS = ["sample", "slot"]
_FRAME = layout.CELLS**2


@dataclass(frozen=True)
class Tried:
    """Targets that were intervened on, and where their heat lies.

    Attributes:
        table: [n] rows of `audit.store.layout.EFFECT`.
        heat, area: [n, 64] clear of the object, as `audit.findings.frames.frames` gives them; 0 where there is none.
        others: sample, slot and class_id of the other classes in their masks.
    """

    run: Run
    table: pd.DataFrame
    heat: NDArray[np.float32]
    area: NDArray[np.float32]
    others: pd.DataFrame

    @classmethod
    def of(cls, run: Run, table: pd.DataFrame) -> Tried:
        """Read what claims need to know of the targets of a table."""
        indices = sorted(set(table["sample"] // run.record["shard_size"]))
        shards = [run.shards[index] for index in indices if run.has_scores(run.shards[index])]
        keys = pd.MultiIndex.from_frame(table[_KEYS])
        frames = [_frames(run, shard, keys) for shard in shards]
        heat, area = np.zeros((2, len(table), _FRAME), np.float32)
        for places, *cells in frames:
            heat[places], area[places] = cells
        others = [run.read("context", shard, [*_KEYS, "class_id"]).to_pandas() for shard in shards]
        empty = pd.DataFrame(columns=[*_KEYS, "class_id"])
        return cls(run, table, heat, area, pd.concat(others or [empty], ignore_index=True))

    def show(self, claim: Mapping[str, Any]) -> NDArray[np.bool_]:
        """[n] which are of a claim's class and show what it says: its zone, spot, other class, group or cluster."""
        shows = {
            "zone": self._in_zone,
            "spot": self._in_spot,
            "context": self._beside,
            "group": self._in_group,
            "cluster": self._in_cluster,
        }
        of_class = np.ones(len(self.table), bool)
        if claim["class_id"] is not None:
            of_class = np.asarray(self.table["class_id"] == claim["class_id"], bool)
        return of_class & shows[claim["kind"]](claim) if claim["kind"] in shows else of_class

    def _in_zone(self, claim: Mapping[str, Any]) -> NDArray[np.bool_]:
        cells = ZONES[claim["subject"]].ravel()
        return in_zone(self.heat[:, cells].sum(axis=1), self.area[:, cells].sum(axis=1))

    def _in_spot(self, claim: Mapping[str, Any]) -> NDArray[np.bool_]:
        cells = json.loads(claim["details"])["cells"]
        return np.asarray(hot_cells(self.heat, self.area)[:, cells].any(axis=1), bool)

    def _beside(self, claim: Mapping[str, Any]) -> NDArray[np.bool_]:
        other = self.run.classes.index(claim["subject"])
        return self._among(self.others[self.others["class_id"] == other])

    def _in_group(self, claim: Mapping[str, Any]) -> NDArray[np.bool_]:
        details = json.loads(claim["details"])
        name = details["attribute"]
        values = pd.read_parquet(self.run.path / layout.MANIFEST, columns=[name])[name]
        own = values.iloc[self.table["sample"].to_numpy()]
        return np.asarray(own.map(str) == details["value"], bool)

    def _in_cluster(self, claim: Mapping[str, Any]) -> NDArray[np.bool_]:
        path = self.run.path / layout.FINDINGS / layout.CLUSTERS
        members = read_table(path, [*_KEYS, "cluster"]).to_pandas()
        return self._among(members[members["cluster"].astype(str) == claim["subject"]])

    def _among(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        keys = (pd.MultiIndex.from_frame(one[_KEYS]) for one in (self.table, rows))
        return np.asarray(next(keys).isin(next(keys)), bool)


def _frames(
    run: Run, shard: Shard, keys: pd.MultiIndex
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Places of a shard's targets among the keys, their heat and their area."""
    scores = run.read("scores", shard, [*_KEYS, "status", "off_heat", "off_area"])
    rows = pd.MultiIndex.from_frame(scores.select(_KEYS).to_pandas()).get_indexer(keys)
    has_frame = np.isin(scores["status"].to_numpy(), ("scored", "no_mask"))
    places = np.flatnonzero((rows >= 0) & has_frame[rows])
    rows = rows[places]
    heat, area = (_cells(scores[name].take(rows).to_pylist()) for name in ("off_heat", "off_area"))
    beside = near_object(area)
    heat[beside] = area[beside] = 0
    return places, heat, area


def _cells(frames: list[list[float]]) -> NDArray[np.float32]:
    return np.array(frames, np.float32).reshape(-1, _FRAME)
