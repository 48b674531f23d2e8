"""The verdict log: it only grows, whoever writes, and says so when it cannot."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.errors import RunError
from audit.store.verdicts import DECISIONS, VerdictLog


@pytest.fixture
def log(tmp_path: Path) -> VerdictLog:
    return VerdictLog(tmp_path / "verdicts.sqlite")


def test_reading_a_log_that_was_never_written_creates_no_file(log: VerdictLog) -> None:
    assert log.latest() == {}
    assert log.history("1:0:avoids") == []
    assert not log.path.exists()


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_verdict_is_read_back_as_it_was_given(log: VerdictLog, decision: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    given = log.add("1:0:avoids", decision, "  Ana ", "heat on the watermark <script>'; DROP TABLE verdicts;--")
    assert log.history("1:0:avoids") == [given]
    assert (given.decision, given.reviewer) == (decision, "Ana")
    assert before <= datetime.fromisoformat(given.time) <= datetime.now(UTC)
    assert given.time.endswith("+00:00")


def test_the_last_verdict_counts_and_the_earlier_ones_are_kept(log: VerdictLog) -> None:
    first = log.add("1:0:avoids", "agree", "Ana")
    other = log.add("2:1:indifferent", "unsure", "Ben")
    second = log.add("1:0:avoids", "disagree", "Ben", "the object is there, only small")
    assert log.history("1:0:avoids") == [first, second]
    assert log.latest() == {"1:0:avoids": second, "2:1:indifferent": other}


def test_an_unknown_decision_is_refused(log: VerdictLog) -> None:
    with pytest.raises(ValueError, match="one of agree, disagree, unsure, got 'maybe'"):
        log.add("1:0:avoids", "maybe", "Ana")


def test_a_verdict_without_a_reviewer_is_refused(log: VerdictLog) -> None:
    with pytest.raises(ValueError, match="Expected `reviewer` to be a name"):
        log.add("1:0:avoids", "agree", "  ")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE verdicts SET decision = 'disagree'",
        "DELETE FROM verdicts",
        "INSERT OR REPLACE INTO verdicts SELECT number, finding_id, 'disagree', reviewer, note, time FROM verdicts",
    ],
)
def test_the_file_itself_forbids_changing_a_verdict(log: VerdictLog, statement: str) -> None:
    given = log.add("1:0:avoids", "agree", "Ana")
    connection = sqlite3.connect(log.path)
    with pytest.raises(sqlite3.IntegrityError, match=r"verdicts are never \w+: add another"):
        connection.execute(statement)
    connection.close()
    assert log.history("1:0:avoids") == [given]


def test_two_writers_at_once_both_get_in(log: VerdictLog) -> None:
    code = """if True:
        import sys
        from audit.store.verdicts import VerdictLog
        for number in range(10):
            VerdictLog(sys.argv[1]).add(f"{number}:0:avoids", "agree", sys.argv[2])
    """
    writers = [subprocess.Popen([sys.executable, "-c", code, log.path, name]) for name in ("Ana", "Ben")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    reviewers = [verdict.reviewer for number in range(10) for verdict in log.history(f"{number}:0:avoids")]
    assert sorted(reviewers) == ["Ana"] * 10 + ["Ben"] * 10


def test_the_log_does_not_use_the_write_ahead_log(log: VerdictLog) -> None:
    log.add("1:0:avoids", "agree", "Ana")
    connection = sqlite3.connect(log.path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_file_that_is_no_log_is_named(log: VerdictLog) -> None:
    log.path.write_bytes(b"not a database, whatever its name" * 100)
    with pytest.raises(RunError, match=r"Cannot use the verdict log .*verdicts\.sqlite"):
        log.latest()
