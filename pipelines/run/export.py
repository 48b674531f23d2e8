"""Exports over workers: each takes shards of label images, and commits each by the record of what it wrote.

What starts workers is loaded where there are any: it takes longer than a small export.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.export.labels import Spread, one_by_one
from audit.export.labels.writing import Work
from audit.progress import Progress
from audit.store import Run, Shard
from audit.store.storage.objects import Location, address
from pipelines.run.config import ClusterConfig

if TYPE_CHECKING:
    from pipelines.run.shards.shard import Finished, Stopped

_FEW_SAMPLES = 2000
"""That are written before workers would have started, about."""


def over_workers(cluster: ClusterConfig, run: Run, out: Location) -> Spread:
    """Who writes an export's shards: workers, or where there are few samples and none were asked for, this process.

    Args:
        run: what is exported.
        out: folder of the export, on a disk or of a bucket.
    """

    def spread(shards: list[Shard], work: Work, progress: Progress) -> None:
        few = not cluster.is_asked and sum(map(len, shards)) <= _FEW_SAMPLES
        if few or not shards or (cluster.is_local and cluster.local_workers == 1):
            return one_by_one(shards, work, progress)
        from pipelines.run.workers.client import connect
        from pipelines.run.workers.probe import Needs
        from pipelines.run.workers.schedule import submit_all

        needs = Needs(run.address, out=address(out))
        with connect(cluster) as client:
            submit_all(client, shards, partial(write_part, work), progress, cluster=cluster, needs=needs)

    return spread


def write_part(work: Work, shard: Shard) -> Finished | Stopped:
    """Write a shard. What stops it comes back as a value."""
    from pipelines.run.shards.shard import Finished, Stopped, describe

    try:
        images = work(shard)
    except (AuditError, OSError) as error:
        return Stopped(shard, describe(error))
    return Finished(shard, images, len(shard) - images)
