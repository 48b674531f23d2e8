"""The same samples with a cue in their images, audited beside themselves: what the model makes of a real shortcut."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings.evidence.gather import gather
from audit.findings.evidence.targets import Evidence
from audit.findings.judge import judge
from audit.findings.rules import Rules
from audit.progress import Progress
from audit.store import Run

_CHANGED = ("probability", "named", "off", "severity", "off_heat", "off_area", "clear", "wrong")
"""Columns of the evidence that a painted sample's target brings with it."""


@dataclass(frozen=True)
class Painted:
    """Targets of painted samples, to be taken in the place of those of the same samples as they are.

    Attributes:
        evidence: of the painted run.
        keys: [n] sample as it is, and class, as one number, ascending.
        rows: [n] the painted target of each in the evidence.
    """

    evidence: Evidence
    keys: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, run: Run, painted: Run, rules: Rules, progress: Progress) -> Painted:
        """The targets of both runs, matched by the ids of their samples, judged by the same rules.

        Raises:
            RunError: other classes, or no sample of the one is in the other.
        """
        if run.classes != painted.classes:
            raise RunError(f"Expected a painted run with the classes of {run.path}, got others in {painted.path}")
        evidence, _ = read_evidence(painted, rules, progress)
        numbers = _samples(run).set_index("id")["sample"]
        sample = _samples(painted).set_index("sample")["id"].reindex(evidence.sample).map(numbers)
        rows = np.flatnonzero(sample.notna())
        if not len(rows):
            raise RunError(f"Expected samples of {run.path} in {painted.path}, by their ids; found none")
        keys = sample.to_numpy(np.float64)[rows].astype(np.int64) * len(run.classes) + evidence.class_id[rows]
        order = np.argsort(keys)
        return cls(evidence, keys[order], rows[order])

    def show(self, evidence: Evidence, rows: NDArray[np.integer]) -> Evidence:
        """The same with the painted samples' targets at some rows; where there is none the row stays."""
        there = self.at(evidence, rows)
        here, there = rows[there >= 0], there[there >= 0]
        changed = {name: getattr(evidence, name).copy() for name in _CHANGED}
        for name, column in changed.items():
            column[here] = getattr(self.evidence, name)[there]
        return replace(evidence, **changed)

    def at(self, evidence: Evidence, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """The painted targets [m] of some rows [m], -1 for none."""
        wanted = evidence.sample[rows] * len(evidence.classes) + evidence.class_id[rows]
        place = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.rows[place], -1)

    def told(self, evidence: Evidence, class_id: int) -> str:
        """What the cue does to a class, in a sentence."""
        rows = np.flatnonzero(evidence.class_id == class_id)
        there = self.at(evidence, rows)
        rows, there = rows[there >= 0], there[there >= 0]
        before, after = evidence.off[rows].sum(), self.evidence.off[there].sum()
        return (
            f"{evidence.classes[class_id]}: of {len(rows)} images {before} look off the object as they are, "
            f"{after} painted; {self.evidence.named[there].sum()} are named with confidence then"
        )


def read_evidence(run: Run, rules: Rules, progress: Progress) -> tuple[Evidence, NDArray[np.float64]]:
    """Evidence on all scored targets, judged by rules, and the share [n] of what was seen that is their object."""
    shards = run.having("scores")
    gathered = gather(run, shards, progress, rules.unit)
    judged: pd.DataFrame = judge(gathered.scored, rules)
    return gathered.evidence(run, judged, rules.confident), gathered.targets["area"].to_numpy(np.float64)


def _samples(run: Run) -> pd.DataFrame:
    """Numbers and ids of the samples of finished shards."""
    tables = [run.read("samples", shard, ["sample", "id"]).to_pandas() for shard in run.done()]
    return pd.concat(tables) if tables else pd.DataFrame({"sample": [], "id": []})
