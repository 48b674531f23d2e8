"""Two runs side by side: the same samples under two models, or under two versions of the data.

Only samples that both runs processed are compared, by their ids; the others are counted. Of the tables a few columns
a target are held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.datasets import Track
from audit.errors import RunError
from audit.export import read_rules
from audit.findings import Rules, misplacement, severity
from audit.findings.comparison import MEASURES, Pairs, compare_all, compare_classes
from audit.store import Run, Shard, layout
from audit.store.tables import read_table

_KEYS = ["sample", "slot"]
_JUDGED_BY = ("energy", "p_high", "attainable")
_NAMED_BY_PLACE = ("spot", "cluster")
"""Kinds of claims whose subject is a place or a number that another run need not give to the same thing."""


def compare_runs(a: Run, b: Run, seed: int = 0, track: Track = iter) -> dict[str, Any]:
    """Everything that changed from run A to run B, as a record that is JSON.

    Returns:
        `differs`: what of configuration, model and manifest does; `samples` and `targets`: how many are in `both`, in
        one only, and with `changed` files; `measures`: of all targets, each a `Difference`; `flips`; `classes`: the
        same by class, with q; `findings`, `class_findings`, `claims`: lists of those `gone` and `new`, claims None
        where a run has none written; `worse`: reasons to call B worse, none if it is not.

    Raises:
        RunError: a run has no findings yet, they were flagged by different rules, or no sample is in both.
    """
    _refuse_other_rules(a, b)
    samples_a, samples_b = _samples(a), _samples(b)
    shared = samples_a.merge(samples_b, on="id", suffixes=("_a", "_b"))
    if shared.empty:
        raise RunError(f"Expected samples of the same ids in both runs, got none of {a.path} in {b.path}")
    targets_a, targets_b = _targets(a, samples_a, shared), _targets(b, samples_b, shared)
    joined = targets_a.merge(targets_b, on=["id", "class"], suffixes=("_a", "_b"))
    names = sorted(joined["class"].unique())
    pairs = _pairs(joined, shared, names)
    measures, flips = compare_all(pairs, seed)
    record = {
        "a": str(a.path),
        "b": str(b.path),
        "differs": a.differences(b.record, b.record["manifest"]["fingerprint"]),
        "samples": {
            **_overlap(len(samples_a), len(samples_b), len(shared)),
            "changed": int((shared["digest_a"] != shared["digest_b"]).sum()),
        },
        "targets": _overlap(len(targets_a), len(targets_b), len(joined)),
        "measures": {name: asdict(one) for name, one in measures.items()},
        "flips": asdict(flips),
        "classes": [
            {"class": names[row.class_id], "q": row.q, **asdict(row.flips), "measures": asdict(row)["measures"]}
            for row in compare_classes(pairs, seed, track)
        ],
        "findings": _changed_targets(joined),
        "class_findings": _changed(_class_findings(a), _class_findings(b)),
        "claims": _changed_claims(a, b),
    }
    found: dict[str, Any] = _without_nan(record | {"worse": worse(record)})
    return found


def worse(record: dict[str, Any]) -> list[str]:
    """Why B is worse than A: more targets off the object by more than chance, or a class or claim that is new."""
    reasons = [f"new finding: {row['says'] or row['finding']}" for row in (record["claims"] or {"new": []})["new"]]
    reasons += [f"new finding: {name} looks off the object" for name in record["class_findings"]["new"]]
    off = record["measures"]["off_object"]
    if (off["low"] or 0) > 0:
        reasons.insert(0, f"off-object share rose by {off['difference']:.3f} [{off['low']:.3f}, {off['high']:.3f}]")
    return reasons


def _refuse_other_rules(a: Run, b: Run) -> None:
    """What is off the object by other rules would pass for a change of the model."""
    rules_a, rules_b = read_rules(a), read_rules(b)
    names = [one.name for one in fields(Rules) if getattr(rules_a, one.name) != getattr(rules_b, one.name)]
    if names:
        of_a, of_b = (", ".join(f"{name} {getattr(rules, name):g}" for name in names) for rules in (rules_a, rules_b))
        raise RunError(
            f"Expected the same rules in both runs, got {of_a} in {a.path} and {of_b} in {b.path}; flag one again with "
            f"`camaudit flag {b.path}`"
        )


def _samples(run: Run) -> pd.DataFrame:
    """Processed samples: sample, id, digest, look."""
    parts = [run.read("samples", shard, ["sample", "id", "status", "digest", "look"]) for shard in run.done()]
    if not parts:
        raise RunError(f"Expected finished shards in {run.path}, found none; finish it with `camaudit run`")
    kept = [part.filter(pc.equal(part["status"], "processed")).drop_columns("status").to_pandas() for part in parts]
    samples: pd.DataFrame = pd.concat(kept, ignore_index=True)
    return samples


def _targets(run: Run, samples: pd.DataFrame, shared: pd.DataFrame) -> pd.DataFrame:
    """Targets of the shared samples: id, class, energy, off_object, severity, accuracy; see `Pairs`."""
    parts = pd.concat([_shard_targets(run, shard) for shard in run.done()], ignore_index=True)
    ids = samples[samples["id"].isin(shared["id"])][["sample", "id"]]
    found: pd.DataFrame = parts.merge(ids, on="sample").drop(columns="sample")
    return found


def _shard_targets(run: Run, shard: Shard) -> pd.DataFrame:
    targets = run.read("targets", shard, [*_KEYS, "class_id", "class", "rank", "probability"]).to_pandas()
    rows = targets.merge(_scored(run, shard), on=_KEYS, how="left")
    high, energy, attainable = (rows[name].to_numpy(np.float64) for name in ("p_high", "energy", "attainable"))
    rows["severity"] = severity(rows["probability"].to_numpy(), misplacement(high, energy, attainable))
    rows["accuracy"] = _accuracy(rows, _labels(run, shard))
    found: pd.DataFrame = rows[["sample", "class", *MEASURES]]
    return found


def _scored(run: Run, shard: Shard) -> pd.DataFrame:
    """Scored targets of a shard: their energy, what it is judged by, and whether there is a finding about them."""
    if not run.has_scores(shard):
        return pd.DataFrame(
            {name: pd.Series(dtype=float) for name in (*_KEYS, "energy", "p_high", "attainable", "off_object")}
        )
    path = run.path / layout.FINDINGS / layout.part_name(shard.index)
    if not path.exists():
        raise RunError(f"Expected findings in {run.path}, found none; make them with `camaudit flag {run.path}`")
    scores = run.read("scores", shard, [*_KEYS, "status", *_JUDGED_BY]).to_pandas()
    found = read_table(path, _KEYS).to_pandas().assign(off_object=1.0)
    rows: pd.DataFrame = scores[scores["status"] == "scored"].drop(columns="status").merge(found, on=_KEYS, how="left")
    rows["off_object"] = rows["off_object"].fillna(0.0)
    return rows


def _labels(run: Run, shard: Shard) -> pd.DataFrame:
    """A row for every label of the shard's samples: sample, class_id."""
    labels = run.manifest(shard).table["labels"].combine_chunks()
    sample = shard.start + pc.list_parent_indices(labels).to_numpy()
    return pd.DataFrame({"sample": sample, "class_id": labels.flatten().to_numpy()})


