"""The verdict log: what people decided about targets and claims. Nothing in it is changed or deleted, only added to."""

from __future__ import annotations

import json
import math
import re
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from audit.errors import RunError
from audit.store import layout
from audit.store.run import Run
from audit.store.verdicts.place import verdict_file
from audit.store.verdicts.schema import prepare

DECISIONS = ("agree", "disagree", "unsure")
"""Answers to "Does the model look off the object here?"; of a claim, to "Does it hold?"."""
WITHDRAWN = "withdrawn"
"""The decision of a row that takes an earlier one back."""
BoxCorners = tuple[float, float, float, float]
"""x0, y0, x1, y1 in upright pixels."""

_COLUMNS = "key, subject, decision, reviewer, note, time, batch, box, withdraws"
_TARGET = re.compile(r"(\d{1,15}):(\d{1,5})")
_WAIT_S = 30.0
# Rows that no other takes back, as of a row.
_LIVE = f"""number <= :as_of AND decision <> '{WITHDRAWN}' AND NOT EXISTS
    (SELECT 1 FROM verdicts AS later WHERE later.withdraws = verdicts.key AND later.number <= :as_of)"""
_NEVER = 2**63 - 1
_MOST_TOUCHED = 500
_Returned = TypeVar("_Returned")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reviewer decided about a subject.

    Attributes:
        number: of the row in its log, from 1.
        key: random, the same in every log that holds the row.
        subject: a target, SAMPLE:SLOT, or a claim, its `claim_id`.
        decision: one of `DECISIONS`, or `WITHDRAWN`.
        time: UTC, ISO 8601.
        batch: what the verdicts that were given at once share; None for one that was given alone.
        box: around an object of the target's class, drawn by the reviewer; None where none was drawn.
        withdraws: key of the row that this one takes back.
    """

    number: int
    key: str
    subject: str
    decision: str
    reviewer: str
    note: str
    time: str
    batch: str | None = None
    box: BoxCorners | None = None
    withdraws: str | None = None


def target_subject(sample: int, slot: int) -> str:
    """The subject that a target is.

    >>> target_subject(12, 0)
    '12:0'
    """
    return f"{sample}:{slot}"


def target_of(subject: str) -> tuple[int, int] | None:
    """Sample and slot of a subject; None of a claim.

    >>> target_of("12:0"), target_of("zone:dog:corner")
    ((12, 0), None)
    """
    match = _TARGET.fullmatch(subject)
    return (int(match[1]), int(match[2])) if match else None


def origin_of(run: Run) -> dict[str, str]:
    """What has to be the same for a target to be the same: images, network, method and which targets there are."""
    config = run.record.get("config", {})
    asked = {name: config.get(name) for name in ("method", "options", "roles")}
    return {
        "manifest": str(run.record["manifest"]["fingerprint"]),
        "model": str(run.record.get("model", {}).get("fingerprint", "")),
        "maps": json.dumps(asked, sort_keys=True),
    }


class VerdictLog:
    """The log in one SQLite file, which the first verdict creates.

    Several processes may add at once: each waits for the others. The rollback journal is used, not the write-ahead log,
    which needs shared memory and so fails on network folders.

    A reviewer's verdicts follow one another by time, then by number: also where several logs were merged.

    Args:
        origin: of the run that the log belongs to, as `origin_of` says; the first row writes it into the log.
    """

    def __init__(self, path: str | Path, origin: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self._origin = dict(origin or {})

    @classmethod
    def of(cls, run: Run) -> VerdictLog:
        """The log of a run."""
        return cls(verdict_file(run.path), origin_of(run))

    def add(self, subject: str, decision: str, reviewer: str, note: str = "", box: BoxCorners | None = None) -> Verdict:
        """Add a verdict.

        Args:
            box: around an object of the class; boxes of a reviewer about a target add up, for it may show two.

        Raises:
            ValueError: an unknown decision, no reviewer, or a box that is none.
            RunError: the log cannot be written, or is another run's.
        """
        draft = _draft(subject, decision, reviewer, note, None, box)
        return self._write(lambda connection: _append(connection, [draft]))[0]

    def add_all(self, subjects: Iterable[str], decision: str, reviewer: str, note: str = "") -> list[Verdict]:
        """Add one verdict about many subjects, a row each, all or none; `undo` takes them back together.

        Raises:
            ValueError: an unknown decision, or no reviewer.
            RunError: the log cannot be written, or is another run's.
        """
        batch = secrets.token_hex(16)
        drafts = [_draft(subject, decision, reviewer, note, batch, None) for subject in dict.fromkeys(subjects)]
        return self._write(lambda connection: _append(connection, drafts)) if drafts else []

    def undo(self, reviewer: str) -> list[Verdict]:
        """Take back what a reviewer did last, a batch as a whole: what stood before stands again.

        Returns:
            The rows that were added for that, decided `WITHDRAWN`; none where nothing is left to take back.

        Raises:
            RunError: the log cannot be written, or is another run's.
        """
        return (
            self._write(lambda connection: _withdraw_last(connection, reviewer.strip())) if self.path.exists() else []
        )

    def merge(self, other: VerdictLog) -> list[Verdict]:
        """Add the rows of another log that this one does not hold yet, in their order; the other stays as it is.

        Returns:
            The rows that came, as they stand here.

        Raises:
            RunError: the other log does not exist, cannot be read, or is about another run's targets.
        """
        origin, rows = other._copied()
        if self._origin:
            check_origin(other.path, origin or other._origin, self._origin)
        return self._write(lambda connection: _append_unknown(connection, rows))

    def last(self) -> int:
        """Number of the last row; 0 where there is none."""
        return self._read(lambda connection: int(connection.execute(_LAST).fetchone()[0]), 0)

    def standing(self, as_of: int | None = None) -> dict[str, dict[str, Verdict]]:
        """The verdict of each reviewer that stands, by subject and reviewer.

        Args:
            as_of: number of the last row that counts; None for all.
        """
        return _by_subject(self.live(as_of))

    def standing_after(
        self, before: Mapping[str, Mapping[str, Verdict]], first: int, as_of: int
    ) -> Mapping[str, Mapping[str, Verdict]]:
        """The same, from what stood before some rows: it costs what these rows touch, not the log's length.

        Args:
            before: what stood as of row `first`; it stays as it is.
        """
        rows = self._rows("number > :first AND number <= :as_of", first=first, as_of=as_of)
        touched = sorted({row.subject for row in rows})
        if len(touched) > _MOST_TOUCHED:
            return self.standing(as_of)
        names = {f"subject_{place}": subject for place, subject in enumerate(touched)}
        where = f"subject IN ({', '.join(f':{name}' for name in names)}) AND {_LIVE}"
        after = {**before, **_by_subject(self._rows(where, as_of=as_of, **names))}
        for subject in touched:
            if after.get(subject) is before.get(subject):  # nothing of it is left
                after.pop(subject, None)
        return after

    def live(self, as_of: int | None = None) -> list[Verdict]:
        """All verdicts that were not taken back, oldest first, with those that a later one of the reviewer replaces."""
        return self._rows(_LIVE, as_of=_NEVER if as_of is None else as_of)

    def boxes(self, as_of: int | None = None) -> dict[str, list[BoxCorners]]:
        """The boxes that stand, by target: all that reviewers drew and did not take back, equal ones once."""
        by_subject: dict[str, list[BoxCorners]] = {}
        for verdict in self._rows(f"box IS NOT NULL AND {_LIVE}", as_of=_NEVER if as_of is None else as_of):
            drawn = by_subject.setdefault(verdict.subject, [])
            if verdict.box is not None and verdict.box not in drawn:
                drawn.append(verdict.box)
        return by_subject

    def history(self, subject: str) -> list[Verdict]:
        """All rows about a subject, oldest first, with those that were taken back and those that took them back."""
        return self._rows("subject = :subject", subject=subject)

    def rows(self) -> list[Verdict]:
        """All rows, by number."""
        return sorted(self._rows("TRUE"), key=lambda verdict: verdict.number)

    def check(self) -> None:
        """See that the log, if there is one, is about the run's targets.

        Raises:
            RunError: it is another run's, or cannot be read.
        """
        written = self.origin()
        if written and self._origin:
            check_origin(self.path, written, self._origin)

    def origin(self) -> dict[str, str]:
        """Which run's targets the log is about, as `origin_of` says; empty of a log that was never told."""
        return self._read(lambda connection: dict(connection.execute("SELECT name, value FROM origin")), {})

    def _rows(self, where: str, **values: Any) -> list[Verdict]:
        query = f"SELECT number, {_COLUMNS} FROM verdicts WHERE {where} ORDER BY time, number"
        return self._read(lambda connection: [_verdict(row) for row in connection.execute(query, values)], [])

    def _read(self, read: Callable[[sqlite3.Connection], _Returned], nothing: _Returned) -> _Returned:
        if not self.path.exists():
            return nothing
        with self._connection() as connection:
            return read(connection)

    def _write(self, write: Callable[[sqlite3.Connection], _Returned]) -> _Returned:
        with self._connection() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            self._claim(connection)
            return write(connection)

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Write which run the log belongs to, or see that it is this one."""
        written = dict(connection.execute("SELECT name, value FROM origin"))
        if written and self._origin:
            check_origin(self.path, written, self._origin)
        elif self._origin:
            connection.executemany("INSERT INTO origin VALUES (?, ?)", self._origin.items())

    def _copied(self) -> tuple[dict[str, str], list[Verdict]]:
        """Origin and rows, read from a copy: the file may be of an earlier format, or write-protected."""
        if not self.path.is_file():
            raise RunError(f"No verdict log at {self.path}; the first verdict about a run makes one")
        with tempfile.TemporaryDirectory() as folder:
            copy = VerdictLog(Path(folder) / layout.VERDICTS)
            with (
                self._named_errors(),
                closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy.path)) as target,
            ):
                source.backup(target)
            return copy.origin(), copy.rows()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with (
            self._named_errors(),
            closing(sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)) as connection,
        ):
            prepare(connection)
            yield connection

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(
                f"Cannot use the verdict log {self.path}: {error}; check that it is writable, or set it aside"
            ) from None


def check_origin(path: Path, origin: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """See that a log is about the targets of a run.

    Raises:
        RunError: it is about another run's, or does not say.
    """
    if not origin:
        raise RunError(f"{path} does not say which run it is about; name it where it lies in its run, beside run.json")
    differing = sorted(name for name in expected if origin.get(name) != expected[name])
    if differing:
        name = "manifest" if "manifest" in differing else differing[0]
        raise RunError(
            f"The verdict log {path} is about the targets of another run: its {name} is {origin.get(name)}, expected "
            f"{expected[name]}; set it aside"
        )


_LAST = "SELECT coalesce(max(number), 0) FROM verdicts"


def _by_subject(verdicts: Iterable[Verdict]) -> dict[str, dict[str, Verdict]]:
    """Each reviewer's last, from those that are live, oldest first."""
    by_subject: dict[str, dict[str, Verdict]] = {}
    for verdict in verdicts:
        by_subject.setdefault(verdict.subject, {})[verdict.reviewer] = verdict
    return by_subject


