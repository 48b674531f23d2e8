"""Runs in a bucket: what a directory promises, an object store keeps too, whatever its answers are."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import xarray
import zarr
from bucket import Bucket, put_of

import audit.store.lock as lock
from audit.datasets import Manifest, Sample
from audit.errors import RunError
from audit.findings import Findings
from audit.store import Run, layout
from audit.store.storage.files import read_json, replace_json, version_of, write_json
from audit.store.storage.objects import ObjectPath, address, location
from audit.store.verdicts.log import VerdictLog
from faults.collection import (
    CONFIG,
    audit_here,
    camaudit,
    command,
    draw_collection,
    finished,
    launch,
    no_process_is_left_of,
    refusals,
    slowly,
    wait_until,
    write_model,
)
from faults.writers import write, write_together, writer_of
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Stopped, audit_shard

SHARDS, EACH, WRITERS = 6, 3, 4


@pytest.fixture
def run(bucket: Bucket) -> Run:
    listed = Manifest.from_samples((Sample(f"{row}", f"{row}.png") for row in range(SHARDS * EACH)), ("a",))
    maps = {"grid": [2, 2], "slots": 1, "encoding": "float16", "shard_size": EACH}
    return Run.create(f"{bucket.url}/run", listed, {"config": {}, "model": {}, **maps})


def in_bucket(plan: Plan, bucket: Bucket) -> Plan:
    """The same run, begun in a bucket."""
    manifest = plan.run.path.parent / "manifest.parquet"
    return prepare(str(manifest), f"{bucket.url}/audits/run", plan.task.spec, CONFIG)


def named_by(run: Run) -> dict[str, str]:
    """All that the ledger and the findings name, with its sha256."""
    kept = read_json(run.path / layout.FINDINGS / layout.FINDINGS_LEDGER, "")["artefacts"]
    return {
        name: digest for entry in run.ledger.entries().values() for name, digest in entry["artefacts"].items()
    } | kept


def test_a_run_in_a_bucket_is_that_in_a_directory_byte_by_byte(tmp_path: Path, bucket: Bucket) -> None:
    local = finished(tmp_path)
    plan = in_bucket(local, bucket)
    audit_here(plan)
    assert named_by(plan.run) == named_by(local.run)
    np.testing.assert_array_equal(plan.run.maps(0, 10), local.run.maps(0, 10))
    assert plan.run.account() == local.run.account()
    assert Findings(plan.run).targets().equals(Findings(local.run).targets())
    assert list(plan.run.damaged()) == []


def test_other_readers_of_zarr_see_the_maps(run: Run) -> None:
    for shard in run.shards[:-1]:
        write(run, shard, shard.index)
    assert isinstance(run.path, ObjectPath)
    store = zarr.storage.ObjectStore((run.path / layout.MAPS).store())
    opened = xarray.open_zarr(
        store, consolidated=False, chunks=None
    )  # with chunks, whatever cluster is there would read
    np.testing.assert_array_equal(opened["map"].values, run.maps(0, run.samples))


def test_shards_that_several_write_at_once_are_each_of_one_writer(run: Run) -> None:
    told = write_together(run, WRITERS)
    assert all(entries == told[0] for entries in told)
    assert [writer_of(run, shard) for shard in run.shards]
    assert list(run.damaged()) == []
    run.sweep()
    files = {place.name for place in (run.path / "targets").iterdir()}
    assert files == {Path(name).name for entry in told[0] for name in entry["artefacts"] if "targets" in name}


def test_of_several_that_replace_one_version_one_alone_does(run: Run) -> None:
    place = run.path / layout.VIEWS
    write_json(place, {"writer": -1})
    version, together = version_of(place), Barrier(WRITERS)

    def replace_it(writer: int) -> bool:
        together.wait()
        return replace_json(place, {"writer": writer}, version)

    with ThreadPoolExecutor(WRITERS) as pool:
        told = list(pool.map(replace_it, range(WRITERS)))
    assert sum(told) == 1
    assert read_json(place, "") == {"writer": told.index(True)}


@pytest.mark.parametrize("status", [409, 412, 500, 503])
def test_what_the_store_cannot_do_at_once_is_tried_again(bucket: Bucket, run: Run, status: int) -> None:
    bucket.faults.refuse(put_of("ledger/"), status, times=2)
    bucket.faults.refuse(put_of("targets/"), status)
    entry = write(run, run.shards[0], 3)
    assert not bucket.faults.left()
    assert run.entry(run.shards[0]) == entry
    assert writer_of(run, run.shards[0]) == 3


def test_a_commit_whose_answer_is_lost_stands_once(bucket: Bucket, run: Run) -> None:
    bucket.faults.lose(put_of("ledger/"))
    entry = write(run, run.shards[0], 1)
    assert run.entry(run.shards[0]) == entry
    bucket.faults.lose(put_of("ledger/"))
    again = write(run, run.shards[0], 2, entry)
    assert run.entry(run.shards[0]) == again
    assert writer_of(run, run.shards[0]) == 2
    assert not bucket.faults.left()


def test_slow_answers_cost_time_alone(bucket: Bucket, run: Run) -> None:
    bucket.faults.delay(lambda *_: True, 0.05, times=20)
    write(run, run.shards[0], 1)
    assert writer_of(run, run.shards[0]) == 1


def test_a_store_that_lets_nobody_in_stops_the_run_in_a_line(tmp_path: Path, bucket: Bucket) -> None:
    plan = in_bucket(finished(tmp_path), bucket)
    bucket.faults.refuse(put_of("targets/"), 403, times=50)
    end = audit_shard(plan.task, plan.run.shards[0])
    assert isinstance(end, Stopped)
    assert "credentials" in end.reason
    assert "\n" not in end.reason
    assert plan.run.account().pending == 10


def test_what_is_damaged_in_a_bucket_is_named(bucket: Bucket, run: Run) -> None:
    entry = write(run, run.shards[0], 1)
    (part,) = (name for name in entry["artefacts"] if name.startswith("targets"))
    place = run.path / part
    assert isinstance(place, ObjectPath)
    place.put(place.read_bytes()[:-9] + b"x" * 9)
    assert [damage.file for damage in run.damaged()] == [part]
    with pytest.raises(RunError, match="Damaged: s3://"):
        run.read("targets", run.shards[0])


def test_one_process_at_a_time_works_on_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_RENEW_S", 0.2)
    monkeypatch.setattr(lock, "_LOOK_S", 0.1)
    with run.locked() as stale:
        assert stale is None
        with pytest.raises(RunError, match=f"in use by process {os.getpid()} on "), run.locked():
            pass
    with run.locked() as stale:
        assert stale is None


def test_a_lease_that_runs_out_is_nobodys(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_machine", lambda: "another machine")
    place = run.path / layout.LOCK
    assert isinstance(place, ObjectPath)
    place.put_new(lock._record(4))
    monkeypatch.undo()
    monkeypatch.setattr(lock, "LEASE_S", 1.0)
    with run.locked() as stale:
        assert stale is not None
        assert stale.startswith("process")
        assert lock._parsed(place.read_bytes())["epoch"] == 5


def test_who_was_cut_off_is_told_that_another_took_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_RENEW_S", 0.2)
    place = run.path / layout.LOCK
    assert isinstance(place, ObjectPath)

    def be_cut_off() -> None:
        with run.locked():
            place.put(lock._record(1))
            time.sleep(1)

    with pytest.raises(RunError, match="taken over by another process"):
        be_cut_off()
    assert lock._parsed(place.read_bytes())["epoch"] == 1  # the other's lease is left alone


def test_a_driver_that_is_killed_is_followed_at_once(tmp_path: Path, bucket: Bucket) -> None:
    draw_collection(tmp_path, 16)
    spec = write_model(tmp_path, slowly(0.3))
    url = f"{bucket.url}/killed"
    told = replaced_out(command(tmp_path, workers=1), url)
    driver = launch(told)
    run_json = location(url) / layout.RUN_JSON
    wait_until(run_json.exists, 60, "the run to begin", every_s=0.5)
    wait_until(lambda: len(Run.open(url).ledger.entered()) >= 1, 60, "a shard", every_s=0.2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    no_process_is_left_of(driver.pid)
    account = Run.open(url).account()
    assert account.processed + account.pending == 16
    assert account.pending
    with Run.open(url).locked() as stale:
        assert f"process {driver.pid} " in str(stale)
        plan = prepare(str(tmp_path / "manifest.parquet"), url, spec, CONFIG)
        audit_here(plan)
    assert plan.resumed
    assert plan.run.account().processed == 16
    assert list(Run.open(url).damaged()) == []


def replaced_out(arguments: list[str], url: str) -> list[str]:
    """The same command with another --out."""
    place = arguments.index("-o") + 1
    return [*arguments[:place], url, *arguments[place + 1 :]]


@pytest.fixture
def audited(tmp_path: Path, bucket: Bucket) -> Plan:
    plan = in_bucket(finished(tmp_path), bucket)
    audit_here(plan)
    return plan


def test_every_verb_that_reads_a_run_takes_its_url(
    audited: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, local = audited.run.address, str(tmp_path / "run")
    exports = ["--format", "voc-png", "--threshold", "0.5", "-o", str(tmp_path / "masks")]
    for arguments in (
        ["status", url, "--check"],
        ["findings", url],
        ["export", url, *exports],
        ["compare", url, local],
        ["metrics", url],
        ["score", url, "--workers", "1"],
        ["flag", url],
        ["labels", url, "--workers", "1"],
        ["repair", url],
        ["review", "status", url],
        ["report", url],
    ):
        assert camaudit(arguments, monkeypatch) == 0, (arguments, capsys.readouterr().err)
    page = audited.run.path / layout.REPORT / layout.PAGE
    assert b"<html" in page.read_bytes()
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 10


def test_verdicts_about_a_run_in_a_bucket_lie_on_this_machine(
    audited: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = VerdictLog.of(audited.run)
    log.add("3:0", "disagree", "ada")
    assert log.path.is_relative_to(tmp_path / "XDG_DATA_HOME")
    assert [verdict.subject for verdict in VerdictLog.of(Run.open(audited.run.address)).rows()] == ["3:0"]
    monkeypatch.setenv("CAMAUDIT_VERDICTS", str(tmp_path / "own" / "verdicts.sqlite"))
    assert VerdictLog.of(audited.run).rows() == []
    assert VerdictLog.of(audited.run).path == tmp_path / "own" / "verdicts.sqlite"


@pytest.mark.parametrize("url", ["http://host/run", "s3://", "s3:/bucket/run", "file:///tmp/run", "s3://bucket/../run"])
def test_a_place_that_a_run_cannot_have_is_refused_in_a_line(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path, 4)
    write_model(tmp_path)
    assert camaudit(replaced_out(command(tmp_path), url), monkeypatch) != 0
    (line,) = refusals(capsys.readouterr().err)
    assert "s3://BUCKET/FOLDER" in line
    assert url in line


def test_a_bucket_that_is_not_there_is_named_in_a_line(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert camaudit(["status", f"{bucket.url}-other/run"], monkeypatch) == 1
    (line,) = refusals(capsys.readouterr().err)
    assert "No such bucket" in line
    assert f"{bucket.url}-other/run" in line


def test_what_names_a_place_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert address("runs/val") == str(tmp_path / "runs" / "val")
    assert address("s3://bucket//runs/val/") == "s3://bucket/runs/val"
    place = ObjectPath.parse("s3://bucket/runs/val")
    assert (place / "ledger" / "00001.json").relative_to(place).as_posix() == "ledger/00001.json"
    assert (place.name, place.parent.name, place.with_name("b").key) == ("val", "runs", "runs/b")


def test_a_map_takes_few_requests(bucket: Bucket, run: Run) -> None:
    write(run, run.shards[0], 1)
    run.maps(0, 1)  # a process sees once that what the run keeps of no shard is what was written
    before = bucket.faults.requests["GET"]
    run.maps(0, 1)
    assert bucket.faults.requests["GET"] - before <= 3  # how the array is laid out, the index of a shard, and the chunk
