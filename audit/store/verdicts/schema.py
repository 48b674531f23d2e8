"""The tables of a verdict log, which SQLite itself keeps from losing rows, and logs of an earlier format."""

from __future__ import annotations

import hashlib
import json
import sqlite3

from audit.errors import RunError

_FORMAT = 2
# REPLACE deletes without firing delete triggers, hence the one on insert.
_CREATE = (
    """CREATE TABLE verdicts (
        number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, decision TEXT NOT NULL,
        reviewer TEXT NOT NULL, note TEXT NOT NULL, time TEXT NOT NULL, batch TEXT, box TEXT, withdraws TEXT
    )""",
    "CREATE INDEX verdicts_by_subject ON verdicts (subject, time)",
    "CREATE INDEX verdicts_by_reviewer ON verdicts (reviewer, time)",
    "CREATE INDEX withdrawals ON verdicts (withdraws) WHERE withdraws IS NOT NULL",
    """CREATE TRIGGER verdicts_never_change BEFORE UPDATE ON verdicts
        BEGIN SELECT RAISE(ABORT, 'verdicts are never changed: add another'); END""",
    """CREATE TRIGGER verdicts_stay BEFORE DELETE ON verdicts
        BEGIN SELECT RAISE(ABORT, 'verdicts are never deleted: add another'); END""",
    """CREATE TRIGGER verdicts_are_not_replaced BEFORE INSERT ON verdicts
        WHEN EXISTS (SELECT 1 FROM verdicts WHERE number = NEW.number OR key = NEW.key)
        BEGIN SELECT RAISE(ABORT, 'verdicts are never replaced: add another'); END""",
    "CREATE TABLE origin (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"PRAGMA user_version = {_FORMAT}",
)
_OLD = "verdicts_about_findings"
"""Where the rows of the first format stay as they were given."""
_SET_ASIDE = (
    *(
        f"DROP TRIGGER IF EXISTS {name}"
        for name in ("verdicts_never_change", "verdicts_stay", "verdicts_are_not_replaced")
    ),
    "DROP INDEX IF EXISTS verdicts_by_finding",
    f"ALTER TABLE verdicts RENAME TO {_OLD}",
    f"""CREATE TRIGGER {_OLD}_never_change BEFORE UPDATE ON {_OLD}
        BEGIN SELECT RAISE(ABORT, 'verdicts are never changed: add another'); END""",
    f"""CREATE TRIGGER {_OLD}_stay BEFORE DELETE ON {_OLD}
        BEGIN SELECT RAISE(ABORT, 'verdicts are never deleted: add another'); END""",
    f"""CREATE TRIGGER {_OLD}_are_closed BEFORE INSERT ON {_OLD}
        BEGIN SELECT RAISE(ABORT, 'verdicts are never replaced: add another'); END""",
)


def prepare(connection: sqlite3.Connection) -> None:
    """See that the tables are there, as this camaudit wants them; rows of an earlier one are taken over.

    Raises:
        RunError: a later camaudit wrote the log.
    """
    if _format(connection) == _FORMAT:
        return
    connection.execute("PRAGMA journal_mode = DELETE")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if _format(connection) == _FORMAT:  # another process was first
            return
        older = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'verdicts'").fetchone()
        for statement in (*(_SET_ASIDE if older else ()), *_CREATE):
            connection.execute(statement)
        if older:
            _take_over(connection)


def _format(connection: sqlite3.Connection) -> int:
    number = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if number > _FORMAT:
        raise RunError(f"The verdict log has format {number}, expected {_FORMAT}; update camaudit")
    return number


def _take_over(connection: sqlite3.Connection) -> None:
    """Rows of the first format, whose findings were named SAMPLE:SLOT:KIND, as rows about targets.

    Keys follow from what a row says: copies of one log on several machines get the same.
    """
    columns = "number, finding_id, decision, reviewer, note, time"
    for row in connection.execute(f"SELECT {columns} FROM {_OLD} ORDER BY number").fetchall():
        number, finding, *rest = row
        key = hashlib.sha256(json.dumps(row).encode()).hexdigest()[:32]
        subject = ":".join(finding.split(":")[:2])
        connection.execute(
            "INSERT INTO verdicts (number, key, subject, decision, reviewer, note, time) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, key, subject, *rest),
        )
