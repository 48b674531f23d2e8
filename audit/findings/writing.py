"""Writes what was found in a run: `findings/`, `summary.json` and what interventions said. `Findings` reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from audit.findings.findings import Findings, MadeFrom
from audit.findings.records import Claim, ClaimChannel, ClassFinding, Effect, Finding, Member, Outcome
from audit.store import Run, Shard, layout
from audit.store.storage.files import sha256, write_atomically, write_json
from audit.store.tables.parts import write_groups, write_table
from audit.store.tables.records import Record, columns_of

if TYPE_CHECKING:
    from audit.findings.claims.clustering import Members
    from audit.findings.evidence.targets import Evidence

_THREADS = 4

Columns = Mapping[str, Any]


class FindingsWriter:
    """The findings of a run as they are written; they count once `findings/ledger.json` names them, written last."""

    def __init__(self, run: Run, made_from: MadeFrom) -> None:
        self.run = run
        self._folder = run.path / layout.FINDINGS
        self._made_from = made_from

    @classmethod
    def begin(cls, run: Run, ledger: str) -> FindingsWriter:
        """Take back what was found, and what speaks of it: outcomes of interventions, the page and its sheets.

        Args:
            ledger: digest of the ledger that findings are now made from.
        """
        report, folder = run.path / layout.REPORT, run.path / layout.FINDINGS
        sheets = (report / name for name in (layout.SHEETS, layout.CHANNEL_SHEETS))
        spoken = (report / layout.PAGE, *(sheet for place in sheets for sheet in place.glob("*.jpg")))
        ledger_json, summary = folder / layout.FINDINGS_LEDGER, run.path / layout.SUMMARY
        for path in (ledger_json, summary, *folder.glob("*.parquet"), *spoken):
            path.unlink(missing_ok=True)
        return cls(run, MadeFrom(ledger, {}))

    @classmethod
    def beside(cls, findings: Findings) -> FindingsWriter:
        """One that adds to what was found, and that `findings` reads then."""
        return cls(findings.run, findings.made_from)

    def write_targets(self, shards: Sequence[Shard], part: Callable[[Shard], Columns]) -> None:
        """Write a part of findings for each shard."""

        def write(shard: Shard) -> None:
            # It can be made again, so nobody waits for the disk.
            self._write(layout.part_name(shard.index), part(shard), Finding.schema(), durable=False)

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(write, shards))

    def write_set_aside(self, columns: Columns) -> None:
        """Write the findings that are left out because reviewers disagree with them."""
        self._write(layout.SET_ASIDE, columns, Finding.schema())

    def write_classes(self, classes: Iterable[ClassFinding]) -> None:
        """Write the findings about classes."""
        self._write_records(layout.CLASS_FINDINGS, ClassFinding, classes)

    def write_claims(self, claims: Iterable[Claim]) -> None:
        """Write the claims."""
        self._write_records(layout.CLAIMS, Claim, claims)

    def write_channels(self, channels: Iterable[ClaimChannel]) -> None:
        """Write what channels the claims' heat comes from."""
        self._write_records(layout.CLAIM_CHANNELS, ClaimChannel, channels)

    def write_members(self, members: Members, evidence: Evidence) -> None:
        """Write who is in which cluster."""
        keys = {name: getattr(evidence, name)[members.target] for name in ("sample", "slot", "class_id")}
        columns = {**keys, "cluster": members.cluster, "distance": members.distance}
        self._write(layout.CLUSTERS, columns, Member.schema())

    def write_index(self, tables: Iterable[pa.Table]) -> None:
        """Write all targets, in a row group a table."""
        path = self._folder / layout.INDEX
        write_atomically(path, lambda partial: write_groups(tables, partial), durable=False)
        self._made_from.artefacts[layout.INDEX] = sha256(path)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json, then the record that makes all that was written count."""
        write_json(self.run.path / layout.SUMMARY, {**summary, "ledger": self._made_from.ledger})
        self._enter()

    def write_outcomes(self, effects: Iterable[Effect], outcomes: Iterable[Outcome]) -> None:
        """Write what interventions did to targets, and what they say of claims; takes back what was said before."""
        for name in (layout.EFFECTS, layout.CAUSES):
            self._made_from.artefacts.pop(name, None)
        self._enter()
        self._write_records(layout.EFFECTS, Effect, effects)
        self._write_records(layout.CAUSES, Outcome, outcomes)
        self._enter()

    def _write_records(self, name: str, kind: type[Record], records: Iterable[Record]) -> None:
        self._write(name, columns_of(kind, records), kind.schema())

    def _write(self, name: str, columns: Columns, schema: pa.Schema, durable: bool = True) -> None:
        write_table(self._folder / name, columns, schema, durable)
        self._made_from.artefacts[name] = sha256(self._folder / name)

    def _enter(self) -> None:
        write_json(self._folder / layout.FINDINGS_LEDGER, self._made_from._asdict())
