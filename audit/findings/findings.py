"""What was found in a run: the one reader and writer of `findings/`, `summary.json` and what interventions said."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import RunError
from audit.findings.claims.clustering import Members
from audit.findings.evidence import Evidence
from audit.findings.gather import gather
from audit.findings.records import UNTESTED, Claim, ClassFinding, Effect, Finding, Member, Outcome
from audit.findings.rules import Rules
from audit.store import Run, Shard, layout
from audit.store.files import read_json, write_json
from audit.store.records import read_records, write_records
from audit.store.tables import read_table, write_table

_KEYS = ["sample", "slot"]
_THREADS = 4

Columns = Mapping[str, Any]


class ShardEvidence(NamedTuple):
    """What was found out about the targets of a shard.

    Attributes:
        targets: a row each, as `audit.findings.gather.Gathered` has them.
        evidence: of the same targets; `off` and `severity` are those of their findings.
    """

    shard: Shard
    targets: pd.DataFrame
    evidence: Evidence


class Findings:
    """The findings of a run, read when they are asked for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._folder = run.path / layout.FINDINGS

    # What was found

    @property
    def flagged(self) -> bool:
        """Whether the run was flagged at all."""
        return (self._folder / layout.CLASS_FINDINGS).exists()

    def classes(self) -> list[ClassFinding]:
        """Findings about classes, most suspicious first.

        Raises:
            RunError: the run was not flagged yet.
        """
        self._check_flagged()
        return read_records(self._folder / layout.CLASS_FINDINGS, ClassFinding)

    def claims(self) -> list[Claim]:
        """Claims and what was tested and is none, with their outcomes: those that stand first, then by q."""
        outcomes = self.outcomes()
        claims = [
            replace(claim, outcome=outcomes[claim.claim_id].outcome if claim.claim_id in outcomes else UNTESTED)
            for claim in read_records(self._folder / layout.CLAIMS, Claim)
        ]
        return sorted(claims, key=lambda claim: (not claim.found, math.inf if claim.q is None else claim.q))

    def standing_claims(self) -> list[Claim]:
        """Those that stand, by q."""
        return [claim for claim in self.claims() if claim.found]

    @property
    def has_claims(self) -> bool:
        """Whether claims were written."""
        return (self._folder / layout.CLAIMS).exists()

    def targets(self) -> pa.Table:
        """All findings about targets, columns of `Finding`, most severe first.

        Raises:
            RunError: the run was not flagged yet.
        """
        self._check_flagged()
        parts = sorted(self._folder.glob("part-*.parquet"))
        tables = [read_table(part) for part in parts] or [Finding.schema().empty_table()]
        return pa.concat_tables(tables).sort_by([("severity", "descending"), ("finding_id", "ascending")])

    def of_shard(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """A shard's findings about targets.

        Raises:
            RunError: the shard was not flagged yet.
        """
        path = self._folder / layout.part_name(shard.index)
        if not path.exists():
            raise RunError(f"Expected findings at {path}, found none; make them with `camaudit flag {self.run.path}`")
        return read_table(path, columns)

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
        """The targets of flagged shards as claims take them, shard by shard.

        Raises:
            RunError: a shard was not flagged yet, or its tables are damaged.
        """
        confident = self.rules().confident
        members = self.members().select([*_KEYS, "cluster"]).to_pandas()
        for shard in shards:
            gathered = gather(self.run, [shard])
            keys = gathered.targets[_KEYS]
            flagged = self.of_shard(shard, [*_KEYS, "kind", "severity"]).to_pandas()
            judged = keys.merge(flagged, on=_KEYS, how="left")
            cluster = keys.merge(members, on=_KEYS, how="left")["cluster"].fillna(-1).to_numpy(np.int32)
            evidence = gathered.evidence(self.run, judged, confident, cluster)
            yield ShardEvidence(shard, gathered.targets, evidence)

    def members(self) -> pa.Table:
        """Which target is in which cluster, columns of `Member`; empty where there are no clusters."""
        path = self._folder / layout.CLUSTERS
        return read_table(path) if path.exists() else Member.schema().empty_table()

    def summary(self) -> dict[str, Any] | None:
        """summary.json; None before the run was flagged.

        Raises:
            RunError: it is damaged.
        """
        path = self.run.path / layout.SUMMARY
        return read_json(path, f"camaudit flag {self.run.path}") if path.exists() else None

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
            raise RunError(
                f"{path} was made by rules of an earlier camaudit, or is damaged; again: "
                f"`camaudit flag {self.run.path}`"
            ) from None

    # What interventions said

    def effects(self) -> dict[tuple[int, int], Effect]:
        """What interventions did to targets, by sample and slot; none before `camaudit verify`."""
        effects = read_records(self._folder / layout.EFFECTS, Effect)
        return {(effect.sample, effect.slot): effect for effect in effects}

    @property
    def has_effects(self) -> bool:
        """Whether interventions were made."""
        return (self._folder / layout.EFFECTS).exists()

    def outcomes(self) -> dict[str, Outcome]:
        """What interventions say of claims, by claim; none before `camaudit verify`."""
        outcomes = read_records(self._folder / layout.CAUSES, Outcome)
        return {outcome.claim_id: outcome for outcome in outcomes}

    def _check_flagged(self) -> None:
        if not self.flagged:
            done = self.run.done()
            if not done:
                raise RunError(
                    f"{self.run.path} has no finished shard yet, so no findings; finish it with `camaudit run`"
                )
            verb = "flag" if any(map(self.run.has_scores, done)) else "score"
            raise RunError(f"{self.run.path} has no findings yet; make them with `camaudit {verb} {self.run.path}`")

    # Writing

    def write_targets(self, shards: Sequence[Shard], part: Callable[[Shard], Columns]) -> None:
        """Write a part of findings for each shard, and delete those of shards that are pending again."""

        def write(shard: Shard) -> None:
            path = self._folder / layout.part_name(shard.index)
            write_table(path, part(shard), Finding.schema(), durable=False)  # it can be made again

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(write, shards))
        kept = {layout.part_name(shard.index) for shard in shards}
        for path in self._folder.glob("part-*.parquet"):
            if path.name not in kept:
                path.unlink()

    def write_classes(self, classes: Iterable[ClassFinding]) -> None:
        """Write the findings about classes."""
        write_records(self._folder / layout.CLASS_FINDINGS, ClassFinding, classes)

    def write_claims(self, claims: Iterable[Claim]) -> None:
        """Write the claims."""
        write_records(self._folder / layout.CLAIMS, Claim, claims)

    def write_members(self, members: Members, evidence: Evidence) -> None:
        """Write who is in which cluster."""
        keys = {name: getattr(evidence, name)[members.target] for name in ("sample", "slot", "class_id")}
        columns = {**keys, "cluster": members.cluster, "distance": members.distance}
        write_table(self._folder / layout.CLUSTERS, columns, Member.schema())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        write_json(self.run.path / layout.SUMMARY, dict(summary))

    def write_effects(self, effects: Iterable[Effect]) -> None:
        """Write what interventions did to targets."""
        write_records(self._folder / layout.EFFECTS, Effect, effects)

    def write_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Write what interventions say of claims."""
        write_records(self._folder / layout.CAUSES, Outcome, outcomes)

    def forget(self) -> None:
        """Delete what speaks of findings that were: outcomes of interventions, the page and its sheets."""
        for name in (layout.EFFECTS, layout.CAUSES):
            (self._folder / name).unlink(missing_ok=True)
        report = self.run.path / layout.REPORT
        for path in (report / layout.PAGE, *(report / layout.SHEETS).glob("*.jpg")):
            path.unlink(missing_ok=True)
