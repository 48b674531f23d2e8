"""Reading a run for the pages: DuckDB over the Parquet parts that the ledger vouches for. Nothing here writes."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import RunError
from audit.findings import Claim, ClassFinding, Finding, Findings
from audit.store import Account, Run, Shard, layout

_THREADS = 4
PAGE = 24
"""Findings on a page."""

TABLES = {
    "samples": layout.SAMPLES,
    "targets": layout.TARGETS,
    "scores": layout.SCORES,
    "findings": Finding.schema(),
}
_MOST_TELLING = {
    "suspicion": "suspicion DESC",
    "severity": "severity DESC",
    "energy": "energy",
    "probability": "probability DESC",
    "chance": "chance DESC",
    "q_low": "q_low",
}
SORTS = {name: f"kind = 'detected', {order}, finding_id" for name, order in _MOST_TELLING.items()}
"""Orders of findings, most telling first; a detector's guesses come last."""

_SHOWN = (
    "finding_id, kind, suspicion, severity, quick_reliance, sample, slot, id, class_id, class, role, probability, "
    "area, energy, chance, q_low"
)
_CHOSEN = """
    ($class_name IS NULL OR class = $class_name) AND ($role IS NULL OR role = $role)
    AND ($kind IS NULL OR kind = $kind) AND probability >= $probability
    AND coalesce(chance, 1) >= $chance AND coalesce(q_low, 0) <= $q_low -- a detector's findings have neither
    AND ($only IS NULL OR finding_id IN (SELECT unnest($only::VARCHAR[])))
    AND finding_id NOT IN (SELECT unnest($without::VARCHAR[]))
"""
_AVERAGED = ("energy", "area", "lift", "best_iou", "hit", "hit_15px", "centre_hit", "centre_hit_15px")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which findings are shown; None leaves a column open.

    Attributes:
        chance: the least share of random places that do as well, which `indifferent` is judged by.
        q_low: the greatest, which `avoids` is judged by.
        probability: the least.
        only: these findings alone.
        without: all but these.
    """

    class_name: str | None = None
    role: str | None = None
    kind: str | None = None
    chance: float = 0.0
    q_low: float = 1.0
    probability: float = 0.0
    only: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """Values to bind."""
        lists = {"only": None if self.only is None else list(self.only), "without": list(self.without)}
        return asdict(self) | lists


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding stands among the chosen ones, from 1, and its neighbours."""

    number: int
    total: int
    previous: str | None
    next: str | None