def _draft(subject: str, decision: str, reviewer: str, note: str, batch: str | None, box: BoxCorners | None) -> Verdict:
    """A verdict as it is given, without number and time."""
    if decision not in DECISIONS:
        raise ValueError(f"Expected `decision` to be one of {', '.join(DECISIONS)}, got {decision!r}")
    if not reviewer.strip():
        raise ValueError("Expected `reviewer` to be a name, got none")
    if not subject:
        raise ValueError("Expected `subject` to be SAMPLE:SLOT or a claim_id, got none")
    if box is not None:
        box = _checked_box(subject, box)
    return Verdict(0, secrets.token_hex(16), subject, decision, reviewer.strip(), note.strip(), "", batch, box)


def _checked_box(subject: str, box: Sequence[float]) -> BoxCorners:
    if target_of(subject) is None:
        raise ValueError(f"Expected a box about a target, got one about {subject!r}")
    corners = tuple(map(float, box))
    if len(corners) != 4 or not all(map(math.isfinite, corners)) or min(corners) < 0:
        raise ValueError(f"Expected `box` as x0, y0, x1, y1 in pixels, got {box}")
    x0, y0, x1, y1 = corners
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"Expected `box` to have x0 < x1 and y0 < y1, got {box}")
    return x0, y0, x1, y1


