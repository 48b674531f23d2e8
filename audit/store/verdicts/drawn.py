"""Boxes that reviewers drew, as a scoring took them for objects: `drawn.parquet` of a run.

They are taken over from the verdict log at once, so that all shards are scored with the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace

import pyarrow as pa
import pyarrow.compute as pc

from audit.datasets.manifest import Box
from audit.datasets.objects import has_objects
from audit.store import layout
from audit.store.run import Run
from audit.store.storage.files import sha256
from audit.store.tables.parts import write_table
from audit.store.verdicts.log import VerdictLog, target_of


def take_drawn(run: Run) -> tuple[Run, int]:
    """Take over the boxes that stand in the log, of samples for which no mask, outline or box is listed.

    Returns:
        The run, and how many boxes those are.

    Raises:
        RunError: the log is another run's, or a table is damaged.
    """
    log = VerdictLog.of(run)
    log.check()
    rows = [(sample, *astuple(box)) for sample, box in _boxes(run, log)]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in layout.DRAWN_BOXES.names]
    path = run.path / layout.DRAWN
    write_table(path, dict(zip(layout.DRAWN_BOXES.names, columns, strict=True)), layout.DRAWN_BOXES)
    return run.amended(artefacts={**run.record["artefacts"], layout.DRAWN: sha256(path)}), len(rows)


def leave_drawn(run: Run) -> Run:
    """The run without such boxes."""
    if layout.DRAWN not in run.record["artefacts"]:
        return run
    artefacts = {name: digest for name, digest in run.record["artefacts"].items() if name != layout.DRAWN}
    run = run.amended(artefacts=artefacts)
    (run.path / layout.DRAWN).unlink(missing_ok=True)
    return run


def _boxes(run: Run, log: VerdictLog) -> Iterator[tuple[int, Box]]:
    """Each box with its sample; its class is the target's."""
    drawn = {target: boxes for subject, boxes in log.boxes().items() if (target := target_of(subject)) is not None}
    size = run.record["shard_size"]
    owners = {sample // size for sample, _ in drawn}
    for shard in (shard for shard in run.done() if shard.index in owners):
        # As the manifest itself lists them: boxes of an earlier scoring are none of it.
        samples = enumerate(replace(run.manifest(shard.start, shard.stop), drawn={}), shard.start)
        bare = {row for row, sample in samples if not has_objects(sample)}
        targets = run.read("targets", shard, ["sample", "slot", "class_id"])
        some = pa.array(sorted(bare & {sample for sample, _ in drawn}), pa.int64())
        for row in targets.filter(pc.is_in(targets["sample"], some)).to_pylist():
            for corners in drawn.get((row["sample"], row["slot"]), ()):
                yield row["sample"], Box(row["class_id"], *corners)
