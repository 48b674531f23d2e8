"""Samples that kill the worker that reads them: sought one by one, then left out.

That a worker is lost says nothing about a sample: clusters take machines back. A sample is left out when it killed
twice, each time alone on a worker that had not said that it would close.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc

from audit.errors import RunError
from audit.progress import Noted, Progress, silent
from audit.store import Run, Shard, layout
from audit.store.storage.objects import Location
from pipelines.run.shards.reading import QUARANTINED
from pipelines.run.shards.shard import Task
from pipelines.run.workers.crew import KEPT, Loss

_TO_LOOK_CLOSER = 2
_TO_LEAVE_OUT = 2
_BLANKS = 2

DEATHS = 12
"""Workers that a shard may lose with nothing to blame."""


class Quarantine:
    """Which rows of which shard were seen to kill their worker.

    A shard that lost its worker twice is taken again by a careful task, which notes each row before it touches it. The
    row that is noted when the worker dies is the suspect. Rows that an earlier run left out are tried once more.

    Args:
        run: whose shards they are; what killed runs noted in it is forgotten.
        task: what its workers are told.
    """

    def __init__(self, run: Run, task: Task) -> None:
        self._run, self._task = run, task
        self._rows: dict[Shard, frozenset[int]] = {}
        self._earlier: dict[Shard, frozenset[int]] = {}
        self._kills: Counter[int] = Counter()
        self._deaths: Counter[Shard] = Counter()
        self._blanks: Counter[Shard] = Counter()
        for note in (run.path / layout.LEDGER).glob("*.trying"):
            note.unlink(missing_ok=True)

    def rows(self, shard: Shard) -> frozenset[int]:
        """Rows of a shard that are left out."""
        return self._rows.get(shard, frozenset())

    def task(self, shard: Shard) -> Task:
        """What a worker is told to do with a shard: a suspicious one is taken one sample at a time."""
        if shard not in self._earlier:
            self._recall(shard)
        rows = self.rows(shard)
        task = replace(self._task, quarantined=rows, retried=bool(rows) and rows <= self._earlier[shard])
        return replace(task, compiled=False, careful=True) if self._careful(shard) else task

    def lost(self, shard: Shard, key: str, loss: Loss, progress: Progress = silent) -> None:
        """Learn that a worker died which had the shard, as the task `key`.

        Raises:
            RunError: workers die while they touch no sample, or again and again without a sample to blame.
        """
        careful = self._careful(shard)
        self._deaths[shard] += 1
        if careful:
            self._blame(shard, key, loss, progress)
        elif self._careful(shard):
            progress(Noted(f"{_named(shard)} lost their worker {_TO_LOOK_CLOSER} times: taken one by one"))

    def _careful(self, shard: Shard) -> bool:
        return self._deaths[shard] >= _TO_LOOK_CLOSER

    def _blame(self, shard: Shard, key: str, loss: Loss, progress: Progress) -> None:
        noted = list(self._noted(shard, loss.worker))
        if loss.tasks == {key}:  # it was alone
            for row in noted:
                self._suspect(shard, row, progress)
            if not noted:
                self._blank(shard)
        if self._deaths[shard] > DEATHS:
            raise RunError(f"{_named(shard)} lost their worker {DEATHS} times, and no sample is to blame; {KEPT}")

    def _suspect(self, shard: Shard, row: int, progress: Progress) -> None:
        self._kills[row] += 1
        if self._kills[row] < _TO_LEAVE_OUT:
            return
        self._rows[shard] = self.rows(shard) | {row}
        self._deaths[shard] = _TO_LOOK_CLOSER  # the others have all their chances again
        progress(Noted(f"sample {row} keeps killing its worker: quarantined"))

    def _blank(self, shard: Shard) -> None:
        self._blanks[shard] += 1
        if self._blanks[shard] >= _BLANKS:
            raise RunError(
                f"Workers die before the first of {_named(shard)}, or after the last: the model ends the process that "
                f"loads it, or more memory is needed than a worker has (--memory, --workers); {KEPT}"
            )

    def _noted(self, shard: Shard, worker: str) -> Iterator[int]:
        """The rows that the shard's attempts on a dead worker had noted."""
        for path in (self._run.path / layout.LEDGER).glob(f"{shard.index:05d}.*.trying"):
            note = _read_note(path)
            if note.get("worker") == worker:
                path.unlink(missing_ok=True)
                yield note["row"]

    def _recall(self, shard: Shard) -> None:
        """What an earlier run left out: it is tried once more, alone, and no more unless that is asked."""
        entry = self._run.entry(shard) or {}
        self._earlier[shard] = quarantined_rows(self._run, shard) if entry.get("quarantined") else frozenset()
        if entry.get("retried"):
            self._rows[shard] = self._earlier[shard]
        elif self._earlier[shard]:
            self._kills.update(dict.fromkeys(self._earlier[shard], _TO_LEAVE_OUT - 1))
            self._deaths[shard] = _TO_LOOK_CLOSER


def quarantined_rows(run: Run, shard: Shard) -> frozenset[int]:
    """Rows of a finished shard that were left out."""
    samples = run.read("samples", shard, ["sample", "reason"])
    return frozenset(samples.filter(pc.equal(samples["reason"], QUARANTINED))["sample"].to_pylist())


def _read_note(path: Location) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):  # another attempt has just ended
        return {}
    return note


def _named(shard: Shard) -> str:
    return f"samples {shard.start} to {shard.stop - 1}"
