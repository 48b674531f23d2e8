"""Which of the targets that were intervened on a claim is about: those that show what it says."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from audit.findings import Claim, Findings
from audit.findings.claims.kind import of_class
from audit.findings.claims.registry import kind_of
from audit.findings.evidence.targets import Evidence, ShardEvidence

_KEYS = ["sample", "slot"]

Shares = NDArray[np.float64]
"""Of p(c), what is lost without something; -1..1."""
Placed = tuple[NDArray[np.intp], Evidence]
"""Places in the table of a shard's targets that were intervened on, and what is known of them."""

_EVEN = 0.5


def share_lost(fall: ArrayLike, probability: ArrayLike) -> Shares:
    """The share of p(c) that a fall of it is, -1..1; of p(c) below even odds the share of those, for little was there.

    >>> share_lost([0.45, 0.01], [0.6, 0.02]).tolist()
    [0.75, 0.02]
    """
    return np.asarray(np.clip(np.asarray(fall) / np.maximum(probability, _EVEN), -1, 1), np.float64)


@dataclass(frozen=True)
class Arms:
    """What interventions did to the flagged targets that a finding is about, and to others.

    Attributes:
        reliance: [n] of the flagged targets.
        possible: [n] as `Tried.possible`.
        object_share: [n] as `Tried.object_share`.
        known: [n] bool, whether the object is.
        controls: [m] reliance of their controls.
        unflagged: [k] reliance of all controls of the class.
        unaccused: [l] reliance of controls of classes that nothing is found about.
    """

    reliance: Shares
    possible: Shares
    object_share: Shares
    known: NDArray[np.bool_]
    controls: Shares
    unflagged: Shares
    unaccused: Shares


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

    @cached_property
    def reliance(self) -> Shares:
        """[n] NaN where nothing was changed."""
        return self.table["reliance"].to_numpy(float)

    @cached_property
    def possible(self) -> Shares:
        """[n] the most that may hang on anything but the object: the reliance, or the hottest part of the object.

        A mark that lies across the object is hot there, and no other background takes it away. What could not be put
        on other backgrounds, and in other colours, may hang on its own altogether: 1.
        """
        tried = (self.table["background"].notna() & self.table["colour"].notna()).to_numpy()
        return np.where(tried, np.fmax(self.reliance, self._share("foreign")), 1.0)

    @cached_property
    def object_share(self) -> Shares:
        """[n] lost without the object, 0 where none is known."""
        return np.nan_to_num(self._share("object"))

    def show(self, claim: Claim) -> NDArray[np.bool_]:
        """[n] which are of a claim's class and show what it says."""
        kind = kind_of(claim)
        shown = np.zeros(len(self.table), bool)
        for places, evidence in self.shards:
            shown[places] = kind.shows(claim, evidence)
        return shown & of_class(claim, self.table["class_id"].to_numpy())

    def arms(self, claim: Claim, accused: Collection[int | None]) -> Arms:
        """The flagged targets that show a claim, and others; without those in which nothing could be changed.

        Args:
            accused: classes that a claim is about.
        """
        changed = ~np.isnan(self.reliance)
        about = self._flagged & self.show(claim) & changed
        drawn = self.table["place"].isin(self.table.loc[self._flagged & self.show(claim), "control"]).to_numpy()
        own = of_class(claim, self.table["class_id"].to_numpy())
        return Arms(
            reliance=self.reliance[about],
            possible=self.possible[about],
            object_share=self.object_share[about],
            known=self.table["object"].notna().to_numpy()[about],
            controls=self.reliance[drawn & ~self._flagged & changed],
            unflagged=self.reliance[own & ~self._flagged & changed],
            unaccused=self.unaccused(accused),
        )

    def flagged_of(self, class_id: int) -> Shares:
        """Reliance of a class's flagged targets."""
        return self._known(self._flagged & (self.table["class_id"] == class_id).to_numpy())

    def controls_of(self, class_id: int) -> Shares:
        """Reliance of the controls of a class."""
        return self._known(~self._flagged & (self.table["class_id"] == class_id).to_numpy())

    def unaccused(self, accused: Collection[int | None]) -> Shares:
        """Reliance of the controls of classes that no claim is about."""
        return self._known(~self._flagged & ~self.table["class_id"].isin(list(accused)).to_numpy())

    @cached_property
    def _flagged(self) -> NDArray[np.bool_]:
        return (self.table["arm"] == "flagged").to_numpy()

    def _share(self, name: str) -> Shares:
        return share_lost(self.table[name].to_numpy(float), self.table["probability"].to_numpy(float))

    def _known(self, rows: NDArray[np.bool_]) -> Shares:
        values = self.reliance[rows]
        return values[~np.isnan(values)]


def _placed(table: pd.DataFrame, shards: Iterator[ShardEvidence]) -> Iterator[Placed]:
    keys = pd.MultiIndex.from_frame(table[_KEYS])
    for _, targets, evidence in shards:
        rows = pd.MultiIndex.from_frame(targets[_KEYS]).get_indexer(keys)
        places = np.flatnonzero(rows >= 0)
        yield places, evidence.take(rows[places])
