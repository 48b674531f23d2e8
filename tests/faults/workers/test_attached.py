"""Workers of other machines: what each must see and have before it is given work, and what they all compute."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from audit.store import Run
from faults.attached import AGED, BLIND, Attached, attached
from faults.collection import (
    account,
    audit_here,
    camaudit,
    command,
    contents,
    draw_collection,
    launch,
    planned,
    write_model,
)
from pipelines.run.workers.probe import Sight, objections

COUNT = 24


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attached]:
    """What two machines run: `dask worker --nthreads 4` each."""
    with attached(tmp_path_factory.mktemp("machines") / "cluster") as cluster:
        for _ in range(2):
            cluster.worker(threads=4)
        cluster.wait_for(2)
        yield cluster


def attach(cluster: Attached, *more: str) -> list[str]:
    return ["--scheduler-file", str(cluster.file), "--wait", "60", *more]


def test_two_workers_of_four_threads_compute_what_one_process_does_in_every_verb(
    machines: Attached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    plan = planned(here, COUNT)
    audit_here(plan)
    shutil.copytree(here, there, ignore=shutil.ignore_patterns("run"))
    monkeypatch.chdir(there)  # what is named from here has to be found from where the workers are
    model = f"{there / 'model.py'}:build"
    on, local = attach(machines, "--min-workers", "2"), ["--workers", "1"]

    arguments = [text.replace(str(there), ".") for text in command(there)]
    arguments[arguments.index("--workers") :] = on
    assert camaudit(arguments, monkeypatch) == 0
    said = capsys.readouterr().err
    assert "workers that came: 2, with 8 threads and" in said
    run = Run.open(there / "run")
    assert contents(run) == contents(plan.run)
    assert not list(run.path.rglob(".probe-*"))

    for path, place in (("run", on), (str(plan.run.path), local)):
        assert camaudit(["score", path, *place], monkeypatch) == 0
    assert contents(Run.open(run.path)) == contents(Run.open(plan.run.path))
    assert camaudit(["labels", "run", "--refine", "pamr", *on], monkeypatch) == 0
    assert camaudit(["labels", str(plan.run.path), "--refine", "pamr", *local], monkeypatch) == 0
    tables = [sorted(Path(path, "run/labels/labels").rglob("*.parquet")) for path in (here, there)]
    # Names hold a digest of the content.
    assert [table.name for table in tables[0]] == [table.name for table in tables[1]] != []

    for path, place in ((run.path, on), (plan.run.path, local)):
        out = ["--format", "voc-png", "--threshold", "0.3", "-o", f"{path.parent.name}-masks"]
        assert camaudit(["export", str(path), *out, *place], monkeypatch) == 0
    written = [sorted(path.name for path in Path(name).glob("*.png")) for name in ("here-masks", "there-masks")]
    assert written[0] == written[1]
    assert len(written[0]) == COUNT
    assert all(Path("here-masks", name).read_bytes() == Path("there-masks", name).read_bytes() for name in written[0])

    for path, place in ((run.path, on), (plan.run.path, [])):
        assert (
            camaudit(["verify", str(path), "--targets", "6", "--model", "./model.py:build", *place], monkeypatch) == 0
        )
        asked = ["faithfulness", str(path), "--targets", "9", "--steps", "4", "--model", model]
        assert camaudit([*asked, *place], monkeypatch) == 0
    effects = [pd.read_parquet(path / "findings/effects.parquet") for path in (run.path, plan.run.path)]
    pd.testing.assert_frame_equal(*effects, rtol=1e-5)
    measured = [json.loads((path / "report/faithfulness.json").read_text()) for path in (run.path, plan.run.path)]
    assert measured[0]["targets"] == measured[1]["targets"] == 9
    means = [[value["mean"] for value in record["measures"]["gradcam"].values()] for record in measured]
    assert means[0] == pytest.approx(means[1], abs=1e-6)


@pytest.mark.parametrize(
    ("hidden", "unseen"),
    [("run", "the run {folder}/run (No run at"), ("000.png", "the file {folder}/000.png")],
    ids=["run", "images"],
)
def test_a_worker_that_does_not_see_what_it_works_on_is_named_and_told_what_to_do(
    hidden: str, unseen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    draw_collection(folder, 4)
    write_model(folder)
    with attached(tmp_path / "cluster") as cluster:
        cluster.worker(preload=BLIND, HIDDEN=str(folder / hidden))
        assert camaudit([*command(folder)[:-2], *attach(cluster)], monkeypatch) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    worker = (
        rf"Worker tcp://127\.0\.0\.1:\d+ on {re.escape(socket.gethostname())} does not see what it has to work on: "
    )
    assert re.match(rf"camaudit: {worker}{re.escape(unseen.format(folder=folder))}", said), said
    assert said.endswith("put it on a file system that all machines share at the same path, or name it by a URL")
    assert account(folder / "run", monkeypatch, capsys)["pending"] == 4
    assert not list(folder.rglob(".probe-*"))


def test_a_worker_that_comes_later_is_asked_before_it_is_given_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    draw_collection(folder, 24)
    gate = f"os.path.exists({str(folder / 'go on')!r}) or not multiprocessing.parent_process()"
    write_model(folder, f"while not ({gate}): time.sleep(0.05)")
    with attached(tmp_path / "cluster") as cluster:
        cluster.worker()
        process = launch([*command(folder)[:-2], *attach(cluster)])
        assert process.stderr is not None
        while "workers that came: 1, with 1 threads" not in (line := process.stderr.readline()):
            assert line, "it was never said"
        cluster.worker(preload=AGED, AGED_torch="1.13.0")
        while "left out" not in (line := process.stderr.readline()):
            assert line, "it was never said"
        assert re.search(r"left out: Worker tcp://\S+ on \S+ has torch 1\.13\.0, this process \d", line), line
        cluster.worker()
        (folder / "go on").touch()
        _, said = process.communicate(timeout=90)
    assert process.returncode == 0, said
    assert account(folder / "run", monkeypatch, capsys)["processed"] == 24


def test_a_run_begins_with_as_many_workers_as_were_asked_for_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    draw_collection(folder, 4)
    write_model(folder)
    with attached(tmp_path / "cluster") as cluster:
        cluster.worker()
        arguments = [*command(folder)[:-2], "--scheduler-file", str(cluster.file), "--min-workers", "2"]
        assert camaudit([*arguments, "--wait", "4"], monkeypatch) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.match(r"camaudit: Only 1 of 2 workers take work since \d s: start workers, begin with a lower", said)
        assert account(folder / "run", monkeypatch, capsys)["pending"] == 4
        cluster.worker()
        assert camaudit([*arguments, "--wait", "60"], monkeypatch) == 0
    assert account(folder / "run", monkeypatch, capsys)["processed"] == 4


def test_another_camaudit_and_another_major_version_forbid_work_and_smaller_differences_are_told() -> None:
    own = {"python": "3.11.9", "camaudit": "0.1.0", "torch": "2.14.0", "zarr": "3.1.6", "distributed": "2026.8.0"}
    assert objections(Sight("there", own), own) == ([], [])
    others = {"camaudit": "0.1.1", "torch": "1.13.0", "zarr": None}
    refused, told = objections(Sight("there", {**own, **others}), own)
    assert refused == [
        "has camaudit 0.1.1, this process 0.1.0",
        "has torch 1.13.0, this process 2.14.0",
        "has zarr not at all, this process 3.1.6",
    ]
    assert told == []
    refused, told = objections(Sight("there", {**own, "python": "3.12.1", "torch": "2.13.1"}), own)
    assert refused == []
    assert told == ["has python 3.12.1, this process 3.11.9", "has torch 2.13.1, this process 2.14.0"]
