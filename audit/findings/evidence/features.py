"""The features that a run kept: what lies under the heat of its targets, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.findings.evidence.targets import Features
from audit.images import map_ahead
from audit.store import Run, Shard

_AHEAD = 8
"""Shards that are read meanwhile."""


def read_features(run: Run, shards: Sequence[Shard]) -> Iterator[Features]:
    """Samples, slots and the relevance off the object, of those targets of each shard that have it."""
    for table in map_ahead(partial(run.read, "features"), shards, _AHEAD):
        table = table.filter(pc.is_valid(table["relevance"]))
        if table.num_rows:
            relevance = table["relevance"].combine_chunks()
            assert isinstance(relevance, pa.ListArray)
            vectors = np.asarray(relevance.flatten()).reshape(table.num_rows, -1)
            yield table["sample"].to_numpy(), table["slot"].to_numpy(), vectors
