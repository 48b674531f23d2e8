"""From a run's tables to the arrays that findings are made from.

A row of `scores` stands beside its row of `targets` in the same place, so shards are read and laid end to end, without
a join. A million targets take about 0.4 GB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings.evidence.asked_anyway import asked_anyway
from audit.findings.evidence.box_errors import BOX_COLUMNS, Attributes, BoxErrors, box_columns
from audit.findings.evidence.frame import by_cell, cells_as_bits
from audit.findings.evidence.targets import Absences, Evidence
from audit.findings.evidence.units import units_of
from audit.findings.records import AIMED, GIVEN, ROLES
from audit.images import map_ahead
from audit.progress import Progress, silent, tracked
from audit.scores import Confusion
from audit.scores.given.errors import ERRORS
from audit.store import Run, Shard, layout

_SHARES = ("off_heat", "off_area")
_SCORES = ("area", "energy", "lift", "best_iou", "p_low", "p_high", "attainable", "peak_distance", "centre_energy")
_FLAGS = ("hit", "hit_15px", "centre_hit", "centre_hit_15px")
_TARGETS = ("sample", "slot", "class_id", "rank", "probability")
_CONTEXT = ("class_id", "heat", "area")
_ABSENT = ("sample", "slot", "class_id", "probability", "boxed", "look")
_AHEAD = 8
_REST = ("sample", "slot", "class_id", "rank", "role", "probability", "quick", "error")
KEPT = ("scored", "no_mask")
"""Status of the scores that findings are made from."""


@dataclass(frozen=True)
class Gathered:
    """What a run's finished shards hold of targets with a map whose object is known, or of which nothing is known.

    Attributes:
        targets: a row each, in order: columns of `targets` and `scores`, `role` as a place among `ROLES`, `known`,
            `boxed`, `error` (of a detector's box), `label`, `wrong`, `look`, `unit`, `quick` (quick reliance, NaN where
            it was not measured), and `row`, its place in the shard's tables.
        cells: `off_heat` and `off_area`, [n, 64] float16, and `clear`, [n] uint64, its cells as bits.
        context: `target` (place among them) and the columns of the table of that name.
        absent: columns of the targets of `audit.findings.evidence.targets.Absences`, `look` and `unit`.
        boxes: columns of `audit.findings.evidence.box_errors.box_columns`, and `unit`.
        rest: columns of all other targets, such as those without a map: keys, answers, `quick` and `status`.
        confusion: pooled.
        target_status, score_status: rows of those tables by status.
    """

    targets: pd.DataFrame
    cells: dict[str, NDArray[Any]]
    context: dict[str, NDArray[Any]]
    absent: dict[str, NDArray[Any]]
    boxes: dict[str, NDArray[Any]]
    rest: dict[str, NDArray[Any]]
    confusion: Confusion
    target_status: dict[str, int]
    score_status: dict[str, int]

    @property
    def scored(self) -> pd.DataFrame:
        """The targets whose object is known."""
        known = self.targets["known"]
        return self.targets if known.all() else self.targets[known]

    def evidence(
        self, run: Run, judged: pd.DataFrame, confident: float, cluster: NDArray[np.int32] | None = None
    ) -> Evidence:
        """As claims take it.

        Args:
            judged: `kind` (null where there is no finding) and `severity` of the targets, those that could be judged.
            cluster: [n] of the targets.
        """
        targets, judged = self.targets, judged[["kind", "severity"]].reindex(self.targets.index)

        def column(name: str, kind: type) -> NDArray[Any]:
            return targets[name].to_numpy(kind)

        attributes, attributes_of_boxes = _attributes(run, targets["sample"].to_numpy(), self.boxes["sample"])
        return Evidence(
            classes=run.classes,
            sample=column("sample", np.int64),
            slot=column("slot", np.int16),
            class_id=column("class_id", np.int32),
            probability=column("probability", np.float32),
            named=column("probability", np.float32) >= confident,
            off=judged["kind"].notna().to_numpy(),
            known=column("known", bool),
            boxed=column("boxed", bool),
            severity=judged["severity"].to_numpy(np.float32),
            wrong=column("wrong", bool),
            labelled=column("label", bool),
            unit=column("unit", np.int64),
            off_heat=self.cells["off_heat"],
            off_area=self.cells["off_area"],
            clear=self.cells["clear"],
            attributes=attributes,
            context=self.context,
            cluster=cluster,
            absences=self._absences(confident),
            error=column("error", np.int8) if self.aimed == "detected" else None,
            boxes=self._box_errors(confident, attributes_of_boxes),
            lost=self._lost(run) if self.aimed in GIVEN else None,
            aimed=self.aimed,
        )

    @property
    def aimed(self) -> str | None:
        """The role of targets that are no classes of an image as a whole, which a run's targets share; else None."""
        roles = {ROLES[place] for place in self.targets["role"].unique()}
        return next((role for role in AIMED if role in roles), None)

    def _lost(self, run: Run) -> NDArray[np.float32]:
        sample, slot, quick = (self.targets[name].to_numpy() for name in ("sample", "slot", "quick"))
        return np.where((slot == 0) & asked_anyway(sample, run.samples), quick, np.nan).astype(np.float32)

    def _box_errors(self, confident: float, attributes: Attributes) -> BoxErrors | None:
        if self.aimed != "detected" or not len(self.boxes["sample"]):
            return None
        columns = {name: values for name, values in self.boxes.items() if name not in ("score", "look")}
        return BoxErrors(**columns, sure=self.boxes["score"] >= confident, attributes=attributes)

    def _absences(self, confident: float) -> Absences:
        columns = {name: values for name, values in self.absent.items() if name != "look"}
        return Absences(**columns, named=columns["probability"] >= confident)


