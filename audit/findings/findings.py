"""What was found in a run: the one reader of `findings/`, `summary.json` and what interventions said.

What tests claims is imported where it is asked for: verbs that print what was found start in a third of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import AuditError, RunError
from audit.findings.forms import findings_html
from audit.findings.records import (
    UNTESTED,
    Claim,
    ClaimChannel,
    ClassFinding,
    Effect,
    Finding,
    Member,
    Outcome,
    Shown,
    standing,
    surest_first,
)
from audit.findings.rules import Rules
from audit.html import paragraph
from audit.store import Damage, Run, Shard, layout
from audit.store.storage.files import check_digest, check_names, read_json, sha256
from audit.store.storage.local_copies import local_copy
from audit.store.storage.objects import Location
from audit.store.tables.parts import made_by, read_rows, read_table
from audit.store.tables.records import Record

if TYPE_CHECKING:
    from audit.findings.evidence.disagreements import Disagreements
    from audit.findings.evidence.targets import ShardEvidence

_KEYS = ["sample", "slot"]
_Kind = TypeVar("_Kind", bound=Record)


class MadeFrom(NamedTuple):
    """`findings/ledger.json`.

    Attributes:
        ledger: digest of the run's ledger that findings were made from.
        artefacts: files of the findings with their sha256.
    """

    ledger: str
    artefacts: dict[str, str]


class Findings:
    """The findings of a run, read when they are asked for.

    `findings/ledger.json` is written last. It names every file with its sha256, and the digest of the run's ledger that
    findings were made from: what came into the ledger since, or was scored again, they do not know.

    Args:
        stale: whether findings made from an earlier ledger may be read, as by a page that says so.
    """

    def __init__(self, run: Run, stale: bool = False) -> None:
        self.run = run
        self._stale = stale
        self._folder = run.path / layout.FINDINGS
        self._ledger_json = self._folder / layout.FINDINGS_LEDGER
        self._again = f"again: `camaudit flag {run.path}`"

    def _repr_html_(self) -> str:
        try:
            return findings_html(*self.counted(), self.classes(), self.standing_claims())
        except AuditError as error:
            return paragraph(error)

    # What was found

    @property
    def flagged(self) -> bool:
        """Whether the run was flagged at all."""
        return self._ledger_json.exists()

    @cached_property
    def current(self) -> bool:
        """Whether they were made from the run's ledger as it is, and no scoring was interrupted since.

        Raises:
            RunError: `findings/ledger.json`, or an entry of the run's ledger, is damaged.
        """
        return self.flagged and self.made_from.ledger == self.run.ledger.digest() and not self.run.outdated()

    def classes(self) -> list[ClassFinding]:
        """Findings about classes, most suspicious first.

        Raises:
            RunError: the run was not flagged yet, or not since it has changed.
        """
        self.check()
        return self._records(layout.CLASS_FINDINGS, ClassFinding)

    def claims(self) -> list[Claim]:
        """Claims and what was tested and is none, with their outcomes: those that stand first, then by q.

        Raises:
            RunError: the run was not flagged yet, or not since it has changed.
        """
        self.check()
        outcomes = self.outcomes()
        claims = [
            replace(claim, outcome=outcomes[claim.claim_id].outcome if claim.claim_id in outcomes else UNTESTED)
            for claim in self._records(layout.CLAIMS, Claim)
        ]
        return surest_first(claims)

    def standing_claims(self) -> list[Claim]:
        """Those that stand, by q; behind them those that rest on heat alone, which cannot tell what it lies on."""
        return standing(self.claims())

    def index(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All targets, found or not, the most telling first; columns of `audit.findings.pages.index.SCHEMA`.

        Raises:
            RunError: the run was not flagged yet, or not since it has changed, or by an earlier camaudit.
        """
        self.check()
        path = self.index_file()
        return read_table(path, columns)

    def leading(self, start: int, stop: int, columns: Sequence[str]) -> pa.Table:
        """Targets of ranks `start` to `stop - 1`, for which the row groups that hold them are read.

        Raises:
            RunError: see `index`.
        """
        self.check()
        return read_rows(self.index_file(), start, stop, columns)

    def counted(self) -> tuple[int, int]:
        """How many targets have a finding by evidence, and how many by a detector's guess: the first of the index."""
        counts = (self.summary() or {}).get("findings", {})
        guesses = counts.get("detected", 0)
        return sum(counts.values()) - guesses, guesses

    def index_file(self) -> Path:
        """The index as a file of this machine, seen to be what was written.

        Raises:
            RunError: it is not, or there is none: an earlier camaudit flagged the run.
        """
        path = self._folder / layout.INDEX
        if layout.INDEX not in self.made_from.artefacts:
            raise RunError(f"{self.run.path} was flagged without a table of all targets; make it {self._again}")
        return local_copy(path, self.made_from.artefacts[layout.INDEX], made_by(path))

    def shown(self) -> dict[str, Shown]:
        """What shows the claims that stand, by `claim_id`; nothing where an earlier camaudit flagged the run."""
        return {row["claim_id"]: Shown(**row) for row in (self.summary() or {}).get("shown", [])}

    @property
    def has_claims(self) -> bool:
        """Whether claims were written."""
        return layout.CLAIMS in self.made_from.artefacts

    def targets(self) -> pa.Table:
        """All findings about targets, columns of `Finding`, most suspicious first; a detector's guesses come last.

        Raises:
            RunError: the run was not flagged yet, or not since it has changed.
        """
        self.check()
        parts = sorted(name for name in self.made_from.artefacts if name.startswith("part-"))
        tables = [self._table(part) for part in parts] or [Finding.schema().empty_table()]
        found = pa.concat_tables(tables)
        found = found.append_column("guess", pc.equal(found["kind"], "detected"))
        order = [("guess", "ascending"), ("suspicion", "descending"), ("finding_id", "ascending")]
        return found.sort_by(order).drop_columns("guess")

    def of_shard(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """A shard's findings about targets.

        Raises:
            RunError: the shard was not flagged yet.
        """
        self.check()
        name = layout.part_name(shard.index)
        if name not in self.made_from.artefacts:
            where = f"samples {shard.start} to {shard.stop - 1} of {self.run.path}"
            raise RunError(f"Expected findings about {where}, found none; make them {self._again}")
        return self._table(name, columns)

    def part(self, shard: Shard) -> Location | None:
        """The file of a shard's findings about targets; None where it was not flagged."""
        name = layout.part_name(shard.index)
        return self._folder / name if name in self.made_from.artefacts else None

    def about(self, targets: Iterable[tuple[int, int]]) -> Iterator[Finding]:
        """The findings about some targets, samples and slots, in their order.

        Raises:
            RunError: their shard was not flagged yet.
        """
        size = self.run.record["shard_size"]
        for sample, slot in targets:
            table = self.of_shard(self.run.shards[sample // size])
            of_target = (pc.field("sample") == sample) & (pc.field("slot") == slot)
            yield from map(Finding.from_row, table.filter(of_target).to_pylist())

    def evidence(self, shards: Iterable[Shard]) -> Iterator[ShardEvidence]:
        """The targets of flagged shards as claims take them, shard by shard; numbers of units hold within a shard.

        Raises:
            RunError: a shard was not flagged yet, or its tables are damaged.
        """
        from audit.findings.evidence.gather import gather
        from audit.findings.evidence.targets import ShardEvidence

        rules = self.rules()
        members = self.members().select([*_KEYS, "cluster"]).to_pandas()
        for shard in shards:
            gathered = gather(self.run, [shard], unit=rules.unit)
            keys = gathered.targets[_KEYS]
            flagged = self.of_shard(shard, [*_KEYS, "kind", "severity", "suspicion"]).to_pandas()
            judged = keys.merge(flagged, on=_KEYS, how="left")
            cluster = keys.merge(members, on=_KEYS, how="left")["cluster"].fillna(-1).to_numpy(np.int32)
            evidence = self.disagreements.heeded(gathered.evidence(self.run, judged, rules.confident, cluster))
            targets = gathered.targets.assign(suspicion=judged["suspicion"].to_numpy())
            yield ShardEvidence(shard, targets, evidence)

    def check_part(self, shard: Shard) -> None:
        """See that a shard's findings about targets, if it has any, are what was written.

        Raises:
            RunError: they are not.
        """
        path = self.part(shard)
        if path is not None:
            check_digest(path, self.made_from.artefacts[path.name], made_by(path))

    def set_aside(self) -> pa.Table:
        """Findings that reviewers disagree with and that are left out for that, columns of `Finding`; mostly none.

        Raises:
            RunError: the run was not flagged yet, or not since it has changed.
        """
        self.check()
        named = layout.SET_ASIDE in self.made_from.artefacts
        return self._table(layout.SET_ASIDE) if named else Finding.schema().empty_table()

    @cached_property
    def disagreements(self) -> Disagreements:
        """What reviewers disagreed with when the run was flagged, where that was heeded.

        Raises:
            RunError: summary.json, or the verdict log, cannot be read.
        """
        from audit.findings.evidence.disagreements import Disagreements

        heeded = (self.summary() or {}).get("verdicts")
        return Disagreements.of(self.run, heeded["as_of"]) if heeded else Disagreements.none()

    def channels(self) -> list[ClaimChannel]:
        """The channels of the network that standing claims' heat off the object comes from, claim by claim.

        None where the method's maps are no sum over channels.
        """
        return self._records(layout.CLAIM_CHANNELS, ClaimChannel)

    def members(self) -> pa.Table:
        """Which target is in which cluster, columns of `Member`; empty where there are no clusters."""
        named = layout.CLUSTERS in self.made_from.artefacts
        return self._table(layout.CLUSTERS) if named else Member.schema().empty_table()

    def summary(self) -> dict[str, Any] | None:
        """summary.json; None before the run was flagged.

        Raises:
            RunError: it is damaged.
        """
        path = self.run.path / layout.SUMMARY
        return read_json(path, self._again) if path.exists() else None

    def rules(self) -> Rules:
        """The rules that the run was last flagged with, the default before.

        Raises:
            RunError: an earlier camaudit flagged it, by other rules, or its record is damaged.
        """
        summary = self.summary()
        if summary is None:
            return Rules()
        try:
            return Rules(**summary["rules"])
        except (KeyError, TypeError, ValueError):
            path = self.run.path / layout.SUMMARY
            raise RunError(f"{path} was made by rules of an earlier camaudit, or is damaged; {self._again}") from None

    # What interventions said

    def effects(self) -> dict[tuple[int, int], Effect]:
        """What interventions did to targets, by sample and slot; none before `camaudit verify`."""
        effects = self._records(layout.EFFECTS, Effect)
        return {(effect.sample, effect.slot): effect for effect in effects}

    @property
    def has_effects(self) -> bool:
        """Whether interventions were made."""
        return layout.EFFECTS in self.made_from.artefacts

    def outcomes(self) -> dict[str, Outcome]:
        """What interventions say of claims, by claim; none before `camaudit verify`."""
        outcomes = self._records(layout.CAUSES, Outcome)
        return {outcome.claim_id: outcome for outcome in outcomes}

    def damaged(self) -> Iterator[Damage]:
        """Files of the findings that are not what was written."""
        try:
            artefacts = self.made_from.artefacts
            self.summary()
        except RunError as error:
            yield Damage(layout.FINDINGS, str(error))
            return
        for name, digest in artefacts.items():
            if sha256(self._folder / name) != digest:
                yield Damage(f"{layout.FINDINGS}/{name}", made_by(self._folder / name))

    def check(self) -> None:
        """See that there are findings, and that they are of the run as it is.

        Raises:
            RunError: the run was not flagged yet, or not since it has changed.
        """
        path = self.run.path
        if not self.flagged:
            done = self.run.done()
            if not done:
                raise RunError(f"{path} has no finished shard yet, so no findings; finish it with `camaudit run`")
            verb = "flag" if self.run.having("scores") else "score"
            unfinished = len(done) < len(self.run.shards)
            rest = "finish it with `camaudit run`, or judge what is done" if unfinished else "make them"
            raise RunError(f"{path} has no findings yet; {rest} with `camaudit {verb} {path}`")
        if not self._stale and not self.current:
            again = f"make them again with `camaudit {'score' if self.run.outdated() else 'flag'} {path}`"
            raise RunError(f"The findings of {path} were made before its ledger changed; {again}")

    @cached_property
    def made_from(self) -> MadeFrom:
        """What they were made from; of nothing before the run was flagged.

        Raises:
            RunError: `findings/ledger.json` is damaged, or names files elsewhere.
        """
        record = read_json(self._ledger_json, self._again) if self.flagged else {}
        check_names(record.get("artefacts", {}), self._ledger_json)
        return MadeFrom(record.get("ledger", ""), record.get("artefacts", {}))

    def _table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        return read_table(self._folder / name, columns, self.made_from.artefacts[name])

    def _records(self, name: str, kind: type[_Kind]) -> list[_Kind]:
        return [kind.from_row(row) for row in self._table(name).to_pylist()] if name in self.made_from.artefacts else []
