"""The verdict log: what people decided about findings. Nothing in it is ever changed or deleted, only added to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

from audit.errors import RunError

DECISIONS = ("agree", "disagree", "unsure")
_COLUMNS = "finding_id, decision, reviewer, note, time"
_WAIT_S = 30.0

# REPLACE deletes without firing delete triggers, hence the one on insert.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (
    number INTEGER PRIMARY KEY, finding_id TEXT NOT NULL, decision TEXT NOT NULL, reviewer TEXT NOT NULL,
    note TEXT NOT NULL, time TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS verdicts_by_finding ON verdicts (finding_id, number);
CREATE TRIGGER IF NOT EXISTS verdicts_never_change BEFORE UPDATE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are never changed: add another'); END;
CREATE TRIGGER IF NOT EXISTS verdicts_stay BEFORE DELETE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are never deleted: add another'); END;
CREATE TRIGGER IF NOT EXISTS verdicts_are_not_replaced BEFORE INSERT ON verdicts
    WHEN EXISTS (SELECT 1 FROM verdicts WHERE number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'verdicts are never replaced: add another'); END;
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reviewer decided about a finding.

    Attributes:
        finding_id: SAMPLE:SLOT:KIND, as in the table of findings.
        decision: one of `DECISIONS`.
        time: UTC, ISO 8601.
    """

    finding_id: str
    decision: str
    reviewer: str
    note: str
    time: str


class VerdictLog:
    """The log in one SQLite file, which the first verdict creates.

    Several processes may add at once: each waits for the others. The rollback journal is used, not the write-ahead log,
    which needs shared memory and so fails on network folders.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def add(self, finding_id: str, decision: str, reviewer: str, note: str = "") -> Verdict:
        """Add a verdict.

        Raises:
            ValueError: an unknown decision, or no reviewer.
            RunError: the log cannot be written.
        """
        if decision not in DECISIONS:
            raise ValueError(f"Expected `decision` to be one of {', '.join(DECISIONS)}, got {decision!r}")
        if not reviewer.strip():
            raise ValueError("Expected `reviewer` to be a name, got none")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        verdict = Verdict(finding_id, decision, reviewer.strip(), note.strip(), now)
        with self._connection() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"INSERT INTO verdicts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", astuple(verdict))
        return verdict

    def latest(self) -> dict[str, Verdict]:
        """The last verdict of each finding that has one."""
        last = f"SELECT {_COLUMNS} FROM verdicts WHERE number IN (SELECT max(number) FROM verdicts GROUP BY finding_id)"
        return {verdict.finding_id: verdict for verdict in self._read(last)}

    def history(self, finding_id: str) -> list[Verdict]:
        """All verdicts of a finding, oldest first."""
        return self._read(f"SELECT {_COLUMNS} FROM verdicts WHERE finding_id = ? ORDER BY number", finding_id)

    def _read(self, query: str, *values: str) -> list[Verdict]:
        if not self.path.exists():
            return []
        with self._connection() as connection:
            return [Verdict(*row) for row in connection.execute(query, values)]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)) as connection:
                if not _has_table(connection):
                    connection.executescript(f"PRAGMA journal_mode = DELETE; BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
                yield connection
        except sqlite3.Error as error:
            raise RunError(
                f"Cannot use the verdict log {self.path}: {error}; check that it is writable, or set it aside"
            ) from None


def _has_table(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'verdicts_are_not_replaced'").fetchone())
