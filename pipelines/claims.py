"""Claims of a run: what holds of more than one target, each family under its own false discovery rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audit.findings import Rules
from audit.findings.claims import all_claims
from audit.findings.classes import class_claims
from audit.findings.contrasts import Row
from audit.findings.evidence import Evidence
from audit.store import Run, Shard, layout
from audit.store.tables import write_table
from pipelines.features import cluster_run

_NO_LAYER = "No clusters: this method's maps do not come from the activation of one layer"
_NOT_KEPT = "No clusters: the run was begun without scores, so what lies under the heat was not kept"


def write_claims(
    run: Run, shards: Sequence[Shard], evidence: Evidence, classes: Mapping[str, Sequence[Any]], rules: Rules
) -> dict[str, Any]:
    """Make and write the claims and the clusters' members; returns what the summary says of them.

    Args:
        classes: columns of `audit.store.layout.CLASS_FINDING`.
    """
    found = all_claims(evidence, rules.level)
    clusters = cluster_run(run, shards, evidence, rules.level)
    boxed = bool(evidence.boxed[evidence.known].all()) and bool(evidence.known.any())
    rows = [*class_claims(classes, rules, boxed), *found.rows, *clusters]
    columns = {name: [row[name] for row in rows] for name in layout.CLAIM.names}
    write_table(run.path / layout.FINDINGS / layout.CLAIMS, columns, layout.CLAIM)
    untested = [*found.untested, *([] if _has_features(run, shards) else [_why_not(run)])]
    return {"claims": _count(rows), "untested": untested}


def _why_not(run: Run) -> str:
    return _NO_LAYER if run.record["config"].get("scored", True) else _NOT_KEPT


def _has_features(run: Run, shards: Sequence[Shard]) -> bool:
    return any(run.read("features", shard, ["sample"]).num_rows for shard in shards)


def _count(rows: Sequence[Row]) -> dict[str, int]:
    """Claims found, by kind."""
    kinds = dict.fromkeys(("class", "zone", "context", "spot", "group", "cluster"), 0)
    for row in rows:
        kinds[row["kind"]] += bool(row["found"])
    return kinds
