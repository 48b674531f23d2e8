"""The verdict log: it only grows, whoever writes, and says so when it cannot."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import pytest

from audit.errors import RunError
from audit.store import Run
from audit.store.verdicts import log as module
from audit.store.verdicts.log import DECISIONS, WITHDRAWN, Verdict, VerdictLog, origin_of, target_of
from tests.support.small_run import make_run

ORIGIN = {"manifest": "0123", "model": "abcd", "maps": "{}"}


@pytest.fixture
def log(tmp_path: Path) -> VerdictLog:
    return VerdictLog(tmp_path / "verdicts.sqlite", ORIGIN)


def decisions(log: VerdictLog, as_of: int | None = None) -> dict[str, dict[str, str]]:
    """What stands."""
    return {
        subject: {reviewer: verdict.decision for reviewer, verdict in given.items()}
        for subject, given in log.standing(as_of).items()
    }


def test_reading_a_log_that_was_never_written_creates_no_file(log: VerdictLog) -> None:
    assert log.standing() == {}
    assert log.history("1:0") == log.rows() == log.undo("Ana") == []
    assert (log.last(), log.boxes(), log.origin()) == (0, {}, {})
    assert not log.path.exists()


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_verdict_is_read_back_as_it_was_given(log: VerdictLog, decision: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    note = "heat on the watermark <script>'; DROP TABLE verdicts;--"
    given = log.add("1:0", decision, "  Ana ", note, box=(1, 2.5, 30, 40))
    assert log.history("1:0") == [given]
    assert (given.number, given.decision, given.reviewer, given.note) == (1, decision, "Ana", note)
    assert given.box == (1.0, 2.5, 30.0, 40.0)
    assert before <= datetime.fromisoformat(given.time) <= datetime.now(UTC)
    assert given.time.endswith("+00:00")


def test_each_reviewers_last_verdict_stands_and_the_earlier_ones_are_kept(log: VerdictLog) -> None:
    first = log.add("1:0", "agree", "Ana")
    claim = log.add("zone:dog:corner", "unsure", "Ben")
    second = log.add("1:0", "disagree", "Ben", "the object is there, only small")
    third = log.add("1:0", "unsure", "Ana")
    assert log.history("1:0") == [first, second, third]
    assert log.standing() == {"1:0": {"Ana": third, "Ben": second}, "zone:dog:corner": {"Ben": claim}}
    assert [verdict.number for verdict in log.rows()] == [1, 2, 3, 4]
    assert log.last() == 4


def test_what_stood_earlier_can_be_asked_for(log: VerdictLog) -> None:
    log.add("1:0", "agree", "Ana")
    as_of = log.last()
    log.add("1:0", "disagree", "Ana")
    log.undo("Ana")
    log.undo("Ana")
    log.add("2:0", "agree", "Ben")
    assert decisions(log, 0) == {}
    assert decisions(log, as_of) == {"1:0": {"Ana": "agree"}}
    assert decisions(log, as_of + 1) == {"1:0": {"Ana": "disagree"}}
    assert decisions(log, as_of + 2) == {"1:0": {"Ana": "agree"}}
    assert decisions(log, as_of + 3) == {}
    assert decisions(log) == {"2:0": {"Ben": "agree"}}


def test_undo_takes_a_batch_back_as_a_whole_and_what_stood_before_stands_again(log: VerdictLog) -> None:
    before = log.add("2:0", "agree", "Ana")
    many = log.add_all(["1:0", "2:0", "3:1", "1:0"], "disagree", "Ana", "all of this cluster")
    assert [verdict.subject for verdict in many] == ["1:0", "2:0", "3:1"]
    assert {verdict.batch for verdict in many} == {many[0].batch}
    assert many[0].batch
    others = log.add("3:1", "agree", "Ben")
    withdrawn = log.undo("Ana")
    assert [(row.subject, row.decision, row.withdraws) for row in withdrawn] == [
        (verdict.subject, WITHDRAWN, verdict.key) for verdict in many
    ]
    assert log.standing() == {"2:0": {"Ana": before}, "3:1": {"Ben": others}}
    assert [row.subject for row in log.undo("Ana")] == ["2:0"]
    assert log.undo("Ana") == []
    assert log.standing() == {"3:1": {"Ben": others}}
    assert len(log.rows()) == 1 + 3 + 1 + 3 + 1


def test_a_batch_of_nothing_adds_nothing(log: VerdictLog) -> None:
    assert log.add_all([], "agree", "Ana") == []
    assert not log.path.exists()


def test_boxes_of_a_target_add_up_and_undo_takes_the_last_back(log: VerdictLog) -> None:
    log.add("1:0", "disagree", "Ana", box=(0, 0, 10, 10))
    log.add("1:0", "disagree", "Ben", box=(0, 0, 10, 10))
    log.add("1:0", "agree", "Ana", box=(20, 0, 30, 10))
    log.add("1:0", "agree", "Ana")
    assert log.boxes() == {"1:0": [(0, 0, 10, 10), (20, 0, 30, 10)]}
    assert log.boxes(as_of=1) == {"1:0": [(0, 0, 10, 10)]}
    log.undo("Ana")
    log.undo("Ana")
    assert log.boxes() == {"1:0": [(0, 0, 10, 10)]}


@pytest.mark.parametrize(
    ("subject", "decision", "reviewer", "box", "message"),
    [
        ("1:0", "maybe", "Ana", None, "one of agree, disagree, unsure, got 'maybe'"),
        ("1:0", WITHDRAWN, "Ana", None, "one of agree, disagree, unsure, got 'withdrawn'"),
        ("1:0", "agree", "  ", None, "Expected `reviewer` to be a name"),
        ("", "agree", "Ana", None, "Expected `subject`"),
        ("zone:dog:corner", "agree", "Ana", (0, 0, 1, 1), "a box about a target"),
        ("1:0", "agree", "Ana", (5, 0, 5, 1), "x0 < x1 and y0 < y1"),
        ("1:0", "agree", "Ana", (0, 0, float("nan"), 1), "x0, y0, x1, y1 in pixels"),
        ("1:0", "agree", "Ana", (0, 0, 1), "x0, y0, x1, y1 in pixels"),
    ],
)
def test_what_is_no_verdict_is_refused(
    log: VerdictLog, subject: str, decision: str, reviewer: str, box: Sequence[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        log.add(subject, decision, reviewer, box=box)  # type: ignore[arg-type]
    assert not log.path.exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE verdicts SET decision = 'disagree'",
        "DELETE FROM verdicts",
        "INSERT OR REPLACE INTO verdicts SELECT number, 'other', subject, 'x', reviewer, note, time, '', '', '' "
        "FROM verdicts",
        "INSERT OR REPLACE INTO verdicts SELECT 7, key, subject, 'x', reviewer, note, time, '', '', '' FROM verdicts",
    ],
)
def test_the_file_itself_forbids_changing_a_verdict(log: VerdictLog, statement: str) -> None:
    given = log.add("1:0", "agree", "Ana")
    connection = sqlite3.connect(log.path)
    with pytest.raises(sqlite3.IntegrityError, match=r"verdicts are never \w+: add another"):
        connection.execute(statement)
    connection.close()
    assert log.history("1:0") == [given]


def test_eight_writers_at_once_all_get_in_with_batches_and_withdrawals(log: VerdictLog) -> None:
    code = """if True:
        import sys
        from audit.store.verdicts.log import VerdictLog
        log = VerdictLog(sys.argv[1])
        for number in range(10):
            log.add(f"{number}:0", "agree", sys.argv[2])
        log.add_all([f"{number}:1" for number in range(20)], "unsure", sys.argv[2])
        log.add_all([f"{number}:1" for number in range(20)], "disagree", sys.argv[2])
        log.undo(sys.argv[2])
    """
    names = [f"reviewer {number}" for number in range(8)]
    writers = [subprocess.Popen([sys.executable, "-c", code, log.path, name]) for name in names]
    assert [writer.wait(120) for writer in writers] == [0] * 8
    rows = log.rows()
    assert [row.number for row in rows] == list(range(1, 8 * (10 + 20 + 20 + 20) + 1))
    assert len({row.key for row in rows}) == len(rows)
    assert decisions(log) == {
        **{f"{number}:0": dict.fromkeys(names, "agree") for number in range(10)},
        **{f"{number}:1": dict.fromkeys(names, "unsure") for number in range(20)},
    }


def test_a_clock_that_goes_back_does_not_turn_the_order_round(log: VerdictLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.add("1:0", "agree", "Ana")

    monkeypatch.setattr(module, "datetime", Mock(now=lambda zone: datetime(2001, 1, 1, tzinfo=zone)))
    log.add("1:0", "disagree", "Ana")
    assert decisions(log) == {"1:0": {"Ana": "disagree"}}
    assert log.add("1:0", "unsure", "Ben").time.startswith("2001-01-01")


# Logs of several machines


def test_a_log_that_is_merged_twice_comes_once_and_both_machines_say_the_same(tmp_path: Path) -> None:
    one, two = (VerdictLog(tmp_path / f"{name}.sqlite", ORIGIN) for name in ("one", "two"))
    one.add("1:0", "agree", "Ana", box=(0, 0, 4, 4))
    two.add_all(["1:0", "2:0"], "disagree", "Ben")
    two.add("1:0", "disagree", "Ana")  # later than on the first machine
    one.add("5:0", "unsure", "Ana")
    assert [row.number for row in one.merge(two)] == [3, 4, 5]
    assert one.merge(two) == []
    two.undo("Ben")
    assert [row.decision for row in one.merge(two)] == [WITHDRAWN, WITHDRAWN]
    assert len(two.merge(one)) == 2
    assert decisions(one) == decisions(two) == {"1:0": {"Ana": "disagree"}, "5:0": {"Ana": "unsure"}}
    assert one.boxes() == two.boxes() == {"1:0": [(0, 0, 4, 4)]}


def test_what_stands_does_not_depend_on_which_log_is_merged_into_which(tmp_path: Path) -> None:
    draw = random.Random(5)
    one, two = (VerdictLog(tmp_path / f"{name}.sqlite", ORIGIN) for name in ("one", "two"))
    for _ in range(60):
        log, reviewer = draw.choice([one, two]), draw.choice(["Ana", "Ben"])
        subjects = [f"{draw.randrange(4)}:0" for _ in range(draw.randrange(1, 3))]
        kind = draw.randrange(4)
        if kind == 0:
            log.undo(reviewer)
        elif kind == 1:
            log.add_all(subjects, draw.choice(DECISIONS), reviewer)
        else:
            log.add(subjects[0], draw.choice(DECISIONS), reviewer)
        if draw.random() < 0.05:
            one.merge(two)
    one.merge(two)
    two.merge(one)
    assert one.last() == two.last() > 40
    assert decisions(one) == decisions(two)


def test_a_log_of_other_images_or_another_model_is_refused(tmp_path: Path) -> None:
    one = VerdictLog(tmp_path / "one.sqlite", ORIGIN)
    one.add("1:0", "agree", "Ana")
    for name in ORIGIN:
        other = VerdictLog(tmp_path / f"{name}.sqlite", {**ORIGIN, name: "other"})
        other.add("1:0", "disagree", "Ben")
        with pytest.raises(RunError, match=f"another run: its {name} is other, expected"):
            one.merge(other)
    assert decisions(one) == {"1:0": {"Ana": "agree"}}


def test_a_log_that_was_copied_into_another_run_is_not_written(log: VerdictLog) -> None:
    log.add("1:0", "agree", "Ana")
    with pytest.raises(RunError, match="its manifest is 0123, expected 4567; set it aside"):
        VerdictLog(log.path, {**ORIGIN, "manifest": "4567"}).add("1:0", "agree", "Ana")
    assert log.last() == 1


def test_a_log_that_does_not_say_which_run_it_is_about_is_refused(log: VerdictLog, tmp_path: Path) -> None:
    other = VerdictLog(tmp_path / "other.sqlite")
    other.add("1:0", "agree", "Ana")
    with pytest.raises(RunError, match=r"other\.sqlite does not say which run"):
        log.merge(other)
    with pytest.raises(RunError, match="No verdict log at"):
        log.merge(VerdictLog(tmp_path / "none.sqlite"))
    assert len(log.merge(VerdictLog(other.path, ORIGIN))) == 1  # where it lies in a copy of the run


def test_decisions_of_a_foreign_log_that_are_none_are_refused(log: VerdictLog, tmp_path: Path) -> None:
    other = VerdictLog(tmp_path / "other.sqlite", ORIGIN)
    other.add("1:0", "agree", "Ana")
    with sqlite3.connect(other.path) as connection:
        columns = "subject, 'maybe', reviewer, note, time, NULL, NULL, NULL"
        connection.execute(f"INSERT INTO verdicts SELECT 2, 'key', {columns} FROM verdicts")
    with pytest.raises(RunError, match="got 'maybe' in the log that is merged"):
        log.merge(other)
    assert log.last() == 0


def test_merging_leaves_the_other_file_as_it_is(log: VerdictLog, tmp_path: Path) -> None:
    other = old_log(tmp_path / "old.sqlite")
    before = other.read_bytes()
    other.chmod(0o444)
    assert len(log.merge(VerdictLog(other, ORIGIN))) == 4
    assert other.read_bytes() == before


def test_a_log_belongs_to_its_runs_images_model_and_maps(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    VerdictLog.of(run).add("0:0", "agree", "Ana")
    assert VerdictLog(run.path / "verdicts.sqlite").origin() == origin_of(run)
    assert origin_of(run)["manifest"] == run.record["manifest"]["fingerprint"]


# Logs of the first format

OLD = """
CREATE TABLE verdicts (
    number INTEGER PRIMARY KEY, finding_id TEXT NOT NULL, decision TEXT NOT NULL, reviewer TEXT NOT NULL,
    note TEXT NOT NULL, time TEXT NOT NULL
);
CREATE INDEX verdicts_by_finding ON verdicts (finding_id, number);
CREATE TRIGGER verdicts_never_change BEFORE UPDATE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are never changed: add another'); END;
CREATE TRIGGER verdicts_stay BEFORE DELETE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are never deleted: add another'); END;
CREATE TRIGGER verdicts_are_not_replaced BEFORE INSERT ON verdicts
    WHEN EXISTS (SELECT 1 FROM verdicts WHERE number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'verdicts are never replaced: add another'); END;
