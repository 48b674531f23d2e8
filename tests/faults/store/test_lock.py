"""Two runs on one directory: the second is refused; a holder that was killed is no obstacle and is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from audit.errors import RunError
from audit.store import Run
from audit.store.maps.arrays import read_maps, write_maps
from faults.collection import camaudit, command, connected, planned, refusals
from pipelines.run.plan import Plan

HOLD = """
import sys, time
from audit.store import Run
from audit.store.maps.arrays import write_maps
with Run.open(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Plan, subprocess.Popen[str]]]:
    """A run that another process holds."""
    plan = planned(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(plan.run.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    yield plan, holder
    holder.kill()
    holder.wait()


@pytest.mark.parametrize("verb", ["run", "set aside", "flag", "score", "repair"])
def test_a_run_in_use_is_refused_in_one_line_that_names_the_holder(
    verb: str,
    held: tuple[Plan, subprocess.Popen[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan, holder = held
    other = command(tmp_path, "--set-aside", shard_size=8)
    arguments = {"run": command(tmp_path), "set aside": other}.get(verb, [verb, str(plan.run.path)])
    assert camaudit(arguments, monkeypatch) == 1
    message = capsys.readouterr().err
    assert f"is in use by process {holder.pid} on " in message
    assert len(refusals(message)) == 1
    assert plan.run.path.exists()


def test_after_its_holder_was_killed_a_run_goes_on_and_says_so(
    held: tuple[Plan, subprocess.Popen[str]],
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan, holder = held
    holder.kill()
    holder.wait()
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    assert f"the last process {holder.pid} on " in capsys.readouterr().err
    assert plan.run.account().processed == 10
    with plan.run.locked() as stale:
        assert stale is None


def test_a_command_that_ended_in_order_is_not_told_as_one_that_did_not(tmp_path: Path) -> None:
    run = planned(tmp_path).run
    for error in (KeyboardInterrupt, RunError):
        with pytest.raises(error), run.locked():
            raise error
        with run.locked() as stale:
            assert stale is None


def test_status_and_findings_of_a_run_in_use_can_be_read(
    held: tuple[Plan, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert camaudit(["status", str(held[0].run.path)], monkeypatch) == 0


def test_a_run_that_another_process_begins_meanwhile_is_not_laid_out_twice(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    files = write_maps(plan.run.path / "maps.zarr", 0, np.ones((4, 2, 8, 8), np.float16))
    with pytest.raises(RunError, match="Another process began a run"):
        Run.create(plan.run.path, plan.run.manifest(), plan.run.record)
    assert (read_maps(plan.run.path / "maps.zarr", 0, 4, files) == 1).all()


PLACES = {
    "a file": "run",
    "a folder of other things": "run/notes.partial.txt",
    "another run's verdicts": "run/verdicts.sqlite",
    "another run's exports": "run/camaudit-export.json",
    "another run's page": "run/report/index.html",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_is_taken_is_refused_and_left_as_it_is(place: str, tmp_path: Path) -> None:
    kept = tmp_path / PLACES[place]
    kept.parent.mkdir(exist_ok=True, parents=True)
    kept.write_text("mine")
    with pytest.raises(RunError, match="choose another"):
        planned(tmp_path)
    assert kept.read_text() == "mine"
