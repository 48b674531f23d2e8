"""From a run's tables to the arrays that claims are made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from audit.datasets.manifest import attribute_names
from audit.findings import Rules
from audit.findings.evidence import Evidence
from audit.store import Run, Shard, layout

_FRAME = layout.CELLS * layout.CELLS
_COLUMNS: dict[str, type] = {
    "sample": np.int64,
    "slot": np.int16,
    "class_id": np.int32,
    "probability": np.float32,
    "known": np.bool_,
    "boxed": np.bool_,
    "off": np.bool_,
    "severity": np.float32,
    "wrong": np.bool_,
    "look": np.int64,
}
_CONTEXT: dict[str, type] = {"target": np.int64, "class_id": np.int32, "heat": np.float32, "area": np.float32}


class Gathering:
    """Evidence, shard by shard: targets with a map whose object is known, or of which nothing is known."""

    def __init__(self) -> None:
        self._columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
        self._frames: dict[str, list[NDArray[np.float16]]] = {"off_heat": [], "off_area": []}
        self._context: dict[str, list[NDArray[Any]]] = {name: [] for name in _CONTEXT}
        self._count = 0

    def add(self, run: Run, shard: Shard, scores: pa.Table, targets: pd.DataFrame, flagged: pd.DataFrame) -> None:
        """Gather a shard.

        Args:
            scores, targets: its rows of those tables.
            flagged: `sample`, `slot`, `severity` and `kind` (null where there is no finding) of its scored targets.
        """
        status = scores["status"].to_numpy(zero_copy_only=False)
        chosen = np.flatnonzero((status == "scored") | (status == "no_mask"))
        looks = run.read("samples", shard, ["sample", "look"]).to_pandas()
        rows = (
            scores.select(["sample", "slot", "status", "rests_on"])
            .take(chosen)
            .to_pandas()
            .merge(targets[["sample", "slot", "class_id", "probability"]], on=["sample", "slot"], how="left")
            .merge(looks, on="sample", how="left")
            .merge(flagged, on=["sample", "slot"], how="left")
        )
        rows = rows.assign(
            known=rows["status"] == "scored",
            boxed=rows["rests_on"] == "boxes",
            off=rows["kind"].notna(),
            wrong=rows["sample"].isin(_wrong(targets)),
        )
        for name, kind in _COLUMNS.items():
            self._columns[name].append(rows[name].to_numpy(kind))
        for name, parts in self._frames.items():
            parts.append(_frame(scores[name])[chosen])
        self._add_context(run, shard, rows)
        self._count += len(rows)

    def evidence(self, run: Run, rules: Rules) -> Evidence:
        """All that was gathered."""
        columns = {name: _joined(parts, _COLUMNS[name]) for name, parts in self._columns.items()}
        frames = {
            name: np.concatenate([np.empty((0, _FRAME), np.float16), *parts]) for name, parts in self._frames.items()
        }
        look = columns.pop("look")
        return Evidence(
            classes=run.classes,
            named=columns["probability"] >= rules.confident,
            image=pd.factorize(look)[0].astype(np.int64),
            attributes=_attributes(run, columns["sample"]),
            context={name: _joined(parts, _CONTEXT[name]) for name, parts in self._context.items()},
            **columns,
            **frames,
        )

    def _add_context(self, run: Run, shard: Shard, rows: pd.DataFrame) -> None:
        context = run.read("context", shard).to_pandas()
        places = rows[["sample", "slot"]].assign(target=np.arange(len(rows)) + self._count)
        found = context.merge(places, on=["sample", "slot"])
        for name, kind in _CONTEXT.items():
            self._context[name].append(found[name].to_numpy(kind))


def _wrong(targets: pd.DataFrame) -> NDArray[np.int64]:
    """Samples with labels of which none has the highest logit."""
    best = targets[targets["role"] == "label"].groupby("sample")["rank"].min()
    return best[best > 0].index.to_numpy(np.int64)


def _frame(column: pa.ChunkedArray) -> NDArray[np.float16]:
    return np.asarray(column.combine_chunks().flatten()).reshape(-1, _FRAME)


def _joined(parts: list[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *parts])


def _attributes(run: Run, samples: NDArray[np.int64]) -> dict[str, tuple[NDArray[np.int32], tuple[str, ...]]]:
    """Codes and values of each attribute of the manifest, for the samples named."""
    path = run.path / layout.MANIFEST
    names = attribute_names(pq.read_schema(path).names)
    if not names:
        return {}
    table = pq.read_table(path, columns=list(names), partitioning=None)
    found = {}
    for name in names:
        codes, values = pd.factorize(table[name].to_pandas())
        found[name] = (codes[samples].astype(np.int32), tuple(map(str, values)))
    return found
