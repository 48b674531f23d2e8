"""What reviewers disagree with, left out of findings and claims where `Rules.verdicts` asks for that.

A reviewer who disagrees says that the model does look at the object. So the target has no finding, and for claims its
heat counts as lying on the object: it keeps its vote, and votes against. Targets that were never looked at stay as they
were judged. So shares become too small where few were looked at, never too large, and no test finds more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.store import Run
from audit.store.verdicts.decided import DISAGREE, decided
from audit.store.verdicts.log import VerdictLog, target_of

if TYPE_CHECKING:
    import pandas as pd

    from audit.findings.evidence.targets import Evidence, Frames

_SLOTS = 1 << 16


@dataclass(frozen=True)
class Disagreements:
    """What reviewers together disagree with.

    Attributes:
        as_of: number of the verdict log's last row that counts.
        targets: [d] int64, samples times 65536 plus slots, ascending.
        claims: by `claim_id`.
    """

    as_of: int
    targets: NDArray[np.int64]
    claims: frozenset[str]

    @classmethod
    def none(cls) -> Disagreements:
        """Where verdicts are not asked."""
        return cls(0, np.zeros(0, np.int64), frozenset())

    @classmethod
    def of(cls, run: Run, as_of: int | None = None) -> Disagreements:
        """Those of a run's log.

        Raises:
            RunError: the log cannot be read, or is another run's.
        """
        log = VerdictLog.of(run)
        log.check()
        last = log.last() if as_of is None else as_of
        subjects = [subject for subject, said in decided(log.standing(last)).items() if said == DISAGREE]
        targets = [target for subject in subjects if (target := target_of(subject)) is not None]
        keys = np.array(sorted(sample * _SLOTS + slot for sample, slot in targets), np.int64)
        return cls(last, keys, frozenset(subject for subject in subjects if target_of(subject) is None))

    def hold(self, sample: NDArray[np.integer], slot: NDArray[np.integer]) -> NDArray[np.bool_]:
        """[n] which targets they hold."""
        return np.isin(sample.astype(np.int64) * _SLOTS + slot, self.targets)

    def split(self, targets: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Judged targets, those disagreed with without a `kind`; and the findings that are left out for that."""
        held = self.hold(targets["sample"].to_numpy(), targets["slot"].to_numpy())
        return targets.assign(kind=targets["kind"].mask(held)), targets[held & targets["kind"].notna()]

    def heeded(self, evidence: Evidence) -> Evidence:
        """The evidence, with the heat of those targets on their objects."""
        if not len(self.targets):
            return evidence
        held, absent = self.hold(evidence.sample, evidence.slot), evidence.absences
        named = absent.named & ~self.hold(absent.sample, absent.slot)
        off_heat = np.where(held[:, None] & ~np.isnan(evidence.off_heat), np.float16(0), evidence.off_heat)
        return replace(evidence, off=evidence.off & ~held, off_heat=off_heat, absences=replace(absent, named=named))

    def heeded_frames(self, frames: Frames, evidence: Evidence) -> Frames:
        """The same of what gives all heat: it lies where the object does."""

        def read(rows: NDArray[np.int64]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
            heat, objects = frames(rows)
            held = self.hold(evidence.sample[rows], evidence.slot[rows])
            on_object = np.nan_to_num(objects[held])
            heat[held] = on_object / np.maximum(on_object.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
            return heat, objects

        return read


def set_aside_said(summary: Mapping[str, Any]) -> str:
    """How much is left out, from summary.json; empty where verdicts were not asked.

    >>> set_aside_said({"verdicts": {"as_of": 91, "findings": 12, "claims": 1}})
    '12 findings and 1 claim are left out, for reviewers disagree with them (row 91 of the verdict log)'
    >>> set_aside_said({"verdicts": {"as_of": 0, "findings": 0, "claims": 0}})
    'Nothing is left out, for the verdict log holds no verdict yet'
    """
    verdicts = summary.get("verdicts")
    if not verdicts:
        return ""
    if not verdicts["as_of"]:
        return "Nothing is left out, for the verdict log holds no verdict yet"
    findings, claims = (
        f"{verdicts[name]:,} {name if verdicts[name] != 1 else name[:-1]}" for name in ("findings", "claims")
    )
    row = f"row {verdicts['as_of']} of the verdict log"
    return f"{findings} and {claims} are left out, for reviewers disagree with them ({row})"
