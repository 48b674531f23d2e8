"""Reading a run for the pages: DuckDB over its one table of all targets. Nothing here writes.

`findings/index.parquet` is seen to be what was written once; parts of shards are read, and checked, where a sample is
opened. So what a page costs does not follow the number of parts.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.datasets.manifest import attribute_names
from audit.errors import RunError
from audit.findings.pages.embedding import Embedding
from audit.findings.pages.index import SCHEMA, unjudged
from audit.findings.records import Effect
from audit.store import Run, Shard, layout
from audit.store.storage.objects import Location
from audit.store.verdicts.decided import Standing
from audit.store.verdicts.log import target_of, target_subject
from dashboards.beside import effects_table, targets_table, verdicts_table
from dashboards.browsing.filters import ANY, TELLING, Filters, order_by
from dashboards.run_state import RunState, stamp

_THREADS = 4
_MEMORY = "300MB"
__all__ = ["PAGE", "Filters", "RunTables", "stamp"]
PAGE = 24
"""Targets on a page."""
MOST_VALUES = 200
"""Values of a column that a page offers to choose from."""
Row = dict[str, Any]
Columns = dict[str, Sequence[Any]]
_OF_POINTS = ("class", "cluster", "claims", "severity")
_ALL = Filters()
_WITHOUT_MAP = ("no_evidence", "not_finite", "no_output")
_UNJUDGED: dict[tuple[Location | None, Location | None], pa.Table] = {}
"""Targets of shards that were read, by their files, which never change: while a run goes on only new ones are."""
_LISTED = ("class", "role", "kind", "status", "cluster")
_AVERAGED = ("energy", "area", "lift", "best_iou")


class RunTables(RunState):
    """The targets of a run, to count, filter, sort and leaf through."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        # Extensions would be fetched from a server.
        config: Any = {"autoinstall_known_extensions": "false", "memory_limit": _MEMORY}
        self._database = duckdb.connect(config=config)
        self._counts: dict[Filters, int] = {}
        self._values: dict[tuple[str, Filters], list[Any]] = {}
        self._open_targets()

    def _open_targets(self) -> None:
        """Make the view `targets`: of the table that flagging wrote, else of what the finished shards hold."""
        index = self._index() if self.flagged else None
        if index is not None:
            # A name is a pattern to DuckDB.
            self._database.read_parquet(glob.escape(str(index))).create_view("targets")
        else:
            self._database.register("parts", self._from_parts())
            # What is registered is seen by one connection alone.
            self._database.execute("CREATE TABLE targets AS SELECT * FROM parts")
            self._database.unregister("parts")

    def _index(self) -> Path | None:
        try:
            return self.findings.index_file()
        except RunError as error:
            self._notice(f"{error}. Targets are shown without what was found about them.")
            return None

    def _from_parts(self) -> pa.Table:
        """All targets that the finished shards hold, by probability; shards that cannot be read have a notice."""
        with ThreadPoolExecutor(_THREADS) as pool:
            tables = list(pool.map(self._from_part, self.run.done()))
        read = [table for table in tables if table is not None]
        if len(read) < len(tables):
            lost = f"{len(tables) - len(read)} of {len(tables)} shards cannot be read in full"
            self._notice(f"{lost}; {self._repair()}")
        whole = pa.concat_tables([SCHEMA.empty_table(), *read]).sort_by([("probability", "descending")])
        return whole.set_column(0, "rank", pa.array(range(len(whole)), pa.int32()))

    def _from_part(self, shard: Shard) -> pa.Table | None:
        try:
            key = self.run.part("targets", shard), self.run.part("scores", shard)
            if key not in _UNJUDGED:
                _UNJUDGED[key] = unjudged(self.run, shard)
            return _UNJUDGED[key]
        except RunError:
            return None

    def statuses(self, table: str) -> dict[str, int]:
        """Rows of `samples`, `targets` or `scores` by status, most frequent first."""
        if table not in ("samples", "targets", "scores"):
            raise ValueError(f"Expected `table` to be one of samples, targets, scores, got {table!r}")
        counts = self._statuses(table)
        return dict(sorted(((name, count) for name, count in counts.items() if count), key=lambda pair: -pair[1]))

    def _statuses(self, table: str) -> dict[str, int]:
        if table == "samples":
            account = self.account()
            return {} if account is None else {name: getattr(account, name) for name in ("processed", "failed")}
        told = (self.summary() or {}).get(table)
        if isinstance(told, dict):
            return told
        rows = self._rows("SELECT status, count(*) AS n FROM targets GROUP BY status")
        counts = {row["status"]: row["n"] for row in rows}
        if table == "scores":
            return {} if set(counts) <= {"not_scored"} else counts
        lost = {name: count for name, count in counts.items() if name in _WITHOUT_MAP}
        return lost | {"ok": sum(counts.values()) - sum(lost.values())}

    def means(self) -> dict[str, float | None]:
        """Means over scored targets; `hit`s are known of runs that were flagged."""
        told = (self.summary() or {}).get("means")
        if isinstance(told, dict):
            return told
        columns = ", ".join(f"avg({name}::DOUBLE) AS {name}" for name in _AVERAGED)
        return self._rows(f"SELECT {columns} FROM targets WHERE status = 'scored'")[0]

    def failures(self, most: int = 200) -> list[Row]:
        """Ids and reasons of the first failed samples."""
        try:
            return [{"id": name, "reason": reason} for name, reason in self.run.failures(most)]
        except RunError as error:
            self._notice(str(error))
            return []

    # Targets

    def values(self, column: str, filters: Filters = _ALL) -> list[Any]:
        """What occurs in `class`, `role`, `kind`, `status` or `cluster` of the chosen targets, the first of it."""
        if column not in _LISTED:
            raise ValueError(f"Expected `column` to be one of {', '.join(_LISTED)}, got {column!r}")
        if (column, filters) not in self._values:
            query = f"SELECT DISTINCT {column} AS value {self._chosen(filters)} AND {column} IS NOT NULL"
            rows = self._rows(f"{query} ORDER BY value LIMIT {MOST_VALUES}", *self._bound(filters))
            self._values[column, filters] = [row["value"] for row in rows]
        return self._values[column, filters]

    @cached_property
    def attributes(self) -> dict[str, list[str]]:
        """Values of each attribute of the samples, the most frequent first."""
        names = attribute_names(self.run.manifest(0, 1).table.column_names)
        return {name: self._values_of(name) for name in names}

    def _values_of(self, attribute: str) -> list[str]:
        column = '"' + attribute.replace('"', '""') + '"'
        query = f"SELECT {column} AS value FROM {self._manifest} WHERE value IS NOT NULL GROUP BY value"
        return self._column(f"{query} ORDER BY count(*) DESC, value LIMIT {MOST_VALUES}", {}, {})

    def count(self, filters: Filters = _ALL, standing: Standing | None = None) -> int:
        """Number of chosen targets.

        Args:
            standing: verdicts that a filter on them goes by.
        """
        if filters.verdict is None and filters in self._counts:
            return self._counts[filters]
        rows = self._rows(f"SELECT count(*) AS n {self._chosen(filters)}", *self._bound(filters, standing))
        count = int(rows[0]["n"])
        if filters.verdict is None:
            self._counts[filters] = count
        return count

    def findings_count(self) -> int:
        """Number of targets that there is a finding about."""
        return self.count(Filters(kind=ANY))

    @cached_property
    def images_ranked(self) -> int:
        """Number of images with a target that is ranked by what needs no mask."""
        rows = self._rows("SELECT count(DISTINCT sample) AS n FROM targets WHERE oddness IS NOT NULL")
        return int(rows[0]["n"])

    def page(
        self,
        filters: Filters = _ALL,
        sort: str = TELLING,
        page: int = 0,
        size: int = PAGE,
        standing: Standing | None = None,
        ahead: int = 0,
    ) -> list[Row]:
        """One page of the chosen targets, from page 0; each with its `subject`, its `attributes` as a mapping.

        Args:
            ahead: so many of the next page as well.
        """
        place = f"ORDER BY {order_by(sort)} LIMIT {int(size + ahead)} OFFSET {int(size) * int(page)}"
        ranks = self._rows(f"SELECT rank {self._chosen(filters)} {place}", *self._bound(filters, standing))
        return self._of_ranks([row["rank"] for row in ranks])

    def rows(self, subjects: Sequence[str]) -> list[Row]:
        """Targets by SAMPLE:SLOT, in their order, as `page` gives them; without those that the run has not."""
        targets = [target for target in map(target_of, subjects) if target is not None]
        query = "SELECT rank, sample, slot FROM targets SEMI JOIN asked USING (sample, slot)"
        found = {
            (row["sample"], row["slot"]): row["rank"]
            for row in self._rows(query, {}, {"asked": targets_table(targets)})
        }
        return self._of_ranks([found[target] for target in targets if target in found])

    @cached_property
    def embedding(self) -> Embedding:
        """Of what lies under the heat."""
        return Embedding(self.run)

    @cached_property
    def points(self) -> pa.Table | None:
        """The map: `sample`, `slot`, `x`, `y`; None where there is none.

        Raises:
            RunError: it is damaged.
        """
        return None if self.embedding.made is None else self.embedding.points()

    @cached_property
    def known_of_points(self) -> Columns:
        """Of the targets on the map, in its order: `class`, `cluster`, `claims` and `severity`."""
        columns = list(_OF_POINTS)
        query = f"SELECT {', '.join(columns)} FROM points LEFT JOIN targets USING (sample, slot) ORDER BY points.place"
        rows = self._execute(query, {}, {"points": self._placed}).fetchall()
        return dict(zip(columns, zip(*rows, strict=True), strict=True))

    def on_map(self, filters: Filters, standing: Standing | None = None) -> NDArray[np.bool_]:
        """Which targets on the map the filters leave, in its order."""
        if filters == _ALL:
            return np.ones(len(self._placed), bool)
        values, tables = self._bound(filters, standing)
        chosen = f"SELECT sample, slot {self._chosen(filters)}"
        query = f"SELECT points.place FROM points SEMI JOIN ({chosen}) USING (sample, slot)"
        left = np.zeros(len(self._placed), bool)
        left[self._column(query, values, {**tables, "points": self._placed})] = True
        return left

    @cached_property
    def _placed(self) -> pa.Table:
        assert self.points is not None
        places = pa.array(range(len(self.points)), pa.int32())
        return self.points.select(["sample", "slot"]).append_column("place", places)

    def neighbours(self, subject: str, count: int) -> list[str]:
        """The targets whose heat has most alike under it, nearest first; none where nothing of that was kept.

        Raises:
            RunError: the embedding is damaged.
        """
        target = target_of(subject)
        if target is None or self.embedding.made is None:
            return []
        return [target_subject(*near) for near in self.embedding.nearest(*target, count)]

    def subjects(self, filters: Filters = _ALL, sort: str = TELLING, standing: Standing | None = None) -> list[str]:
        """All chosen targets as SAMPLE:SLOT, in order."""
        query = f"SELECT concat(sample, ':', slot) AS subject {self._chosen(filters)} ORDER BY {order_by(sort)}"
        return self._column(query, *self._bound(filters, standing))

    def claim_subjects(self, claim_id: str) -> list[str]:
        """The targets that count for a standing claim as SAMPLE:SLOT, most telling first."""
        return self.subjects(Filters(claim=claim_id))

    @cached_property
    def shared_targets(self) -> dict[tuple[str, str], int]:
        """How many targets count for both of two standing claims; of a claim with itself, for it at all."""
        query = """
            SELECT this, that, count(*) AS targets
            FROM (SELECT claims, unnest(claims) AS this FROM targets), unnest(claims) AS those(that) GROUP BY ALL
        """
        names = [claim.claim_id for claim in self.claims()]
        rows = (row for row in self._rows(query) if max(row["this"], row["that"]) < len(names))
        return {(names[row["this"]], names[row["that"]]): row["targets"] for row in rows}

    def target(self, sample: int, slot: int) -> Row | None:
        """A target as `page` gives it, with its row of scores; None where there is no such target."""
        return next((row for row in self.targets_of(sample) if row["slot"] == slot), None)

    def targets_of(self, sample: int) -> list[Row]:
        """All targets of a sample, each as `target`, by slot."""
        samples, ranks = self._by_sample
        first, behind = np.searchsorted(samples, (sample, sample + 1))
        rows = self._of_ranks(ranks[first:behind].tolist())
        scores = {row["slot"]: row for row in self._of_sample("scores", sample)}
        nothing = dict.fromkeys(layout.SCORES.names)
        return [{**scores.get(row["slot"], nothing), **row} for row in rows]

    @cached_property
    def _by_sample(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Samples of all targets, rising, and the targets' places in the table: 16 bytes a target."""
        query = "SELECT sample, slot, rank FROM targets"
        columns = self._execute(query, None, None).fetchnumpy()
        order = np.lexsort((columns["slot"], columns["sample"]))
        samples, ranks = (np.asarray(columns[name], np.int64)[order] for name in ("sample", "rank"))
        return samples, ranks

    def effect(self, sample: int, slot: int) -> Effect | None:
        """What interventions did to a target."""
        return self._effects.get((sample, slot))

    @cached_property
    def _effects(self) -> dict[tuple[int, int], Effect]:
        try:
            return self.findings.effects() if self.flagged else {}
        except RunError as error:
            self._notice(str(error))
            return {}

    def _of_ranks(self, ranks: list[int]) -> list[Row]:
        """Rows of the table in the order of some places in it; only their row groups are read."""
        if not ranks:
            return []
        chosen = ", ".join(map(str, map(int, ranks)))
        rows = self._rows(f"SELECT *, concat(sample, ':', slot) AS subject FROM targets WHERE rank IN ({chosen})")
        by_rank = {row["rank"]: row | {"attributes": json.loads(row["attributes"])} for row in rows}
        return [by_rank[rank] for rank in ranks]

    def _chosen(self, filters: Filters) -> str:
        return " AND ".join(["FROM targets WHERE true", *(text for text, _ in filters.conditions(self._places))])

    def _bound(
        self, filters: Filters, standing: Standing | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, pa.Table]]:
        """Values and tables that a query over the chosen targets asks for."""
        values: dict[str, Any] = {}
        for _, bound in filters.conditions(self._places):
            values |= bound
        beside = {}
        if filters.outcome is not None:
            beside["effects"] = effects_table(self._effects)
        if filters.verdict is not None:
            beside["verdicts"] = verdicts_table(standing or {})
        return values, beside

    @cached_property
    def _places(self) -> dict[str, int]:
        return {claim.claim_id: place for place, claim in enumerate(self.claims())}

    # Samples

    def sample_number(self, sample_id: str) -> int | None:
        """Row of the sample with this id."""
        query = f"SELECT file_row_number AS sample FROM {self._manifest} WHERE id = $id LIMIT 1"
        rows = self._rows(query, {"id": sample_id})
        return rows[0]["sample"] if rows else None

    @property
    def _manifest(self) -> str:
        path = glob.escape(str(self.run.manifest_path())).replace("'", "''")
        return f"read_parquet('{path}', file_row_number = true)"

    # Queries

    def _rows(
        self, query: str, parameters: Mapping[str, Any] | None = None, beside: Mapping[str, pa.Table] | None = None
    ) -> list[Row]:
        cursor = self._execute(query, parameters, beside)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _column(self, query: str, parameters: Mapping[str, Any], beside: Mapping[str, pa.Table]) -> list[Any]:
        return [value for (value,) in self._execute(query, parameters, beside).fetchall()]

    def _execute(
        self, query: str, parameters: Mapping[str, Any] | None, beside: Mapping[str, pa.Table] | None
    ) -> duckdb.DuckDBPyConnection:
        """Ask, with tables that stand beside those of the run under their names."""
        try:
            # A cursor of its own: several browser sessions ask at once.
            cursor = self._database.cursor()
            for name, table in (beside or {}).items():
                cursor.register(name, table)
            return cursor.execute(query, dict(parameters or {}))
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"Cannot read the tables of {self.run.path}: {reason}; {self._flag_again()}") from None
