"""Two runs side by side: the same samples under two models, or under two versions of the data.

Only samples that both runs processed are compared, by their ids; the others are counted. Of the tables a few columns
a target are held, and for their claims the evidence of both runs, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.compare.claims import read_both, standing, told
from audit.compare.gate import Asked, paired_changes
from audit.compare.pairs import MEASURES, Pairs, by_class, compare_all, compare_classes
from audit.errors import RunError
from audit.findings import Claim, Findings, Rules
from audit.findings.evidence.units import units_of
from audit.findings.rules import misplacement, severity
from audit.progress import Progress, silent
from audit.store import Run, Shard, layout
from audit.store.tables.records import finite

_KEYS = ["sample", "slot"]
_JUDGED_BY = ("energy", "p_high", "attainable")


def compare_runs(a: Run, b: Run, seed: int = 0, progress: Progress = silent) -> dict[str, Any]:
    """Everything that changed from run A to run B, as a record that is JSON.

    Returns:
        `differs`: what of configuration, model and manifest does; `samples` and `targets`: how many are in `both`, in
        one only, and with `changed` files; `measures`: of all targets, each a `Difference`; `flips`; `classes`: the
        same by class, with q; `findings`, `class_findings`, `claims`: lists of those `gone` and `new`, claims None
        where a run has none written; `fdr`; `changes`: each `Change` that could make B worse, tested together; `worse`:
        of those with a q at or below the fdr, why B is worse; none if it is not.

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
    image = pd.Series(_units(a, shared), shared["id"])
    pairs = _pairs(joined, image, names)
    measures, flips = compare_all(pairs, seed)
    claims_a, claims_b = standing(_claims(a)), standing(_claims(b))
    rules, says = Findings(b).rules(), {name: claim.says for name, claim in (claims_a | claims_b).items()}
    asked = read_both([(a, samples_a), (b, samples_b)], image).ask(rules, says)
    changes = paired_changes([*_shares(pairs, names), *asked], seed)
    record = {
        "a": str(a.path),
        "b": str(b.path),
        "differs": a.differences(b.record, b.record["manifest"]["fingerprint"]),
        "samples": {
            **_overlap(len(samples_a), len(samples_b), len(shared)),
            "changed": int((shared["digest_a"] != shared["digest_b"]).sum()),
        },
        "targets": _overlap(len(targets_a), len(targets_b), len(joined)),
        "measures": {name: asdict(difference) for name, difference in measures.items()},
        "flips": asdict(flips),
        "classes": [
            {"class": names[row.class_id], "q": row.q, **asdict(row.flips), "measures": asdict(row)["measures"]}
            for row in compare_classes(pairs, seed, progress)
        ],
        "findings": _changed_targets(joined),
        "class_findings": _changed(_class_findings(a), _class_findings(b)),
        "claims": _changed_claims(a, b, claims_a, claims_b),
        "fdr": rules.fdr,
        "changes": [change.plain() for change in changes],
        "worse": [change.reason() for change in changes if change.q <= rules.fdr],
    }
    plain: dict[str, Any] = finite(record)
    return plain


def _refuse_other_rules(a: Run, b: Run) -> None:
    """What is off the object by other rules would pass for a change of the model."""
    rules_a, rules_b = Findings(a).rules(), Findings(b).rules()
    names = [rule.name for rule in fields(Rules) if getattr(rules_a, rule.name) != getattr(rules_b, rule.name)]
    if names:
        of_a, of_b = (", ".join(f"{name} {getattr(rules, name)}" for name in names) for rules in (rules_a, rules_b))
        options = " ".join(filter(None, (_option(name, getattr(rules_a, name)) for name in names)))
        raise RunError(
            f"Expected the same rules in both runs, got {of_a} in {a.path} and {of_b} in {b.path}; flag one again with "
            f"`{' '.join(filter(None, ('camaudit flag', str(b.path), options)))}`"
        )


def _option(name: str, value: Any) -> str:
    """By which `camaudit flag` sets a rule."""
    if isinstance(value, bool):
        return f"--{name}" if value else ""
    return f"--{name} {value or 'image'}"


def _samples(run: Run) -> pd.DataFrame:
    """Processed samples: sample, id, digest, look."""
    shards = run.done()
    if not shards:
        raise RunError(f"Expected finished shards in {run.path}, found none; finish it with `camaudit run`")
    samples = _table(run, "samples", shards, ["sample", "id", "status", "digest", "look"])
    return samples[samples["status"] == "processed"].drop(columns="status").reset_index(drop=True)


def _targets(run: Run, samples: pd.DataFrame, shared: pd.DataFrame) -> pd.DataFrame:
    """Targets of the shared samples: id, class, energy, off_object, severity, accuracy; see `Pairs`."""
    targets = _table(run, "targets", run.done(), [*_KEYS, "class_id", "class", "rank", "probability"])
    rows = targets.merge(_scored(run), on=_KEYS, how="left")
    high, energy, attainable = (rows[name].to_numpy(np.float64) for name in ("p_high", "energy", "attainable"))
    rows["severity"] = severity(rows["probability"].to_numpy(), misplacement(high, energy, attainable))
    rows["accuracy"] = _accuracy(rows, _labels(run))
    ids = samples[samples["id"].isin(shared["id"])][["sample", "id"]]
    measured: pd.DataFrame = rows[["sample", "class", *MEASURES]].merge(ids, on="sample").drop(columns="sample")
    return measured.drop_duplicates(["id", "class"])  # of a detector's boxes of a class the surest


