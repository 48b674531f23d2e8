"""One table for pages: a row for every target of the finished shards, found or not, the most telling first.

Pages filter, sort and leaf through this one file, whose cost does not follow the number of a run's parts. It is sorted
by `rank`, so the first page of most filters lies in its first row groups.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.datasets.manifest import attribute_names
from audit.findings.claims.registry import kind_of
from audit.findings.evidence.gather import Gathered
from audit.findings.evidence.targets import Evidence
from audit.findings.pages.oddness import rank_without_masks
from audit.findings.records import ROLES, Claim
from audit.scores.given.errors import ERRORS
from audit.store import Run, Shard
from audit.store.tables.parts import arrow_table

ROWS = 1 << 16
"""Rows of a row group."""
DETECTED = "detected"

SCHEMA = pa.schema(
    [
        ("rank", pa.int32()),  # place in this order: findings, guesses, all others and oddness
        ("sample", pa.int64()),  # row in the manifest
        ("slot", pa.int16()),
        ("id", pa.string()),  # of the sample
        ("class_id", pa.int32()),
        ("class", pa.string()),
        ("role", pa.string()),  # label, predicted, runner_up
        ("probability", pa.float32()),
        ("predicted", pa.string()),  # the class with the highest logit; null where it is no target of the sample
        ("right", pa.bool_()),  # whether that is a label of the sample, or the box is right; null where it is not known
        ("status", pa.string()),  # of the score; of the target where there is no map; not_scored
        ("area", pa.float32()),
        ("energy", pa.float32()),
        ("lift", pa.float32()),
        ("best_iou", pa.float32()),
        ("chance", pa.float32()),
        ("q_low", pa.float32()),
        ("kind", pa.string()),  # of the finding; null where there is none
        ("severity", pa.float32()),  # of all that could be judged
        ("quick_reliance", pa.float32()),
        ("suspicion", pa.float32()),  # of findings
        ("oddness", pa.float32()),  # of targets whose object is not known; see `audit.findings.pages.oddness`
        ("border", pa.float32()),  # ... and what it is made from
        ("corner", pa.float32()),
        ("spread", pa.float32()),
        ("place", pa.float32()),
        ("says", pa.string()),  # of findings
        ("cluster", pa.int32()),  # in its class; null for none
        ("claims", pa.list_(pa.int16())),  # places in the list of standing claims, of those that it counts for
        ("attributes", pa.string()),  # of the sample, as a JSON object of texts without its nulls
        ("error", pa.string()),  # what is wrong with a detector's box, or right; null where it is not known
    ]
)
_SCORES = ("area", "energy", "lift", "best_iou")
_JUDGED = ("chance", "q_low", "severity")
_ODD = ("oddness", "border", "corner", "spread", "place")
_OF_FINDINGS = ("kind", "suspicion", "says", "severity")

Keys = NDArray[np.int64]
"""Targets as sample * 65536 + slot."""


def index_tables(
    run: Run,
    gathered: Gathered,
    judged: pd.DataFrame,
    found: Mapping[str, NDArray[Any]],
    claims: Sequence[Claim],
    evidence: Evidence,
) -> Iterator[pa.Table]:
    """All targets of scored shards under `SCHEMA`, in tables of `ROWS` rows: of a million one at a time is held.

    Args:
        judged: rows of `gathered.targets` whose object is known, as `audit.findings.judge.judge` leaves them.
        found: columns of the findings about targets.
        claims: those that stand, as a page lists them.
        evidence: of `gathered`, with clusters.
    """
    targets = _all_targets(gathered, judged, evidence)
    keys = _keys(targets["sample"].to_numpy(), targets["slot"].to_numpy())
    columns: dict[str, Any] = {str(name): targets[name].to_numpy() for name in targets}
    columns |= _findings(keys, found, columns["severity"]) | _answers(run, columns)
    order, lists = _telling_order(columns), _lists(keys, claimed(claims, evidence))
    manifest = _texts(run, columns["sample"])
    for start in range(0, max(len(order), 1), ROWS):
        rows = order[start : start + ROWS]
        part = {name: values[rows] for name, values in columns.items()}
        yield _table(run, manifest, start, part | {"claims": lists.take(pa.array(rows))})


def unjudged(run: Run, shard: Shard) -> pa.Table:
    """The targets of a shard under `SCHEMA`, with what was scored of them, by probability: nothing was found yet.

    Raises:
        RunError: a part is damaged.
    """
    targets = run.read("targets", shard, ["sample", "slot", "class_id", "rank", "role", "probability", "status"])
    columns: dict[str, Any] = {name: targets[name].to_numpy() for name in targets.column_names}
    columns["role"] = pc.index_in(targets["role"], pa.array(ROLES)).to_numpy()
    scores = run.read("scores", shard, ["status", *_SCORES]) if run.has_scores(shard) else None
    judged_by = np.full(len(targets), "not_scored", object) if scores is None else scores["status"].to_numpy()
    columns["status"] = np.where(columns["status"] == "ok", judged_by, columns["status"])
    nothing = np.full(len(targets), np.nan, np.float32)
    columns |= {name: nothing if scores is None else scores[name].to_numpy() for name in _SCORES}
    columns |= dict.fromkeys((*_JUDGED, *_ODD, "suspicion", "quick_reliance"), nothing)
    columns |= dict.fromkeys(("kind", "says", "cluster"), np.full(len(targets), None, object))
    columns |= _answers(run, columns)
    order = _telling_order(columns)
    columns = {name: values[order] for name, values in columns.items()}
    no_claims = pa.nulls(len(targets), SCHEMA.field("claims").type)
    return _table(run, _texts(run, columns["sample"]), 0, columns | {"claims": no_claims})


def claimed(claims: Sequence[Claim], evidence: Evidence) -> dict[int, Keys]:
    """Targets that count for each of the claims, by its place.

    Args:
        evidence: of all targets, with their clusters.
    """
    places: dict[int | None, list[int]] = {}
    for place, claim in enumerate(claims):
        places.setdefault(claim.class_id, []).append(place)
    return dict(pair for class_id, own in places.items() for pair in _claimed_of(class_id, own, claims, evidence))


def _claimed_of(
    class_id: int | None, places: Sequence[int], claims: Sequence[Claim], evidence: Evidence
) -> Iterable[tuple[int, Keys]]:
    """Of the claims about a class, for which its targets alone are asked."""
    part = evidence if class_id is None else evidence.take(np.flatnonzero(evidence.class_id == class_id))
    for place in places:
        yield place, _keys(*kind_of(claims[place]).targets(claims[place], part))


def _keys(sample: NDArray[np.integer], slot: NDArray[np.integer]) -> Keys:
    return np.asarray((sample.astype(np.int64) << 16) + slot, np.int64)


def _all_targets(gathered: Gathered, judged: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """A row for every target, in the order of their keys."""
    kept = gathered.targets[["sample", "slot", "class_id", "rank", "role", "probability", "quick", "error", *_SCORES]]
    status = np.where(gathered.targets["known"], "scored", "no_mask").astype(object)
    kept = kept.assign(status=status, **{name: judged[name].astype(np.float32) for name in _JUDGED})
    kept = kept.join(_oddness(gathered))
    if evidence.cluster is not None:
        kept["cluster"] = np.where(evidence.cluster < 0, np.nan, evidence.cluster)
    rest = pd.DataFrame(gathered.rest)
    rows = pd.concat([kept, rest]).sort_values(["sample", "slot"]) if len(rest) else kept
    return rows.rename(columns={"quick": "quick_reliance"})


def _oddness(gathered: Gathered) -> pd.DataFrame:
    """Of the targets whose object is not known, beside one another."""
    targets = gathered.targets[~gathered.targets["known"]]
    heat = gathered.cells["off_heat"][targets.index]
    class_id, probability, wrong, quick = (
        targets[name].to_numpy() for name in ("class_id", "probability", "wrong", "quick")
    )
    odd = rank_without_masks(heat, class_id, probability, wrong, quick)
    return pd.DataFrame(odd._asdict(), index=targets.index)


def _findings(keys: Keys, found: Mapping[str, NDArray[Any]], severity: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
    """Columns of the findings beside all targets; a detector's guesses bring their severity."""
    rows = np.searchsorted(keys, _keys(found["sample"], found["slot"]))
    columns: dict[str, NDArray[Any]] = {
        "kind": np.full(len(keys), None, object),
        "suspicion": np.full(len(keys), np.nan, np.float32),
        "says": np.full(len(keys), None, object),
        "severity": severity.copy(),
    }
    for name in _OF_FINDINGS:
        columns[name][rows] = found[name]
    return columns


