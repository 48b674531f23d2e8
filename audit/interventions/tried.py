"""Which of the targets that were intervened on a claim is about: those that show what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings import Claim, Findings
from audit.findings.claims.kind import of_class
from audit.findings.claims.registry import kind_of
from audit.findings.evidence import Evidence
from audit.findings.findings import ShardEvidence

_KEYS = ["sample", "slot"]

Placed = tuple[NDArray[np.intp], Evidence]
"""Places in the table of a shard's targets that were intervened on, and what is known of them."""


@dataclass(frozen=True)
class Tried:
    """Targets that were intervened on.

    Attributes:
        table: [n] rows of `audit.findings.records.Effect`, and `place`, where each was drawn, and `control`, the place
            of a flagged target's control.
        shards: what is known of them.
    """

    table: pd.DataFrame
    shards: list[Placed]

    @classmethod
    def read(cls, findings: Findings, table: pd.DataFrame) -> Tried:
        """Read what claims need to know of the targets of a table."""
        run = findings.run
        indices = sorted(set(table["sample"] // run.record["shard_size"]))
        shards = [run.shards[index] for index in indices if run.has_scores(run.shards[index])]
        return cls(table, list(_placed(table, findings.evidence(shards))))

    def show(self, claim: Claim) -> NDArray[np.bool_]:
        """[n] which are of a claim's class and show what it says."""
        kind = kind_of(claim)
        shown = np.zeros(len(self.table), bool)
        for places, evidence in self.shards:
            shown[places] = kind.shows(claim, evidence)
        return shown & of_class(claim, self.table["class_id"].to_numpy())

    def reliance(self, claim: Claim) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Reliance of the flagged targets that show a claim, and of their controls; without those that have none."""
        about = (self.table["arm"] == "flagged") & self.show(claim)
        drawn = self.table["place"].isin(self.table.loc[about, "control"]) & (self.table["arm"] == "control")
        flagged, controls = (self.table.loc[rows, "reliance"].dropna().to_numpy() for rows in (about, drawn))
        return flagged, controls

    def floor(self, claims: list[Claim]) -> float:
        """Mean reliance of the controls of classes that no claim is about; NaN without any."""
        accused = {claim.class_id for claim in claims}
        control = (self.table["arm"] == "control") & ~self.table["class_id"].isin(accused)
        return float(self.table.loc[control, "reliance"].mean())


def _placed(table: pd.DataFrame, shards: Iterator[ShardEvidence]) -> Iterator[Placed]:
    keys = pd.MultiIndex.from_frame(table[_KEYS])
    for _, targets, evidence in shards:
        rows = pd.MultiIndex.from_frame(targets[_KEYS]).get_indexer(keys)
        places = np.flatnonzero(rows >= 0)
        yield places, evidence.take(rows[places])
