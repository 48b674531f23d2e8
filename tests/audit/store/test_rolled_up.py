"""The copy of all ledger entries: it saves reading them, and never says what they do not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bucket import Faults, new_bucket, served

import audit.store.ledger as ledger_module
from audit.errors import RunError
from audit.store.ledger import FEW, ROLLED_UP, Entry, Ledger
from audit.store.storage.objects import Location, ObjectPath, location

SHARDS = FEW + 4


@pytest.fixture(scope="module")
def store() -> Iterator[Faults]:
    with pytest.MonkeyPatch.context() as patch, served(patch) as faults:
        yield faults


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "directory":
        (tmp_path / "run" / "ledger").mkdir(parents=True)
        return tmp_path / "run"
    return location(f"{new_bucket(request.getfixturevalue('store')).url}/run")


@pytest.fixture
def ledger(place: Location) -> Ledger:
    ledger = Ledger(place)
    for shard in range(SHARDS):
        ledger.enter(shard, entry_of(shard), None)
    return ledger


def entry_of(shard: int, writer: str = "first") -> Entry:
    counts = {"processed": 3, "failed": shard % 2, "transient": 0}
    return {**counts, "seconds": 0.1 + shard, "artefacts": {f"targets/part-{shard:05d}.{writer}.parquet": writer}}


def one_by_one(ledger: Ledger) -> dict[int, Entry]:
    """What every entry says by itself, all read anew."""
    forget()
    return {shard: entry for shard in range(SHARDS + 5) if (entry := ledger.entry(shard)) is not None}


def read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[int, Entry], list[str]]:
    """All entries as a new process reads them, and the names of the files that were read for it."""
    names: list[str] = []
    load_json = ledger_module.load_json

    def noted(path: Location, *how: Any) -> dict[str, Any]:
        names.append(path.name)
        return load_json(path, *how)

    forget()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "load_json", noted)
        return ledger.entries(), names


def forget() -> None:
    """As in a new process."""
    ledger_module._read.cache_clear()
    ledger_module._rolled_up.cache_clear()


def copy_of(ledger: Ledger) -> Location:
    return ledger.path(0).with_name(ROLLED_UP)


def write(path: Location, content: bytes) -> None:
    path.put(content) if isinstance(path, ObjectPath) else path.write_bytes(content)


def test_all_entries_are_read_from_one_file(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, (before, names) = one_by_one(ledger), read(ledger, monkeypatch)
    assert before == truth
    assert len(names) == SHARDS
    ledger.roll_up()
    entries, names = read(ledger, monkeypatch)
    assert entries == truth
    assert list(entries) == sorted(truth)
    assert names == [ROLLED_UP]
    assert ledger.entered() == set(truth)


def test_what_came_changed_or_went_since_is_read_as_it_is(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.roll_up()
    ledger.enter(SHARDS, entry_of(SHARDS), None)
    assert ledger.enter(3, entry_of(3, "second"), ledger.entry(3)) == entry_of(3, "second")
    ledger.withdraw(5)
    entries, names = read(ledger, monkeypatch)
    assert entries == one_by_one(ledger)
    assert entries[3] == entry_of(3, "second")
    assert 5 not in entries
    assert sorted(names) == [f"{3:05d}.json", f"{SHARDS:05d}.json", ROLLED_UP]
    ledger.roll_up()
    assert read(ledger, monkeypatch) == (one_by_one(ledger), [ROLLED_UP])


def test_an_entry_that_was_lost_is_not_brought_back(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.roll_up()
    ledger.path(7).unlink()
    assert 7 not in read(ledger, monkeypatch)[0]
    assert ledger.digest() == Ledger(copied_without(ledger, 7)).digest()


def copied_without(ledger: Ledger, shard: int) -> Location:
    """Another run whose ledger has the same entries, one by one."""
    folder = ledger.path(0).parent.parent.with_name("another")
    if isinstance(folder, Path):
        (folder / "ledger").mkdir(parents=True)
    for other, entry in one_by_one(ledger).items():
        if other != shard:
            Ledger(folder).enter(other, entry, None)
    return folder


@pytest.mark.parametrize("spoilt", ["cut", "flipped", "of another form", "naming a file elsewhere", "gone"])
def test_a_copy_that_is_damaged_costs_time_alone(spoilt: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.roll_up()
    path = copy_of(ledger)
    content = path.read_bytes()
    if spoilt == "gone":
        path.unlink()
    elif spoilt == "naming a file elsewhere":
        record = json.loads(content)
        record["entries"]["2"][1]["artefacts"] = {"../../secret": "0"}
        record.pop("sha256")
        ledger_module.write_json(path, record)
    elif spoilt == "of another form":
        ledger_module.write_json(path, {"entries": [1, 2]})
    else:
        write(path, content[:-40] if spoilt == "cut" else content.replace(b'"processed": 3', b'"processed": 4', 1))
    entries, names = read(ledger, monkeypatch)
    assert entries == one_by_one(ledger)
    assert len(set(names) - {ROLLED_UP}) == SHARDS
    ledger.roll_up()
    assert read(ledger, monkeypatch)[1] == [ROLLED_UP]


def test_a_damaged_entry_is_told_of_though_the_copy_holds_it(ledger: Ledger) -> None:
    ledger.roll_up()
    write(ledger.path(4), b"{}")
    with pytest.raises(RunError, match="Damaged ledger entry"):
        ledger.entries()


def test_two_that_roll_up_at_once_while_others_enter_leave_a_copy_that_is_true(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(ledger.roll_up) for _ in range(4)]
        work += [pool.submit(ledger.enter, SHARDS + more, entry_of(SHARDS + more), None) for more in range(3)]
        work += [pool.submit(ledger.enter, 2, entry_of(2, f"{writer}"), ledger.entry(2)) for writer in range(3)]
        for done in work:
            done.result()
    assert read(ledger, monkeypatch)[0] == one_by_one(ledger)
    ledger.roll_up()
    assert read(ledger, monkeypatch) == (one_by_one(ledger), [ROLLED_UP])


def test_an_entry_replaced_while_it_is_rolled_up_is_left_out(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Ledger._told

    def replaced_meanwhile(self: Ledger) -> Any:
        found = told(self)
        self.enter(9, entry_of(9, "late"), self.entry(9))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_told", replaced_meanwhile)
        ledger.roll_up()
    entries, names = read(ledger, monkeypatch)
    assert entries[9] == entry_of(9, "late")
    assert sorted(names) == ["00009.json", ROLLED_UP]


def test_a_copy_that_cannot_be_written_stops_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger_module, "write_json", full)
    ledger.roll_up()
    assert ledger.entries() == one_by_one(ledger)


def test_a_copy_whose_entries_cannot_be_listed_or_read_now_stops_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    with unreadable(ledger.path(3), monkeypatch):
        ledger.roll_up()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "versions_in", fail)
        ledger.roll_up()
    assert not copy_of(ledger).exists()
    ledger.roll_up()
    assert read(ledger, monkeypatch) == (one_by_one(ledger), [ROLLED_UP])


def test_a_damaged_entry_is_no_matter_to_who_rolls_up(ledger: Ledger) -> None:
    write(ledger.path(4), b"{}")
    ledger.roll_up()
    assert not copy_of(ledger).exists()
    with pytest.raises(RunError, match="Damaged ledger entry"):
        ledger.entries()


def test_a_read_that_fails_once_is_no_damage_and_is_not_remembered(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    with unreadable(ledger.path(3), monkeypatch):
        with pytest.raises(OSError, match="Input/output error"):
            ledger.entry(3)
        with pytest.raises(OSError, match="Input/output error"):
            ledger.entries()
    assert ledger.entry(3) == entry_of(3)
    assert ledger.entries()[3] == entry_of(3)


def test_a_copy_that_cannot_be_read_once_costs_time_alone_and_is_read_the_next_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.roll_up()
    forget()
    with unreadable(copy_of(ledger), monkeypatch):
        assert len(ledger.entries()) == SHARDS
    ledger_module._read.cache_clear()
    with unreadable(ledger.path(3), monkeypatch):
        assert len(ledger.entries()) == SHARDS


@contextmanager
def unreadable(path: Location, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file or object whose content nobody gets, though it is there."""
    read_bytes = type(path).read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(type(path), "read_bytes", lambda asked: fail() if asked == path else read_bytes(asked))
        yield


def fail(*_: object) -> None:
    raise OSError(5, "Input/output error")


def test_a_ledger_that_was_copied_elsewhere_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies have other inodes: the copy of the entries is of no use there, and of no harm."""
    import shutil

    (tmp_path / "run" / "ledger").mkdir(parents=True)
    ledger = Ledger(tmp_path / "run")
    for shard in range(SHARDS):
        ledger.enter(shard, entry_of(shard), None)
    ledger.roll_up()
    shutil.copytree(tmp_path / "run", tmp_path / "moved")
    moved = Ledger(tmp_path / "moved")
    assert os.path.exists(copy_of(moved))
    assert read(moved, monkeypatch)[0] == one_by_one(ledger)


def test_a_few_entries_are_not_rolled_up(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    ledger = Ledger(tmp_path)
    ledger.enter(0, entry_of(0), None)
    ledger.roll_up()
    assert [path.name for path in (tmp_path / "ledger").glob("*.json")] == ["00000.json"]