def _accuracy(rows: pd.DataFrame, labels: pd.DataFrame) -> NDArray[np.float64]:
    """[n] whether the sample's highest class is one of its labels; NaN for targets that are none of its labels."""
    labelled = pd.MultiIndex.from_frame(rows[["sample", "class_id"]]).isin(pd.MultiIndex.from_frame(labels))
    right = rows["sample"].isin(rows["sample"][labelled & (rows["rank"] == 0)])
    return np.where(labelled, right.to_numpy(float), np.nan)


def _pairs(joined: pd.DataFrame, shared: pd.DataFrame, names: Sequence[str]) -> Pairs:
    image = pd.Series(_images(shared), shared["id"])
    columns = {name: joined[[f"{name}_a", f"{name}_b"]].to_numpy(np.float64).T for name in MEASURES}
    sample = pd.factorize(joined["id"])[0]
    class_id = pd.Categorical(joined["class"], list(names)).codes.astype(np.int64)
    return Pairs(sample, image.loc[joined["id"]].to_numpy(), class_id, **columns)


def _images(shared: pd.DataFrame) -> NDArray[np.int64]:
    """A number a sample, the same for those that look the same to the network of run A."""
    look = pd.factorize(shared["look_a"])[0].astype(np.int64)
    return np.where(look < 0, look.max() + 1 + np.arange(len(look)), look)


def _overlap(in_a: int, in_b: int, both: int) -> dict[str, int]:
    return {"both": both, "only_a": in_a - both, "only_b": in_b - both}


def _changed_targets(joined: pd.DataFrame) -> dict[str, list[Any]]:
    """Findings about targets that only one run has, most severe first."""
    off_a, off_b = joined["off_object_a"], joined["off_object_b"]
    found = {}
    for name, run, chosen in (("gone", "a", (off_a == 1) & (off_b == 0)), ("new", "b", (off_a == 0) & (off_b == 1))):
        rows = joined[chosen].rename(columns={f"severity_{run}": "severity"})[["id", "class", "severity"]]
        found[name] = rows.sort_values(["severity", "id"], ascending=[False, True]).to_dict("records")
    return found


def _class_findings(run: Run) -> dict[str, str]:
    path = run.path / layout.FINDINGS / layout.CLASS_FINDINGS
    if not path.exists():
        return {}
    return {row["class"]: row["class"] for row in read_table(path, ["class", "finding"]).to_pylist() if row["finding"]}


def _changed_claims(a: Run, b: Run) -> dict[str, list[Any]] | None:
    claims_a, claims_b = _claims(a), _claims(b)
    return None if claims_a is None or claims_b is None else _changed(claims_a, claims_b)


def _claims(run: Run) -> dict[Any, dict[str, Any]] | None:
    """Claims that were found, but those about whole classes, which have their own table."""
    path = run.path / layout.FINDINGS / layout.CLAIMS
    if not path.exists():
        return None
    found: dict[Any, dict[str, Any]] = {}
    for row in read_table(path, ["finding", "kind", "class", "found", "says"]).to_pylist():
        if row["found"] and row["kind"] != "class":
            found.setdefault(_claim_key(row), row)
    return found


def _claim_key(row: dict[str, Any]) -> Any:
    return (row["kind"], row["class"]) if row["kind"] in _NAMED_BY_PLACE else row["finding"]


def _changed(a: dict[Any, Any], b: dict[Any, Any]) -> dict[str, list[Any]]:
    return {"gone": [a[key] for key in a if key not in b], "new": [b[key] for key in b if key not in a]}


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