class RunTables:
    """The tables of a run as they were when this was made.

    Attributes:
        run: the run.
        notices: what is missing or damaged, a line each.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._findings = Findings(run, stale=True)
        self.notices: list[str] = []
        # Extensions would be fetched from a server.
        self._database = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        self._done = {shard.index: shard for shard in self._entered()}
        for name, schema in TABLES.items():
            self._define(name, schema)

    def _entered(self) -> Iterator[Shard]:
        """Finished shards whose entry can be read; the others with a notice."""
        for shard in self.run.done():
            try:
                self.run.entry(shard)
                yield shard
            except RunError as error:
                self._notice(str(error))

    @cached_property
    def flagged(self) -> bool:
        """Whether findings were made, though they may be lost."""
        return self._findings.flagged or (self.run.path / layout.SUMMARY).exists()

    @cached_property
    def scored(self) -> bool:
        """Whether any shard has scores."""
        return any(map(self.run.has_scores, self._done.values()))

    @cached_property
    def outdated(self) -> bool:
        """Whether the run went on, or was scored again, since the findings were made."""
        try:
            return self._findings.flagged and not self._findings.current
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
        try:
            summary = self._findings.summary()
        except RunError:
            summary = None
        if summary is None and self.flagged:
            self._notice(f"No readable {layout.SUMMARY}, so no threshold and curve; {self._flag_again()}")
        return summary

    def classes(self) -> list[ClassFinding]:
        """Findings about classes, most suspicious first; empty before the run was flagged, and where none are read."""
        try:
            return self._findings.classes() if self.flagged else []
        except RunError:
            self._notice(f"No readable findings about classes; {self._flag_again()}")
            return []

    def claims(self) -> list[Claim]:
        """Claims that were found, surest first, with what interventions made of them; empty where none can be read."""
        try:
            return self._findings.standing_claims() if self.flagged else []
        except (RunError, ValueError, KeyError, TypeError):
            self._notice(f"No readable claims; {self._flag_again()}")
            return []

    def threshold(self) -> float | None:
        """The threshold of the run's pseudo-masks; None where none was chosen, as without masks to choose it by."""
        summary = self.summary() or {}
        threshold = summary.get("threshold")
        chosen = isinstance(threshold, float) and (summary.get("mean_iou") is not None or threshold > 0)
        return threshold if chosen else None

    def statuses(self, table: str) -> dict[str, int]:
        """Rows of `samples`, `targets` or `scores` by status, most frequent first."""
        if table not in ("samples", "targets", "scores"):
            raise ValueError(f"Expected `table` to be one of samples, targets, scores, got {table!r}")
        rows = self._rows(f"SELECT status, count(*) AS n FROM {table} GROUP BY status ORDER BY n DESC, status")
        return {row["status"]: row["n"] for row in rows}

    def means(self) -> dict[str, float | None]:
        """Means over scored targets."""
        columns = ", ".join(f"avg({name}::DOUBLE) AS {name}" for name in _AVERAGED)
        return self._rows(f"SELECT {columns} FROM scores WHERE status = 'scored'")[0]

    def failures(self, most: int = 200) -> list[dict[str, Any]]:
        """Ids and reasons of the first failed samples."""
        query = "SELECT sample, id, reason FROM samples WHERE status = 'failed' ORDER BY sample LIMIT $most"
        return self._rows(query, {"most": most})

    def values(self, column: str) -> list[str]:
        """What occurs in the findings' `class`, `role` or `kind`."""
        if column not in ("class", "role", "kind"):
            raise ValueError(f"Expected `column` to be one of class, role, kind, got {column!r}")
        return [row["value"] for row in self._rows(f"SELECT DISTINCT {column} AS value FROM findings ORDER BY value")]

    def count(self, filters: Filters) -> int:
        """Number of chosen findings."""
        query = f"SELECT count(*) AS n FROM findings WHERE {_CHOSEN}"
        return int(self._rows(query, filters.parameters())[0]["n"])

    def findings(self, filters: Filters, sort: str = "suspicion", page: int = 0) -> list[dict[str, Any]]:
        """One page of the chosen findings."""
        query = f"SELECT {_SHOWN} FROM findings WHERE {_CHOSEN} ORDER BY {SORTS[sort]} LIMIT $most OFFSET $skip"
        return self._rows(query, filters.parameters() | {"most": PAGE, "skip": page * PAGE})

    def place(self, filters: Filters, sort: str, finding_id: str) -> Place | None:
        """Where a finding stands among the chosen ones; None if it is not one of them."""
        order = f"OVER (ORDER BY {SORTS[sort]})"
        query = f"""
            SELECT number, total, previous, next FROM (
                SELECT finding_id, row_number() {order} AS number, count(*) OVER () AS total,
                    lag(finding_id) {order} AS previous, lead(finding_id) {order} AS next
                FROM findings WHERE {_CHOSEN}
            ) WHERE finding_id = $finding_id
        """
        rows = self._rows(query, filters.parameters() | {"finding_id": finding_id})
        return Place(**rows[0]) if rows else None

    def sample_number(self, sample_id: str) -> int | None:
        """Row of the sample with this id among those that were reached."""
        rows = self._rows("SELECT sample FROM samples WHERE id = $id LIMIT 1", {"id": sample_id})
        return rows[0]["sample"] if rows else None

    def first_sample(self) -> int | None:
        """Row of the first sample that was reached."""
        return next(iter(self._done.values())).start if self._done else None

    def sample(self, number: int) -> dict[str, Any] | None:
        """A sample's row; None while it is pending, and where it cannot be read."""
        rows = self._of_sample("samples", number)
        return rows[0] if rows else None

    def why_unknown(self, number: int | None) -> str:
        """Why there is no row of a sample."""
        if number is None or not 0 <= number < self.run.samples:
            return f"No such sample: the run has {self.run.samples:,}, numbered from 0."
        if self._shard_of(number) not in self._done:
            return "This sample is pending: the run has not reached it yet."
        return f"What the run knows of this sample cannot be read; {self._repair()}"

    def is_lost(self, table: str, number: int) -> bool:
        """Whether the part of a table that has a sample's rows is there and cannot be read."""
        shard = self._done.get(self._shard_of(number))
        return shard is not None and self._part(table, shard) is not None and not self._is_intact(table, shard)

    def is_judged(self, number: int) -> bool:
        """Whether findings about a sample's targets would be there."""
        shard = self._done.get(self._shard_of(number))
        return self.flagged and shard is not None and self._findings.part(shard) is not None

    def targets(self, number: int) -> list[dict[str, Any]]:
        """A sample's targets with their scores (`score` is the score's status) and the finding about each, if any."""
        scores = {row["slot"]: row for row in self._of_sample("scores", number)}
        findings = {row["slot"]: row for row in self._of_sample("findings", number)}
        return [
            {**_scored(scores.get(target["slot"])), **target, "finding": findings.get(target["slot"])}
            for target in self._of_sample("targets", number)
        ]

    def _of_sample(self, table: str, number: int) -> list[dict[str, Any]]:
        """A sample's rows, from its shard's part alone; none where the part is missing or damaged."""
        index = self._shard_of(number)
        if number < 0 or index not in self._done:
            return []
        try:
            shard = self._done[index]
            part = self._findings.of_shard(shard) if table == layout.FINDINGS else self.run.read(table, shard)
        except RunError:
            return []
        rows: list[dict[str, Any]] = part.filter(pc.equal(part["sample"], number)).to_pylist()
        return rows

    def _shard_of(self, number: int) -> int:
        return number // int(self.run.record["shard_size"])

    def _define(self, name: str, schema: pa.Schema) -> None:
        """Make a view of a table's readable parts, or an empty table."""
        files = self._intact(name)
        if len(files) < (expected := len(self._expected(name))):
            lost = f"{expected - len(files)} of {expected} parts of the table {name} are missing or damaged"
            self._notice(f"{lost}; {self._flag_again() if name == layout.FINDINGS else self._repair()}")
        if files:
            self._parquet(files).create_view(name)
        else:
            empty = pa.schema([field.with_type(_single(field.type)) for field in schema]).empty_table()  # noqa: F841 (DuckDB finds it by its name)
            self._database.execute(f"CREATE TABLE {name} AS SELECT * FROM empty")

    def _intact(self, name: str) -> list[Path]:
        """Files of a table that are what was written: DuckDB checks no digest."""
        shards = list(self._done.values())
        with ThreadPoolExecutor(_THREADS) as pool:
            intact = list(pool.map(partial(self._is_intact, name), shards))
        parts = (self._part(name, shard) for shard, kept in zip(shards, intact, strict=True) if kept)
        return [part for part in parts if part is not None]

    def _part(self, name: str, shard: Shard) -> Path | None:
        return self._findings.part(shard) if name == layout.FINDINGS else self.run.part(name, shard)

    def _is_intact(self, name: str, shard: Shard) -> bool:
        try:
            if name == layout.FINDINGS:
                self._findings.check_part(shard)
            else:
                self.run.check_part(name, shard)
        except RunError:
            return False
        return True

    def _expected(self, name: str) -> list[int]:
        """Shards that ought to have a part."""
        if name in ("samples", "targets"):
            return list(self._done)
        if name == "scores" and not self.run.record["config"]["scored"] and not self.scored:
            return []
        if name == "scores":
            return list(self._done)
        # Of a run that went on since, shards may be done and not flagged yet.
        told_by = self._findings.part if self.outdated else self.run.has_scores
        return [index for index, shard in self._done.items() if self.flagged and told_by(shard)]

    def _parquet(self, files: list[Path]) -> duckdb.DuckDBPyRelation:
        # Names are patterns to DuckDB.
        names = [glob.escape(str(path)) for path in files]
        return self._database.read_parquet(names, hive_partitioning=False)

    def _rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        try:
            # A cursor of its own: several browser sessions ask at once.
            cursor = self._database.cursor().execute(query, dict(parameters or {}))
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"Cannot read the tables of {self.run.path}: {reason}; {self._repair()}") from None

    def _notice(self, line: str) -> None:
        if line not in self.notices:
            self.notices.append(line)

    def _flag_again(self) -> str:
        verb = "score" if self._done and not self.scored else "flag"
        return f"make them again with: camaudit {verb} {self.run.path}"

    def _repair(self) -> str:
        return f"recompute with: camaudit repair {self.run.path}"


def stamp(run: Run) -> tuple[int, ...]:
    """Changes when the run goes on, is scored or flagged again."""
    names = (layout.LEDGER, layout.SUMMARY, layout.FINDINGS, *layout.PARTS)
    return tuple(path.stat().st_mtime_ns if (path := run.path / name).exists() else 0 for name in names)


def _scored(score: dict[str, Any] | None) -> dict[str, Any]:
    row = dict(score) if score else dict.fromkeys(layout.SCORES.names)
    return row | {"score": row["status"]}


def _single(kind: pa.DataType) -> pa.DataType:
    """The type in single precision where it is half: DuckDB reads halves from Parquet alone."""
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_single(kind.value_type), kind.list_size)
    return pa.float32() if pa.types.is_float16(kind) else kind
