"""A stranger's run: what its records name lies in the run, is a file, and is read as no more than that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from claimed_run import make_claimed_run
from small_run import make_run

from audit.datasets.reach import Reach, is_wide
from audit.errors import ImageError, RunError
from audit.findings import Findings
from audit.findings.writing import FindingsWriter
from audit.store import Run, layout
from audit.store.storage.files import read_json, write_json
from dashboards.tables import RunTables
from faults.reading import everything


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(make_run(tmp_path))


@pytest.mark.parametrize("name", ["/etc/passwd", "samples/../../x.parquet", "../x"])
def test_a_record_that_names_a_file_elsewhere_is_refused(name: str, run: Run) -> None:
    for path in (run.ledger.path(0), run.path / layout.RUN_JSON, run.path / "findings/ledger.json"):
        good = path.read_bytes()
        record = read_json(path, "")
        write_json(path, {**record, "artefacts": {**record["artefacts"], name: "0" * 64}})
        with pytest.raises(RunError, match="do not trust this run"):
            everything(run.path)
        path.write_bytes(good)


def test_a_fifo_in_the_place_of_a_file_is_damage_and_nobody_waits_for_it(run: Run) -> None:
    part = run.part("samples", run.shards[0])
    assert part is not None
    for path in (part, run.path / layout.SUMMARY):
        path.unlink()
        os.mkfifo(path)
    assert [damage.file for damage in run.damaged()] == [str(part.relative_to(run.path))]
    tables = RunTables(run)
    assert tables.sample(run.shards[0].start) is None
    assert any("samples" in line and "camaudit repair" in line for line in tables.notices)
    with pytest.raises(RunError, match="got a folder, FIFO or device"):
        Findings(run).summary()


def test_a_record_whose_signature_is_gone_is_damaged(run: Run) -> None:
    for path in (run.ledger.path(0), run.path / layout.RUN_JSON, run.path / layout.SUMMARY):
        good = path.read_bytes()
        path.write_bytes(good.replace(b'"sha256"', b'"sha257"'))
        with pytest.raises(RunError, match=r"[Dd]amaged"):
            everything(run.path)
        path.write_bytes(good)


def test_maps_of_an_older_zarr_are_not_read(run: Run) -> None:
    array = run.path / layout.MAPS / "map"
    (array / "zarr.json").rename(array / ".zarray")
    with pytest.raises(RunError):
        run.maps(0, 2)


PASSWD = ("file:////etc/passwd", "file://localhost//etc/passwd", "file:/etc/passwd", "/etc/passwd")


@pytest.mark.parametrize("path", PASSWD)
def test_urls_that_may_be_called_open_no_file_of_this_machine(path: str, tmp_path: Path) -> None:
    for reach in (Reach(remote=True), Reach(root=str(tmp_path), remote=True)):
        with pytest.raises(ImageError, match="--allow-outside"):
            reach.locate(path, str(tmp_path))


@pytest.mark.parametrize("root", [".", "", "~", os.path.expanduser("~"), "/"])
def test_a_root_that_holds_everything_or_depends_on_where_one_stands_opens_nothing(root: str) -> None:
    assert is_wide(root)


def test_interventions_that_are_made_again_and_interrupted_leave_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(make_claimed_run(tmp_path))
    effects = list(Findings(run).effects().values())

    def die(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("audit.findings.writing.write_table", die)
        with pytest.raises(KeyboardInterrupt):
            FindingsWriter.beside(Findings(run)).write_outcomes(effects, [])
    assert Findings(run).effects() == {}
    assert list(Findings(run).damaged()) == []
