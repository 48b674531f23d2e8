"""The targets of a class or of a claim, with all that it takes to read their images again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from audit.errors import RunError
from audit.findings import Claim, Findings
from audit.findings.claims.registry import kind_of
from audit.findings.evidence.units import units_of
from audit.store import Run, Shard

_KEYS = ["sample", "slot"]


def targets_of_class(findings: Findings, class_id: int) -> pd.DataFrame:
    """Targets of a class that have a map: `sample`, `slot`, `class_id`, `digest`, and `unit`, the witness's number.

    Raises:
        RunError: there is none.
    """
    run = findings.run
    parts = [_with_maps(run, shard) for shard in run.done()]
    table = pd.concat([part[part["class_id"] == class_id] for part in parts])
    return _with_units(findings, table, run.classes[class_id])


def targets_of_claim(findings: Findings, claim: Claim) -> pd.DataFrame:
    """Targets that count for a claim, with the same columns.

    Raises:
        RunError: there is none, or the run was not flagged yet.
    """
    run, parts = findings.run, []
    for part in findings.evidence(shard for shard in run.done() if run.has_scores(shard)):
        sample, slot = kind_of(claim).targets(claim, part.evidence)
        keys = pd.DataFrame({"sample": sample, "slot": slot})
        parts.append(keys.merge(_with_maps(run, part.shard), on=_KEYS, how="inner"))
    return _with_units(findings, pd.concat(parts), claim.claim_id)


def _with_maps(run: Run, shard: Shard) -> pd.DataFrame:
    targets = run.read("targets", shard, [*_KEYS, "class_id", "status"])
    table: pd.DataFrame = targets.filter(pc.equal(targets["status"], "ok")).drop_columns("status").to_pandas()
    samples = run.read("samples", shard, ["digest", "look"])
    place = table["sample"].to_numpy() - shard.start
    digest, look = samples["digest"].to_numpy(), samples["look"].fill_null(0).to_numpy()
    return table.assign(digest=digest[place], look=look[place])


def _with_units(findings: Findings, table: pd.DataFrame, name: str) -> pd.DataFrame:
    if table.empty:
        raise RunError(f"{findings.run.path} has no map of {name}")
    sample, look = (table[column].to_numpy(np.int64) for column in ("sample", "look"))
    units = units_of(findings.run, sample, look, findings.rules().unit)
    return table.drop(columns="look").assign(unit=units).reset_index(drop=True)