def _scored(run: Run) -> pd.DataFrame:
    """Scored targets: their energy, what it is judged by, and whether there is a finding about them."""
    findings, shards = Findings(run), run.having("scores")
    scores = _table(run, "scores", shards, [*_KEYS, "status", *_JUDGED_BY])
    flagged = [findings.of_shard(shard, _KEYS) for shard in shards] or [layout.SCORES.empty_table().select(_KEYS)]
    found = pa.concat_tables(flagged).to_pandas().assign(off_object=1.0)
    rows: pd.DataFrame = scores[scores["status"] == "scored"].drop(columns="status").merge(found, on=_KEYS, how="left")
    rows["off_object"] = rows["off_object"].fillna(0.0)
    return rows


def _table(run: Run, name: str, shards: Sequence[Shard], columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a table of some shards, end to end."""
    parts = [run.read(name, shard, columns) for shard in shards]
    table: pd.DataFrame = pa.concat_tables(parts or [layout.PARTS[name].empty_table().select(columns)]).to_pandas()
    return table


def _labels(run: Run) -> pd.DataFrame:
    """A row for every label of the samples: sample, class_id."""
    labels = run.manifest().table["labels"].combine_chunks()
    return pd.DataFrame({"sample": pc.list_parent_indices(labels).to_numpy(), "class_id": labels.flatten().to_numpy()})


def _accuracy(rows: pd.DataFrame, labels: pd.DataFrame) -> NDArray[np.float64]:
    """[n] whether the sample's highest class is one of its labels; NaN for targets that are none of its labels."""
    labelled = pd.MultiIndex.from_frame(rows[["sample", "class_id"]]).isin(pd.MultiIndex.from_frame(labels))
    right = rows["sample"].isin(rows["sample"][labelled & (rows["rank"] == 0)])
    return np.where(labelled, right.to_numpy(float), np.nan)


def _pairs(joined: pd.DataFrame, image: pd.Series, names: Sequence[str]) -> Pairs:
    columns = {name: joined[[f"{name}_a", f"{name}_b"]].to_numpy(np.float64).T for name in MEASURES}
    sample = pd.factorize(joined["id"])[0]
    class_id = pd.Categorical(joined["class"], list(names)).codes.astype(np.int64)
    return Pairs(sample, image.loc[joined["id"]].to_numpy(), class_id, **columns)


def _shares(pairs: Pairs, names: Sequence[str]) -> list[Asked]:
    """Off-object shares that could have risen: over all targets, then by class."""
    of_class = ((names[class_id], own) for class_id, own in by_class(pairs.class_id))
    return [
        Asked("all", "", "", pairs.off_object, pairs.image),
        *(Asked("class", name, "", pairs.off_object[:, own], pairs.image[own]) for name, own in of_class),
    ]


def _units(a: Run, shared: pd.DataFrame) -> NDArray[np.int64]:
    """A number a sample, the same for those of one unit in run A."""
    sample, look = (shared[name].to_numpy() for name in ("sample_a", "look_a"))
    return units_of(a, sample, look, Findings(a).rules().unit)


def _overlap(in_a: int, in_b: int, both: int) -> dict[str, int]:
    return {"both": both, "only_a": in_a - both, "only_b": in_b - both}


def _changed_targets(joined: pd.DataFrame) -> dict[str, list[Any]]:
    """Findings about targets that only one run has, most severe first."""
    off_a, off_b = joined["off_object_a"], joined["off_object_b"]
    changed = {}
    for name, run, chosen in (("gone", "a", (off_a == 1) & (off_b == 0)), ("new", "b", (off_a == 0) & (off_b == 1))):
        rows = joined[chosen].rename(columns={f"severity_{run}": "severity"})[["id", "class", "severity"]]
        changed[name] = rows.sort_values(["severity", "id"], ascending=[False, True]).to_dict("records")
    return changed


def _class_findings(run: Run) -> dict[str, str]:
    findings = Findings(run)
    rows = findings.classes() if findings.flagged else []
    return {row.class_name: row.class_name for row in rows if row.is_finding}


def _claims(run: Run) -> list[Claim]:
    """Standing ones and others; none where none were written."""
    findings = Findings(run)
    return findings.claims() if findings.has_claims else []


def _changed_claims(a: Run, b: Run, of_a: dict[str, Claim], of_b: dict[str, Claim]) -> dict[str, list[Any]] | None:
    if not (Findings(a).has_claims and Findings(b).has_claims):
        return None
    return _changed(*({name: told(claim) for name, claim in own.items()} for own in (of_a, of_b)))


def _changed(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    return {"gone": [a[key] for key in a if key not in b], "new": [b[key] for key in b if key not in a]}