class _Part(NamedTuple):
    """A shard's."""

    columns: dict[str, NDArray[Any]]
    cells: dict[str, NDArray[Any]]
    context: dict[str, NDArray[Any]]
    absent: dict[str, NDArray[Any]]
    boxes: dict[str, NDArray[Any]]
    rest: dict[str, NDArray[Any]]
    confusion: Confusion
    target_status: Counter[str]
    score_status: Counter[str]


def gather(
    run: Run, shards: Sequence[Shard], progress: Progress = silent, unit: str | None = None, units: bool = True
) -> Gathered:
    """Read the tables of scored shards.

    Args:
        unit: attribute whose values are the units of evidence; None for images.
        units: whether units are made at all; without, each target is one.

    Raises:
        ManifestError: the manifest has no such attribute.
        RunError: a part is missing or damaged.
    """
    # Arrays are made by this thread alone: what others free, it could not use again.
    read = tracked(progress, "gathering", map_ahead(partial(_read, run), shards, _AHEAD), len(shards))
    parts = [_part(run, shard, tables) for shard, tables in zip(shards, read, strict=True)]
    pa.default_memory_pool().release_unused()
    offsets = np.cumsum([0, *(len(part.columns["sample"]) for part in parts)])
    for part, offset in zip(parts, offsets, strict=False):
        part.context["target"] += offset
    columns = _joined([part.columns for part in parts] or [_columns(*_EMPTY)])
    absent = _joined([part.absent for part in parts] or [_absent(*_NOTHING)])
    boxes = _joined([part.boxes for part in parts] or [box_columns(None, np.zeros(0, np.int64), 0)])
    of_targets, of_absent, of_boxes = _units(run, (columns, absent, boxes), unit, units)
    return Gathered(
        pd.DataFrame(columns | {"unit": of_targets}),
        _joined([part.cells for part in parts] or [_cells(_EMPTY[0])]),
        _joined([part.context for part in parts] or [dict.fromkeys(("target", *_CONTEXT), np.zeros(0, np.int64))]),
        absent | {"unit": of_absent},
        boxes | {"unit": of_boxes},
        _joined([part.rest for part in parts] or [dict.fromkeys((*_REST, "status"), np.zeros(0, np.int64))]),
        Confusion.merge([part.confusion for part in parts]),
        dict(sum((part.target_status for part in parts), Counter[str]()).most_common()),
        dict(sum((part.score_status for part in parts), Counter[str]()).most_common()),
    )


