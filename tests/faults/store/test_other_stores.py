"""What a run asks of a bucket, of Google's store, Azure's and another S3: each refuses in a way of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from other_stores import azurite, google, own_s3

import audit.store.lock as lock
from audit.datasets import Manifest
from audit.errors import RunError
from audit.findings import Findings
from audit.store import Run, layout
from audit.store.storage.files import read_json, replace_json, version_of, write_json
from audit.store.storage.objects import ObjectPath
from faults.collection import CONFIG, audit_here, camaudit, draw_collection, finished, refusals
from faults.writers import write, write_together, writer_of
from pipelines.run.plan import prepare

WRITERS = 4


@pytest.fixture(scope="module", params=["google", "azure", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        if request.param == "s3":
            opened = own_s3(patch)
        else:
            opened = google(patch) if request.param == "google" else azurite(patch, folder)
        with opened as url:
            yield url


@pytest.fixture
def place(bucket: str, request: pytest.FixtureRequest) -> ObjectPath:
    return ObjectPath.parse(f"{bucket}/{request.node.originalname}")


def at_once(write_as: Callable[[int], bool]) -> list[bool]:
    """What each of some writers is told, who begin together."""
    together = Barrier(WRITERS)

    def begin(writer: int) -> bool:
        together.wait()
        return write_as(writer)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(begin, range(WRITERS)))


def test_of_several_that_make_an_object_one_alone_does(place: ObjectPath) -> None:
    def make(writer: int) -> bool:
        try:
            (place / "new").put_new(str(writer).encode())
        except FileExistsError:
            return False
        return True

    told = at_once(make)
    assert sum(told) == 1
    assert (place / "new").read_text() == str(told.index(True))


def test_of_several_that_replace_one_version_one_alone_does(place: ObjectPath) -> None:
    record = place / "record.json"
    write_json(record, {"writer": -1})
    version = version_of(record)
    told = at_once(lambda writer: replace_json(record, {"writer": writer}, version))
    assert sum(told) == 1
    assert read_json(record, "") == {"writer": told.index(True)}
    assert not replace_json(record, {"writer": -2}, version)
    record.unlink()
    assert not replace_json(record, {"writer": -3}, version)
    assert not record.exists()


def test_folders_and_objects_are_listed_as_in_a_directory(place: ObjectPath) -> None:
    for name in ("a/1.json", "a/2.json", "a/b/3.json", "ab.json"):
        (place / name).put(name.encode())
    assert [found.name for found in place.iterdir()] == ["a", "ab.json"]
    assert [found.name for found in place.glob("a/*.json")] == ["1.json", "2.json"]
    assert [found.name for found in place.rglob("*.json")] == ["1.json", "2.json", "3.json", "ab.json"]
    assert ((place / "a").is_dir(), (place / "a").is_file(), (place / "b").exists()) == (True, False, False)
    (place / "ab.json").copy_to(place / "copy.json")
    assert (place / "copy.json").size() == len("ab.json")
    (place / "ab.json").unlink()
    (place / "ab.json").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match="No such object"):
        (place / "ab.json").read_bytes()


def test_one_process_at_a_time_works_on_a_run_until_its_lease_runs_out(
    place: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_RENEW_S", 0.2)
    monkeypatch.setattr(lock, "_LOOK_S", 0.1)
    with lock.held(place) as stale:
        assert stale is None
        with pytest.raises(RunError, match="in use by process"), lock.held(place):
            pass
    assert not (place / layout.LOCK).exists()
    with monkeypatch.context() as patch:
        patch.setattr(lock, "_machine", lambda: "another machine")
        (place / layout.LOCK).put_new(lock._record(4))
    monkeypatch.setattr(lock, "LEASE_S", 1.0)
    with lock.held(place) as stale:
        assert str(stale).startswith("process")
        assert lock._parsed((place / layout.LOCK).read_bytes())["epoch"] == 5


def test_a_whole_run_is_that_in_a_directory(
    place: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    local = finished(tmp_path)
    plan = prepare(str(tmp_path / "manifest.parquet"), str(place), local.task.spec, CONFIG)
    audit_here(plan)
    np.testing.assert_array_equal(plan.run.maps(0, 10), local.run.maps(0, 10))
    assert plan.run.account() == local.run.account()
    assert Findings(plan.run).targets().equals(Findings(local.run).targets())
    assert list(plan.run.damaged()) == []
    assert camaudit(["status", str(place), "--check"], monkeypatch) == 0, capsys.readouterr().err


def test_shards_that_several_write_at_once_are_each_of_one_writer(place: ObjectPath, tmp_path: Path) -> None:
    record = {"config": {}, "model": {}, "grid": [2, 2], "slots": 1, "encoding": "float16", "shard_size": 3}
    run = Run.create(place, Manifest.open(draw_collection(tmp_path, 10)), record)
    told = write_together(run, WRITERS)
    assert all(entries == told[0] for entries in told)
    assert [writer_of(run, shard) for shard in run.shards]
    again = write(run, run.shards[0], 9, told[0][0])
    assert run.entry(run.shards[0]) == again
    assert writer_of(run, run.shards[0]) == 9


def test_a_bucket_that_is_not_there_is_named_in_a_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if bucket.startswith("gs:"):
        pytest.skip("the stand-in has every bucket")
    assert camaudit(["status", f"{bucket}-other/run"], monkeypatch) == 1
    (line,) = refusals(capsys.readouterr().err)
    assert "o such bucket" in line
    assert f"{bucket}-other/run" in line
