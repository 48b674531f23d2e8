"""Two writers of one shard, one of them cut off from its driver perhaps: what stands is of one of them, whole."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import xarray

from audit.datasets import Manifest, Sample
from audit.errors import RunError
from audit.store import Run, layout
from audit.store.ledger import Entry, Ledger
from audit.store.storage.files import write_atomically
from faults.collection import audit_here, contents, finished, planned, resumed
from faults.writers import write, write_together, writer_of
from pipelines.run.shards.shard import Finished, audit_shard

SHARDS, EACH, WRITERS = 20, 3, 4


@pytest.fixture
def run(tmp_path: Path) -> Run:
    listed = Manifest.from_samples((Sample(f"{row}", f"{row}.png") for row in range(SHARDS * EACH)), ("a",))
    maps = {"grid": [2, 2], "slots": 1, "encoding": "float16", "shard_size": EACH}
    return Run.create(tmp_path / "run", listed, {"config": {}, "model": {}, **maps})


def test_shards_that_several_write_at_once_are_each_of_one_writer(run: Run) -> None:
    told = write_together(run, WRITERS)
    assert len({writer_of(run, shard) for shard in run.shards}) > 1
    assert all(entries == told[0] for entries in told)
    assert list(run.damaged()) == []
    run.sweep()
    files = {str(path.relative_to(run.path)) for path in (run.path / "targets").iterdir()}
    assert files == {name for entry in told[0] for name in entry["artefacts"] if name.startswith("targets")}
    opened = xarray.open_zarr(run.path / layout.MAPS, consolidated=False)["map"].values
    np.testing.assert_array_equal(opened, run.maps(0, run.samples))


def test_the_second_of_two_is_told_of_the_first_and_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shard, enter = run.shards[0], Ledger.enter

    def be_overtaken(self: Ledger, index: int, entry: Mapping[str, Any], before: Entry | None) -> Entry:
        monkeypatch.setattr(Ledger, "enter", enter)
        write(run, shard, 1)
        return enter(self, index, entry, before)

    monkeypatch.setattr(Ledger, "enter", be_overtaken)
    standing = write(run, shard, 0)
    assert standing == run.entry(shard)
    assert writer_of(run, shard) == 1
    kept = [*run.path.rglob("part-*"), *(run.path / layout.MAPS / "map" / "c").rglob("0.*")]
    assert {str(path.relative_to(run.path)) for path in kept} == set(standing["artefacts"])


def test_of_two_that_do_a_finished_shard_again_the_first_wins(run: Run) -> None:
    shard = run.shards[0]
    before = write(run, shard, 0)
    write(run, shard, 1, before)
    assert write(run, shard, 2, before) == run.entry(shard)
    assert writer_of(run, shard) == 1


def test_a_writer_that_fails_takes_nothing_from_one_with_equal_content(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, enter = run.shards[0], Ledger.enter

    def fail(self: Ledger, index: int, entry: Mapping[str, Any], before: Entry | None) -> Entry:
        raise OSError(errno.ENOSPC, "No space left on device")

    def meanwhile(self: Ledger, index: int, entry: Mapping[str, Any], before: Entry | None) -> Entry:
        monkeypatch.setattr(Ledger, "enter", fail)
        with pytest.raises(OSError, match="No space left"):
            write(run, shard, 0)
        return enter(self, index, entry, before)

    monkeypatch.setattr(Ledger, "enter", meanwhile)
    write(run, shard, 0)
    assert list(run.damaged()) == []


def test_a_slower_writer_whose_files_were_swept_leaves_its_shard_pending_not_damaged(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, enter = run.shards[0], Ledger.enter
    before = write(run, shard, 0)

    def be_swept(self: Ledger, index: int, entry: Mapping[str, Any], known: Entry | None) -> Entry:
        Run.open(run.path).sweep()
        return enter(self, index, entry, known)

    monkeypatch.setattr(Ledger, "enter", be_swept)
    with pytest.raises(RunError, match="were swept meanwhile"):
        write(run, shard, 1, before)
    assert run.done() == []
    assert list(run.damaged()) == []


def test_of_many_that_replace_an_entry_at_once_one_is_told_that_it_did(run: Run) -> None:
    shard, together = run.shards[0], Barrier(WRITERS)
    before = write(run, shard, 0)

    def replace(writer: int) -> Entry:
        together.wait()
        return write(run, shard, writer + 1, before)

    with ThreadPoolExecutor(WRITERS) as pool:
        told = list(pool.map(replace, range(WRITERS)))
    assert all(entry == run.entry(shard) for entry in told)
    assert writer_of(run, shard) > 0


def test_without_hard_links_one_writer_alone_enters_and_a_full_disk_leaves_no_entry(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert write(run, run.shards[0], 0) == write(run, run.shards[0], 1)
    assert writer_of(run, run.shards[0]) == 0

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("audit.store.storage.files._flush", lambda _path: None)
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            write(run, run.shards[1], 0)
    assert run.done() == [run.shards[0]]


def test_a_late_writer_of_a_shard_that_is_pending_again_is_right_too(run: Run) -> None:
    shard = run.shards[0]
    write(run, shard, 0)
    run.withdraw(shard)
    assert np.isnan(run.maps(0, EACH)).all()
    write(run, shard, 1)
    assert writer_of(run, shard) == 1
    assert list(run.damaged()) == []


def test_sweeping_leaves_what_a_slower_writer_is_about_to_enter(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shard, enter = run.shards[0], Ledger.enter

    def be_swept(self: Ledger, index: int, entry: Mapping[str, Any], before: Entry | None) -> Entry:
        Run.open(run.path).sweep()
        return enter(self, index, entry, before)

    monkeypatch.setattr(Ledger, "enter", be_swept)
    write(run, shard, 0)
    assert writer_of(run, shard) == 0
    assert list(run.damaged()) == []


def test_writers_with_equal_process_ids_do_not_take_one_anothers_partial_file(tmp_path: Path) -> None:
    path, together = tmp_path / "x", Barrier(2)

    def write_slowly(text: str) -> None:
        def fill(partial: Path) -> None:
            partial.write_text(text)
            together.wait()
            assert partial.read_text() == text

        write_atomically(path, fill)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write_slowly, ("one", "two")))
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_task_whose_shard_another_finished_meanwhile_does_not_do_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = finished(tmp_path)
    monkeypatch.setattr("pipelines.run.shards.shard.attribute_samples", None)
    assert audit_shard(plan.task, plan.run.shards[0]) == Finished(plan.run.shards[0], 4, 0)


def test_what_a_killed_writer_left_is_swept_once_its_shard_is_done(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    orphan = plan.run.path / "targets/part-00001.000000000000.parquet"
    orphan.parent.mkdir()
    orphan.write_bytes(b"half")
    assert plan.run.sweep() == 0
    audit_here(resumed(plan))
    assert not orphan.exists()
    assert contents(plan.run) == contents(finished(tmp_path / "whole").run)