def _answers(run: Run, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What the model named first in each target's sample, whether that is a label, and what is wrong with a box.

    -1 where it is not known.
    """
    sample, first = columns["sample"], columns["rank"] == 0
    label = columns["role"] == ROLES.index("label")
    told = columns.get("error", np.full(len(sample), -1, np.int8))
    answer, labelled, right = np.full(run.samples, -1), np.zeros(run.samples, bool), np.zeros(run.samples, bool)
    answer[sample[first]] = columns["class_id"][first]
    labelled[sample[label]] = True
    right[sample[label & first]] = True
    of_sample = np.where(labelled[sample], right[sample], -1)
    of_box = np.where(told < 0, of_sample, told == ERRORS.index("right"))
    return {"predicted": answer[sample], "right": of_box.astype(np.int8), "error": told}


def _telling_order(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.intp]:
    """Findings, then a detector's guesses, by suspicion; then all others by severity, oddness and probability."""
    kind = columns["kind"]
    tier = np.where(kind == DETECTED, 1, np.where(pd.isna(kind), 2, 0)).astype(np.int8)
    falling = (-np.nan_to_num(columns[name], nan=-1) for name in ("probability", "oddness", "severity", "suspicion"))
    return np.lexsort((columns["slot"], columns["sample"], *falling, tier))


def _lists(keys: Keys, claims: Mapping[int, Keys]) -> pa.Array:
    """Places of the claims that each target counts for, ascending."""
    rows = np.concatenate([np.zeros(0, np.int64), *(np.searchsorted(keys, of) for of in claims.values())])
    places = np.repeat(np.array(list(claims), np.int16), [len(of) for of in claims.values()])
    sorting = np.lexsort((places, rows))
    offsets = np.searchsorted(rows[sorting], np.arange(len(keys) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(places[sorting]))


class _Texts(NamedTuple):
    """Ids and attributes of the samples from `first` on."""

    first: int
    table: pa.Table


def _texts(run: Run, sample: NDArray[np.integer]) -> _Texts:
    first, stop = (int(sample.min()), int(sample.max()) + 1) if len(sample) else (0, 0)
    return _Texts(first, run.manifest_file.rows(first, stop, ["id", *run.manifest_file.attributes]))


def _table(run: Run, texts: _Texts, start: int, columns: Mapping[str, Any]) -> pa.Table:
    """Columns under the schema: numbers become names, and samples' texts stand beside them."""
    classes, samples = pa.array(run.classes), texts.table.take(pa.array(columns["sample"] - texts.first))
    named = {
        "rank": np.arange(start, start + len(samples)),
        "id": samples["id"].combine_chunks(),
        "class": classes.take(pa.array(columns["class_id"])),
        "role": pa.array(ROLES).take(pa.array(columns["role"])),
        "predicted": classes.take(pa.array(columns["predicted"], mask=columns["predicted"] < 0)),
        "right": pa.array(columns["right"] > 0, mask=columns["right"] < 0),
        "attributes": attributes_as_json(samples),
        "error": pa.array(ERRORS).take(pa.array(columns["error"], mask=columns["error"] < 0)),
    }
    return arrow_table({name: values for name, values in columns.items() if name in SCHEMA.names} | named, SCHEMA)


def attributes_as_json(manifest: pa.Table) -> pa.Array:
    """The attributes of each sample as a JSON object of texts, without those that it has not.

    >>> places = pa.table({"id": ["a", "b", "c"], "site": ["north", None, None], "eye": ["left", None, "right"]})
    >>> attributes_as_json(places).to_pylist()
    ['{"site": "north", "eye": "left"}', '{}', '{"eye": "right"}']
    """
    parts = [_as_member(name, manifest[name]) for name in attribute_names(manifest.column_names)]
    if not parts:
        return pa.repeat("{}", len(manifest))
    # Joining with nulls left out would leave out the rows of nulls alone (pyarrow 26).
    members = (pc.fill_null(pc.binary_join_element_wise(", ", part, ""), "") for part in parts)
    joined = pc.binary_join_element_wise(*members, "")
    return pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(joined, 2), "}", "")


def member(name: str, value: str) -> str:
    """An attribute as it stands in the JSON object."""
    return f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"


def _as_member(name: str, values: pa.ChunkedArray) -> pa.Array:
    """Each value as a member of the object, null where there is none; each is written as JSON once."""
    coded = values.combine_chunks().dictionary_encode()
    said = pa.array([member(name, value) for value in coded.dictionary.to_pylist()], pa.string())
    return said.take(coded.indices)