def _units(
    run: Run, tables: Sequence[dict[str, NDArray[Any]]], unit: str | None, units: bool
) -> list[NDArray[np.int64]]:
    """Numbers of the units of the rows of some tables, as if they were one; a row each where none are made."""
    sample, look = (np.concatenate([table[name] for table in tables]).astype(np.int64) for name in ("sample", "look"))
    numbers = units_of(run, sample, look, unit) if units else np.arange(len(sample))
    return np.split(numbers, np.cumsum([len(table["sample"]) for table in tables])[:-1])


class _Tables(NamedTuple):
    """A shard's, as far as findings need them."""

    scores: pa.Table
    targets: pa.Table
    samples: pa.Table
    checks: pa.Table
    confusion: pa.Table
    context: pa.Table
    boxes: pa.Table | None


def _read(run: Run, shard: Shard) -> _Tables:
    scores = run.read("scores", shard, ["sample", "slot", "status", "rests_on", *_SCORES, *_FLAGS, *_SHARES, "clear"])
    targets = run.read("targets", shard, [*_TARGETS, "role", "status"])
    checks, confusion, context = (run.read(name, shard) for name in ("checks", "confusion", "context"))
    found = run.read("detections", shard, BOX_COLUMNS) if run.part("detections", shard) is not None else None
    return _Tables(scores, targets, run.read("samples", shard, ["look"]), checks, confusion, context, found)


def _part(run: Run, shard: Shard, tables: _Tables) -> _Part:
    scores, targets, samples, checks, confusion, context, boxes = tables
    # A failed sample has none, and no target; a null would make numbers of 64 bits floats of 53.
    looks = _array(samples["look"].fill_null(0))
    for name in ("sample", "slot"):
        if not scores[name].equals(targets[name]):
            raise RunError(
                f"{run.part('scores', shard)} does not fit its targets; score again: camaudit score {run.path}"
            )
    columns = _columns(scores, targets, checks, looks, shard.start, boxes)
    status = _array(scores["status"])
    kept = np.isin(status, KEPT)
    return _Part(
        {name: values[kept] for name, values in columns.items()},
        {name: values[kept] for name, values in _cells(scores).items()},
        _context(context, columns, kept),
        _absent(context, columns, status, scores["off_heat"]),
        box_columns(boxes, looks, shard.start),
        {name: columns[name][~kept] for name in _REST} | {"status": _status(targets, status)[~kept]},
        Confusion(*(_array(confusion[name]) for name in ("predicted", "true", "map_level", "count"))),
        _counts(targets["status"]),
        _counts(scores["status"]),
    )


def _status(targets: pa.Table, scored: NDArray[Any]) -> NDArray[Any]:
    """Of each target's score, and of the target itself where it has no map."""
    status = _array(targets["status"])
    return np.where(status == "ok", scored, status)


def _cells(scores: pa.Table) -> dict[str, NDArray[Any]]:
    shares = {name: by_cell(scores[name]) for name in _SHARES}
    return shares | {"clear": cells_as_bits(by_cell(scores["clear"]))}


def _columns(
    scores: pa.Table,
    targets: pa.Table,
    checks: pa.Table,
    looks: NDArray[np.int64],
    first: int,
    boxes: pa.Table | None = None,
) -> dict[str, NDArray[Any]]:
    columns = {name: _array(targets[name]) for name in _TARGETS}
    columns |= {name: _array(scores[name]) for name in _SCORES}
    columns |= {name: _array(scores[name].cast(pa.float32())) for name in _FLAGS}
    role = _array(pc.index_in(targets["role"], pa.array(ROLES))).astype(np.int8)
    label = role == ROLES.index("label")
    rests_on = scores["rests_on"].to_numpy()
    return columns | {
        "known": _array(scores["status"]) == "scored",
        "boxed": (rests_on == "boxes") | (rests_on == "detection"),
        "role": role,
        "label": label,
        "row": np.arange(len(label)),
        "wrong": _wrong(columns["sample"], columns["rank"], label),
        "look": looks[columns["sample"] - first],
        "quick": _quick(checks, columns),
        "error": _errors(boxes, columns),
    }