"""
OLD_ROWS = [
    (1, "12:0:avoids", "agree", "Ana", "on the mark", "2026-01-02T03:04:05+00:00"),
    (2, "12:0:indifferent", "unsure", "Ana", "", "2026-01-02T03:04:05+00:00"),
    (3, "7:1:avoids", "disagree", "Ben", "", "2026-01-02T03:04:06+00:00"),
    (5, "7:1:avoids", "agree", "Ben", "no", "2026-01-02T03:04:06+00:00"),
]


def old_log(path: Path) -> Path:
    """A log as the first format had it."""
    with sqlite3.connect(path) as connection:
        connection.executescript(OLD)
        connection.executemany("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?)", OLD_ROWS)
    connection.close()
    return path


def test_a_log_of_the_first_format_is_taken_over_and_loses_nothing(log: VerdictLog) -> None:
    old_log(log.path)
    assert decisions(log) == {"12:0": {"Ana": "unsure"}, "7:1": {"Ben": "agree"}}
    assert [(row.number, row.subject, row.note) for row in log.rows()] == [
        (1, "12:0", "on the mark"), (2, "12:0", ""), (3, "7:1", ""), (5, "7:1", "no"),
    ]  # fmt: skip
    with sqlite3.connect(log.path) as connection:
        assert connection.execute("SELECT * FROM verdicts_about_findings ORDER BY number").fetchall() == OLD_ROWS
        for statement in ("DELETE FROM verdicts_about_findings", "UPDATE verdicts_about_findings SET note = ''"):
            with pytest.raises(sqlite3.IntegrityError, match="verdicts are never"):
                connection.execute(statement)
    assert log.add("7:1", "disagree", "Ben").number == 6
    assert [row.decision for row in log.undo("Ben")] == [WITHDRAWN]
    assert decisions(log)["7:1"] == {"Ben": "agree"}


def test_copies_of_an_old_log_merge_without_doubles(tmp_path: Path) -> None:
    one, two = (VerdictLog(old_log(tmp_path / f"{name}.sqlite"), ORIGIN) for name in ("one", "two"))
    two.add("7:1", "unsure", "Cem")
    assert [row.reviewer for row in one.merge(two)] == ["Cem"]


def test_several_processes_may_find_an_old_log_at_once(log: VerdictLog) -> None:
    old_log(log.path)
    load = "import sys; from audit.store.verdicts.log import VerdictLog"
    code = f"{load}; VerdictLog(sys.argv[1]).add('1:0', 'agree', 'Cem')"
    writers = [subprocess.Popen([sys.executable, "-c", code, log.path]) for _ in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    assert len(log.rows()) == len(OLD_ROWS) + 4


def test_a_log_of_a_later_format_is_refused(log: VerdictLog) -> None:
    log.add("1:0", "agree", "Ana")
    with sqlite3.connect(log.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(RunError, match="has format 99, expected 2; update camaudit"):
        log.standing()


def test_the_log_does_not_use_the_write_ahead_log(log: VerdictLog) -> None:
    log.add("1:0", "agree", "Ana")
    connection = sqlite3.connect(log.path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_file_that_is_no_log_is_named(log: VerdictLog) -> None:
    log.path.write_bytes(b"not a database, whatever its name" * 100)
    with pytest.raises(RunError, match=r"Cannot use the verdict log .*verdicts\.sqlite"):
        log.standing()


def test_a_subject_is_a_target_or_a_claim() -> None:
    assert [target_of(subject) for subject in ("3:1", "zone:3:1", "3:1:avoids", "-1:0", "3")] == [(3, 1), *[None] * 4]


def test_standing_is_what_replaying_the_rows_one_by_one_leaves(log: VerdictLog) -> None:
    draw = random.Random(11)
    for _ in range(80):
        reviewer = draw.choice(["Ana", "Ben", "Cem"])
        if draw.random() < 0.3:
            log.undo(reviewer)
        else:
            log.add_all(
                [f"{draw.randrange(5)}:0" for _ in range(draw.randrange(1, 4))], draw.choice(DECISIONS), reviewer
            )
    rows = log.rows()
    before = {}
    for first, as_of in pairwise((0, len(rows) // 3, len(rows) // 2, len(rows) - 1, len(rows))):
        standing = log.standing(as_of)
        assert decisions(log, as_of) == replayed(rows[:as_of])
        kept = dict(before)
        assert log.standing_after(before, first, as_of) == standing
        assert before == kept
        before = standing


def test_what_many_rows_touch_is_read_anew(log: VerdictLog) -> None:
    first = log.add("0:0", "agree", "Ana")
    before = log.standing()
    log.add_all([f"{number}:0" for number in range(900)], "unsure", "Ana")
    assert log.standing_after(before, first.number, log.last()) == log.standing()
    log.undo("Ana")
    assert log.standing_after({}, 0, log.last()) == before


def replayed(rows: list[Verdict]) -> dict[str, dict[str, str]]:
    """Each reviewer's stack of decisions about each subject, the top of which stands."""
    stacks: dict[tuple[str, str], list[Verdict]] = {}
    for row in rows:
        stack = stacks.setdefault((row.subject, row.reviewer), [])
        if row.decision == WITHDRAWN:
            assert stack.pop().key == row.withdraws
        else:
            stack.append(row)
    standing: dict[str, dict[str, str]] = {}
    for (subject, reviewer), stack in stacks.items():
        if stack:
            standing.setdefault(subject, {})[reviewer] = stack[-1].decision
    return standing
