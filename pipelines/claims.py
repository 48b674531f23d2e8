"""Claims of a run: what holds of more than one target, each family under its own false discovery rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.findings import Rules
from audit.findings.cards import cluster_claims
from audit.findings.claims import all_claims
from audit.findings.classes import class_claims
from audit.findings.clusters import Part, cluster_targets
from audit.findings.contrasts import Row
from audit.findings.evidence import Evidence
from audit.store import Run, Shard, layout
from audit.store.tables import write_table

_NO_LAYER = "No clusters: this method's maps do not come from the activation of one layer"


def write_claims(
    run: Run, shards: Sequence[Shard], evidence: Evidence, classes: Mapping[str, Sequence[Any]], rules: Rules
) -> dict[str, Any]:
    """Make and write the claims and the clusters' members; returns what the summary says of them.

    Args:
        classes: columns of `audit.store.layout.CLASS_FINDING`.
    """
    found = all_claims(evidence, rules.level)
    members = cluster_targets(partial(_features, run, shards), evidence)
    boxed = bool(evidence.boxed[evidence.known].all()) and bool(evidence.known.any())
    rows = [*class_claims(classes, rules, boxed), *found.rows, *cluster_claims(members, evidence, rules.level)]
    folder = run.path / layout.FINDINGS
    write_table(
        folder / layout.CLAIMS, {name: [row[name] for row in rows] for name in layout.CLAIM.names}, layout.CLAIM
    )
    write_table(folder / layout.CLUSTERS, members.table(evidence), layout.MEMBER)
    untested = [*found.untested, *([] if len(members.target) or not len(evidence) else [_NO_LAYER])]
    return {"claims": _count(rows), "untested": untested}


def _features(run: Run, shards: Sequence[Shard]) -> Iterator[Part]:
    """What lies under the heat, shard by shard."""
    for shard in shards:
        table = run.read("features", shard)
        table = table.filter(table["under"].is_valid())
        if table.num_rows:
            yield table["sample"].to_numpy(), table["slot"].to_numpy(), _vectors(table["under"].combine_chunks())


def _vectors(column: pa.ListArray) -> NDArray[np.float16]:
    return np.asarray(column.flatten()).reshape(len(column), -1)


def _count(rows: Sequence[Row]) -> dict[str, int]:
    """Claims found, by kind."""
    kinds = dict.fromkeys(("class", "zone", "context", "spot", "group", "cluster"), 0)
    for row in rows:
        kinds[row["kind"]] += bool(row["found"])
    return kinds
