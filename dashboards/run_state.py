"""Where a run stands, what was found about it as a whole, and its samples; what cannot be read is a notice."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import Any

import pyarrow.compute as pc

from audit.errors import RunError
from audit.findings import Claim, ClassFinding, Findings
from audit.findings.records import Shown
from audit.store import Account, Run, Shard, layout
from audit.store.storage.files import stamp_of
from audit.store.storage.objects import ObjectPath

_CHANGING = (
    layout.LEDGER,
    layout.SUMMARY,
    f"{layout.FINDINGS}/{layout.FINDINGS_LEDGER}",
    layout.EMBEDDING,
    layout.CONCEPTS,
)
_BUCKET_ASKED_EVERY_S = 2.0


class RunState:
    """A run as it was when this was made.

    Attributes:
        run: the run.
        findings: of it, also such as were made from an earlier ledger.
        notices: what is missing or damaged, a line each.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.findings = Findings(run, stale=True)
        self.notices: list[str] = []

    @cached_property
    def flagged(self) -> bool:
        """Whether findings were made, though they may be lost."""
        return self.findings.flagged or (self.run.path / layout.SUMMARY).exists()

    @cached_property
    def scored(self) -> bool:
        """Whether any shard has scores."""
        return any(self._is_scored(shard) for shard in self.run.done())

    def _is_scored(self, shard: Shard) -> bool:
        try:
            return self.run.has_scores(shard)
        except RunError:
            return False

    @property
    def judged(self) -> bool:
        """Whether any map was compared with an object."""
        return bool((self.summary() or {}).get("scores", {}).get("scored"))

    @cached_property
    def outdated(self) -> bool:
        """Whether the run went on, or was scored again, since the findings were made."""
        try:
            return self.findings.flagged and not self.findings.current
        except RunError:
            return False

    def account(self) -> Account | None:
        """Where the run stands; None, with a notice, if the ledger is damaged."""
        return self._account

    @cached_property
    def _account(self) -> Account | None:
        try:
            return self.run.account()
        except (RunError, KeyError, TypeError) as error:
            damage = f"Damaged ledger of {self.run.path} ({error!r}); {self._repair()}"
            self._notice(str(error) if isinstance(error, RunError) else damage)
            return None

    def summary(self) -> dict[str, Any] | None:
        """summary.json; None before the run was flagged, and, with a notice, if there is none to read."""
        return self._summary

    @cached_property
    def _summary(self) -> dict[str, Any] | None:
        try:
            summary = self.findings.summary()
        except RunError:
            summary = None
        if summary is None and self.flagged:
            self._notice(f"No readable {layout.SUMMARY}, so no threshold and curve; {self._flag_again()}")
        return summary

    def classes(self) -> list[ClassFinding]:
        """Findings about classes, most suspicious first; empty before the run was flagged, and where none are read."""
        return self._classes

    @cached_property
    def _classes(self) -> list[ClassFinding]:
        try:
            return self.findings.classes() if self.flagged else []
        except RunError:
            self._notice(f"No readable findings about classes; {self._flag_again()}")
            return []

    def claims(self) -> list[Claim]:
        """Claims that were found, surest first, with what interventions made of them; empty where none can be read."""
        return self._claims

    @cached_property
    def _claims(self) -> list[Claim]:
        try:
            return self.findings.standing_claims() if self.flagged else []
        except (RunError, ValueError, KeyError, TypeError):
            self._notice(f"No readable claims; {self._flag_again()}")
            return []

    @cached_property
    def shown(self) -> dict[str, Shown]:
        """What shows the claims that stand, by `claim_id`; empty where it cannot be read."""
        return self.findings.shown() if self.summary() else {}

    def threshold(self) -> float | None:
        """The threshold of the run's pseudo-masks; None where none was chosen, as without masks to choose it by."""
        summary = self.summary() or {}
        threshold = summary.get("threshold")
        chosen = isinstance(threshold, float) and (summary.get("mean_iou") is not None or threshold > 0)
        return threshold if chosen else None

    def sample(self, number: int) -> dict[str, Any] | None:
        """A sample's row; None while it is pending, and where it cannot be read."""
        rows = self._of_sample("samples", number)
        return rows[0] if rows else None

    def why_unknown(self, number: int | None) -> str:
        """Why there is no row of a sample."""
        if number is None or not 0 <= number < self.run.samples:
            return f"No such sample: the run has {self.run.samples:,}, numbered from 0."
        if self._shard_of(number) is None:
            return "This sample is pending: the run has not reached it yet."
        return f"What the run knows of this sample cannot be read; {self._repair()}"

    def _of_sample(self, table: str, number: int) -> list[dict[str, Any]]:
        """A sample's rows, from its shard's part alone; none where the part is missing or damaged."""
        shard = self._shard_of(number)
        if shard is None or (table == "scores" and not self._is_scored(shard)):
            return []
        try:
            part = self.run.read(table, shard)
        except RunError as error:
            self._notice(str(error))
            return []
        rows: list[dict[str, Any]] = part.filter(pc.equal(part["sample"], number)).to_pylist()
        return rows

    def _shard_of(self, number: int) -> Shard | None:
        """The shard of a sample; None where there is no such sample or it is pending."""
        if not 0 <= number < self.run.samples:
            return None
        shard = self.run.shards[number // int(self.run.record["shard_size"])]
        return shard if self.run.ledger.path(shard.index).exists() else None

    def _notice(self, line: str) -> None:
        if line not in self.notices:
            self.notices.append(line)

    def _flag_again(self) -> str:
        verb = "flag" if self.scored else "score"
        return f"make them again with: camaudit {verb} {self.run.path}"

    def _repair(self) -> str:
        return f"recompute with: camaudit repair {self.run.path}"


def stamp(run: Run) -> tuple[str, ...]:
    """Changes when the run goes on, is scored or flagged again. A bucket is asked no more than every few seconds."""
    if isinstance(run.path, ObjectPath):
        return _stamp_of_bucket(run.path, int(time.monotonic() / _BUCKET_ASKED_EVERY_S))
    return tuple(stamp_of(run.path / name) for name in (*_CHANGING, layout.FINDINGS, *layout.PARTS))


@lru_cache(maxsize=64)
def _stamp_of_bucket(path: ObjectPath, _moment: int) -> tuple[str, ...]:
    with ThreadPoolExecutor(len(_CHANGING)) as pool:
        return tuple(pool.map(stamp_of, [path / name for name in _CHANGING]))
