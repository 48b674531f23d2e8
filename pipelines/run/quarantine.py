"""Samples that kill the worker that reads them: sought one by one, then left out."""

from __future__ import annotations

from dataclasses import replace

from audit.progress import Noted, Progress, silent
from audit.store import Run, Shard
from pipelines.run.shard import Task, tried_path


class Quarantine:
    """Which rows of which shard were seen to kill their worker.

    A shard whose worker died is taken again by a careful task, which notes each row before it touches it. The row that
    is noted when the worker dies once more is the one to leave out.

    Args:
        run: whose shards they are.
        task: what its workers were told.
    """

    def __init__(self, run: Run, task: Task) -> None:
        self._run, self._task = run, task
        self._rows: dict[Shard, frozenset[int]] = {}

    def rows(self, shard: Shard) -> frozenset[int]:
        """Rows of a shard that are left out."""
        return self._rows.get(shard, frozenset())

    def next_task(self, shard: Shard, progress: Progress = silent) -> Task:
        """What to do with a shard whose worker died: one sample at a time, without those seen to kill."""
        if shard in self._rows:
            self._leave_out(shard, progress)
        else:
            self._look_closer(shard, progress)
        return replace(self._task, compiled=False, careful=True, quarantined=self.rows(shard))

    def _look_closer(self, shard: Shard, progress: Progress) -> None:
        # The note of a run that was itself killed says nothing about the sample.
        tried_path(self._run, shard).unlink(missing_ok=True)
        self._rows[shard] = frozenset()
        progress(Noted(f"samples {shard.start} to {shard.stop - 1} keep killing their worker: taken one by one"))

    def _leave_out(self, shard: Shard, progress: Progress) -> None:
        path = tried_path(self._run, shard)
        if not path.exists():  # it died before the first sample
            return
        row = int(path.read_text())
        path.unlink()
        self._rows[shard] |= {row}
        progress(Noted(f"sample {row} keeps killing its worker: quarantined"))