def _quick(checks: pa.Table, columns: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Quick reliance [n] of a shard's targets, NaN of those that were not asked."""
    listed = _keys(columns["sample"], columns["slot"])
    asked = _keys(_array(checks["sample"]), _array(checks["slot"]))
    quick = np.full(len(listed), np.nan, np.float32)
    quick[np.searchsorted(listed, asked)] = _array(checks["reliance"])
    return quick


def _errors(boxes: pa.Table | None, columns: dict[str, NDArray[Any]]) -> NDArray[np.int8]:
    """Kinds of error [n] of a shard's targets, as places among `ERRORS`; -1 where that is not known."""
    errors = np.full(len(columns["sample"]), -1, np.int8)
    if boxes is not None:
        told = boxes.filter(pc.and_(pc.is_valid(boxes["slot"]), pc.is_valid(boxes["error"])))
        place = np.searchsorted(
            _keys(columns["sample"], columns["slot"]), _keys(_array(told["sample"]), _array(told["slot"]))
        )
        errors[place] = _array(pc.index_in(told["error"], pa.array(ERRORS)))
    return errors


def _wrong(sample: NDArray[np.integer], rank: NDArray[np.integer], label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[n] whether the sample has labels, and none of them has the highest logit."""
    return np.isin(sample, sample[label]) & ~np.isin(sample, sample[label & (rank == 0)])


def _context(table: pa.Table, columns: dict[str, NDArray[Any]], kept: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """A shard's context, each row with the place of its target among those kept."""
    keys = _keys(columns["sample"], columns["slot"])[kept]
    context_keys = _keys(_array(table["sample"]), _array(table["slot"]))
    place = np.searchsorted(keys, context_keys)
    there = np.isin(context_keys, keys)
    return {"target": place[there].astype(np.int64), **{name: _array(table[name])[there] for name in _CONTEXT}}


def _absent(
    context: pa.Table, columns: dict[str, NDArray[Any]], status: NDArray[Any], heat: pa.ChunkedArray
) -> dict[str, NDArray[Any]]:
    """Columns of a shard's targets whose object is not in the image; see `audit.findings.evidence.targets.Absences`."""
    on_other = _array(context["heat"])
    beside = _keys(_array(context["sample"]), _array(context["slot"]))
    hottest = np.lexsort((-on_other, beside))
    beside, first = np.unique(beside[hottest], return_index=True)
    keys = _keys(columns["sample"], columns["slot"])
    named = columns["label"] | (columns["role"] == ROLES.index("word"))  # a word is a label that the text says
    rows = np.flatnonzero((status == "absent") & ~named & np.isin(keys, beside))
    most = hottest[first[np.searchsorted(beside, keys[rows])]]
    return {name: columns[name][rows] for name in _ABSENT} | {
        "heat": by_cell(heat)[rows],
        "other": _array(context["class_id"])[most],
        "on_other": on_other[most],
    }


def _keys(sample: NDArray[np.integer], slot: NDArray[np.integer]) -> NDArray[np.int64]:
    return (sample.astype(np.int64) << 16) + slot


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.to_numpy())


def _joined(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Parts end to end; a column at a time is held twice, for it is taken out of the parts."""
    return {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}


def _counts(column: pa.ChunkedArray) -> Counter[str]:
    """Rows by value."""
    return Counter({row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()})


def _attributes(run: Run, *tables: NDArray[np.int64]) -> list[Attributes]:
    """Codes and values of each attribute of the manifest, for the samples of some tables; values are those of all."""
    samples = np.concatenate(tables)
    first, last = (int(samples.min()), int(samples.max()) + 1) if len(samples) else (0, 0)
    file = run.manifest_file
    coded = {name: pd.factorize(file.rows(first, last, [name])[name].to_pandas()) for name in file.attributes}
    return [
        {name: (codes[of - first].astype(np.int32), tuple(map(str, values))) for name, (codes, values) in coded.items()}
        for of in tables
    ]


_EMPTY = *(schema.empty_table() for schema in (layout.SCORES, layout.TARGETS, layout.CHECKS)), np.zeros(0, np.int64), 0
_NOTHING = layout.CONTEXT.empty_table(), _columns(*_EMPTY), np.zeros(0, object), layout.SCORES.empty_table()["off_heat"]
"""Over no shard."""
