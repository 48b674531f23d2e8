"""What lies under the heat of a run's targets, read shard by shard and clustered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.findings.cards import cluster_claims
from audit.findings.clusters import Part, cluster_targets
from audit.findings.contrasts import Row
from audit.findings.evidence import Evidence
from audit.store import Run, Shard, layout
from audit.store.tables import write_table


def cluster_run(run: Run, shards: Sequence[Shard], evidence: Evidence, level: float) -> list[Row]:
    """Cluster the targets of a run, write who is in which cluster, and return the claims.

    Args:
        shards: that the evidence is of.
        level: false discovery rate.

    Raises:
        RunError: a part is missing or damaged.
    """
    members = cluster_targets(lambda: feature_parts(run, shards), evidence)
    write_table(run.path / layout.FINDINGS / layout.CLUSTERS, members.table(evidence), layout.MEMBER)
    return cluster_claims(members, evidence, level)


def feature_parts(run: Run, shards: Sequence[Shard]) -> Iterator[Part]:
    """Samples, slots and what lies under their heat, of those targets of each shard that have it."""
    for shard in shards:
        table = run.read("features", shard)
        table = table.filter(pc.is_valid(table["under"]))
        if table.num_rows:
            under = table["under"].combine_chunks()
            assert isinstance(under, pa.ListArray)
            yield (
                table["sample"].to_numpy(),
                table["slot"].to_numpy(),
                np.asarray(under.flatten()).reshape(table.num_rows, -1),
            )
