"""Scoring that is interrupted: half new and half old scores never pass as done, and the same command goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

from audit.errors import RunError
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.store import Run, layout
from audit.store.storage.files import write_json
from faults.collection import account, camaudit, command, connected, contents, finished
from pipelines.run.plan import Plan
from pipelines.run.shards.shard import Finished, rescore_shard


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A finished run whose masks have changed since."""
    plan = finished(tmp_path)
    for name in ("000", "005", "009"):
        shutil.copy(tmp_path / "003-mask.png", tmp_path / f"{name}-mask.png")
    return plan


def rescore(run: Run, *shards: int) -> Run:
    """Begin a scoring, and get only so far."""
    run = run.begin_scoring()
    for shard in shards:
        assert isinstance(rescore_shard(str(run.path), run.shards[shard]), Finished)
    return run


def test_half_a_scoring_is_told_and_its_scores_are_not_flagged(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = rescore(plan.run, 0)
    assert account(run.path, monkeypatch, capsys)["outdated"] == 2
    assert camaudit(["status", str(run.path)], monkeypatch) == 0
    told = f"2 of 3 shards have the scores of before; go on with: camaudit score {run.path}"
    assert told in capsys.readouterr().out
    export = ["export", "--format", "csv", "-o", str(run.path.parent / "findings.csv")]
    for verb, *more in (["flag"], ["findings"], ["report"], export):
        assert camaudit([verb, str(run.path), *more], monkeypatch) == 1
        message = capsys.readouterr().err
        assert f"camaudit score {run.path}" in message
        assert len(message.splitlines()) == 1


def test_scoring_goes_on_where_it_was_interrupted_and_ends_as_if_it_had_not_been(
    plan: Plan, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(plan.run.path, tmp_path / "whole", symlinks=True)
    whole = rescore(Run.open(copy), 0, 1, 2)
    flag(whole, Rules())
    whole.sweep()
    run = rescore(plan.run, 1)
    before = run.entry(run.shards[1])
    with connected(client, monkeypatch):
        assert camaudit(["score", str(run.path), "--workers", "2"], monkeypatch) == 0
    assert "going on with a scoring that was interrupted: 1 of 3 shards are done" in capsys.readouterr().err
    assert run.entry(run.shards[1]) == before
    assert contents(run) == contents(whole)
    assert Run.open(run.path).scoring == 1


def test_a_scoring_is_begun_again_where_that_is_asked(
    plan: Plan, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = rescore(plan.run, 0, 1)
    with connected(client, monkeypatch):
        assert camaudit(["score", str(run.path), "--anew"], monkeypatch) == 0
    assert "going on" not in capsys.readouterr().err
    run = Run.open(run.path)
    assert [(run.entry(shard) or {})["scoring"] for shard in run.shards] == [2, 2, 2]
    assert not run.rescoring


def test_the_command_of_the_run_goes_on_with_its_scoring_too(
    plan: Plan, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Findings(plan.run).summary()
    rescore(plan.run, 0)
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path), monkeypatch) == 0
    run = Run.open(plan.run.path)
    assert run.outdated() == []
    after = Findings(run).summary()
    assert after is not None
    assert before is not None
    assert after["means"] != before["means"]
    assert f"mean IoU {after['mean_iou']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["run", "score"])
def test_a_run_of_format_8_is_of_this_format_before_anything_is_added_to_it(
    verb: str, plan: Plan, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan.run
    if verb == "run":
        run.withdraw(run.shards[1])
    else:
        run = rescore(run, 0)
    write_json(run.path / layout.RUN_JSON, {**run.record, "format": layout.ALIKE})
    formats = list[int]()

    @contextmanager
    def connect(_: object) -> Iterator[Client]:
        formats.append(Run.open(run.path).record["format"])
        yield client

    monkeypatch.setattr("pipelines.run.start.connect", connect)
    assert camaudit(command(tmp_path) if verb == "run" else ["score", str(run.path)], monkeypatch) == 0
    assert formats == [layout.FORMAT]
    assert Run.open(run.path).record["format"] == layout.FORMAT


def test_findings_of_an_earlier_ledger_are_refused_until_the_run_is_flagged_again(plan: Plan) -> None:
    run = rescore(plan.run, 0, 1, 2)
    with pytest.raises(RunError, match=f"before its ledger changed; make them again with `camaudit flag {run.path}`"):
        Findings(run).targets()
    assert Findings(run, stale=True).targets().num_rows
    flag(run, Rules())
    assert Findings(run).current


def test_scores_that_come_out_as_they_were_leave_the_findings_what_they_are(tmp_path: Path) -> None:
    run = rescore(finished(tmp_path).run, 0, 1, 2)
    assert Findings(run).current