def _append(connection: sqlite3.Connection, drafts: Sequence[Verdict]) -> list[Verdict]:
    """Add rows of one reviewer, now; never before what the reviewer did last, whatever the clock says."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    last = connection.execute("SELECT max(time) FROM verdicts WHERE reviewer = ?", (drafts[0].reviewer,)).fetchone()[0]
    time = max(now, last or "")
    return _insert(connection, [replace(draft, time=time) for draft in drafts])


def _insert(connection: sqlite3.Connection, verdicts: Sequence[Verdict]) -> list[Verdict]:
    first = connection.execute(_LAST).fetchone()[0] + 1
    added = [replace(verdict, number=first + place) for place, verdict in enumerate(verdicts)]
    marks = ", ".join("?" * 10)
    connection.executemany(f"INSERT INTO verdicts (number, {_COLUMNS}) VALUES ({marks})", map(_row, added))
    return added


def _withdraw_last(connection: sqlite3.Connection, reviewer: str) -> list[Verdict]:
    values = {"as_of": _NEVER, "reviewer": reviewer}
    own = f"SELECT number, {_COLUMNS} FROM verdicts WHERE reviewer = :reviewer AND {_LIVE}"
    row = connection.execute(f"{own} ORDER BY time DESC, number DESC LIMIT 1", values).fetchone()
    if row is None:
        return []
    last = _verdict(row)
    rows = [row]
    if last.batch is not None:
        rows = connection.execute(
            f"{own} AND batch = :batch ORDER BY number", {**values, "batch": last.batch}
        ).fetchall()
    batch = None if last.batch is None else secrets.token_hex(16)
    drafts = [
        Verdict(0, secrets.token_hex(16), verdict.subject, WITHDRAWN, reviewer, "", "", batch, withdraws=verdict.key)
        for verdict in map(_verdict, rows)
    ]
    return _append(connection, drafts)


def _append_unknown(connection: sqlite3.Connection, verdicts: Sequence[Verdict]) -> list[Verdict]:
    strange = sorted({verdict.decision for verdict in verdicts} - {*DECISIONS, WITHDRAWN})
    if strange:
        raise RunError(f"Expected decisions among {', '.join(DECISIONS)}, got {strange[0]!r} in the log that is merged")
    known = {key for (key,) in connection.execute("SELECT key FROM verdicts")}
    return _insert(connection, [verdict for verdict in verdicts if verdict.key not in known])


def _row(verdict: Verdict) -> tuple[Any, ...]:
    values = [getattr(verdict, field.name) for field in fields(Verdict)]
    return tuple(json.dumps(value) if isinstance(value, tuple) else value for value in values)


def _verdict(row: Sequence[Any]) -> Verdict:
    number, key, subject, decision, reviewer, note, time, batch, box, withdraws = row
    corners = None if box is None else tuple(json.loads(box))
    return Verdict(number, key, subject, decision, reviewer, note, time, batch, corners, withdraws)
