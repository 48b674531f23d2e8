"""`camaudit review`: what it says of a review, and how logs of several machines come together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from drawn_run import draw_run
from faults.collection import camaudit
from small_run import make_run

from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.review import claim_subjects, in_turn
from audit.store import Run, layout
from audit.store.verdicts.log import VerdictLog

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 3000)
    flag(run, Rules())
    return run


@pytest.fixture
def fresh(drawn: Run, tmp_path: Path) -> Run:
    """A copy without verdicts."""
    return Run.open(shutil.copytree(drawn.path, tmp_path / "run"))


def test_status_says_who_came_how_far_and_how_precise_the_flags_are(
    fresh: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    log, subjects = VerdictLog.of(fresh), claim_subjects(Findings(fresh))
    claim_id = next(iter(subjects))
    order = in_turn(subjects[claim_id])
    log.add_all(order[:40], "agree", "Ana")
    log.add_all(order[:4], "agree", "Ben")
    log.add_all(order[4:9], "disagree", "Ben")
    log.add(claim_id, "agree", "Ana")
    assert camaudit(["review", "status", str(fresh.path), "--wide", "--most", "2"], monkeypatch) == 0
    shown = capsys.readouterr().out
    flagged = len(Findings(fresh).targets())
    assert f"of {flagged} findings have a verdict" in shown
    assert "Ana" in shown
    assert "35 of 40 agreed, 5 unsure or disputed so far, precision 0." in shown
    assert "of the claim itself: agree" in shown
    assert "agreement of 2 reviewers on 9 subjects: Cohen's kappa" in shown
    assert "5 disputed: " in shown
    assert " and 3 more" in shown
    assert camaudit(["review", "status", str(fresh.path), "--json"], monkeypatch) == 0
    record = json.loads(capsys.readouterr().out)
    claim = next(claim for claim in record["claims"] if claim["claim_id"] == claim_id)
    assert (claim["decided"], claim["agreed"], claim["open"], claim["verdict"]) == (40, 35, 5, "agree")
    assert record["decisions"] == {"agree": 36, "conflict": 5}
    assert record["agreement"]["subjects"] == 9
    assert [reviewer["name"] for reviewer in record["reviewers"]] == ["Ana", "Ben"]


def test_status_of_a_run_that_nobody_looked_at_says_so(
    fresh: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert camaudit(["review", "status", str(fresh.path)], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"0 of {len(Findings(fresh).targets())} findings have a verdict\n")
    assert "not looked at yet" in shown
    assert not (fresh.path / layout.VERDICTS).exists()


def test_verdicts_of_another_machine_come_once_from_its_run_or_its_log(
    fresh: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    laptop = Run.open(shutil.copytree(fresh.path, tmp_path / "laptop"))
    VerdictLog.of(laptop).add_all(["1:0", "2:0"], "disagree", "Ben")
    VerdictLog.of(fresh).add("1:0", "agree", "Ana")
    said = []
    for place in (laptop.path, laptop.path, laptop.path / layout.VERDICTS):
        assert camaudit(["review", "import", str(fresh.path), str(place)], monkeypatch) == 0
        said.append(capsys.readouterr().out.splitlines())
    assert said[0] == ["2 rows of Ben", f"2 rows are new in {fresh.path / layout.VERDICTS}"]
    assert said[1:] == [[f"nothing new in {laptop.path}"], [f"nothing new in {laptop.path / layout.VERDICTS}"]]
    standing = VerdictLog.of(fresh).standing()
    assert {subject: sorted(given) for subject, given in standing.items()} == {"1:0": ["Ana", "Ben"], "2:0": ["Ben"]}


def test_a_log_of_other_images_is_refused_in_one_line(
    fresh: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    other = Run.open(make_run(tmp_path / "other"))
    VerdictLog.of(other).add("0:0", "agree", "Ben")
    for place in (other.path, shutil.copy(other.path / layout.VERDICTS, tmp_path / "theirs.sqlite")):
        assert camaudit(["review", "import", str(fresh.path), str(place)], monkeypatch) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "is about the targets of another run: its manifest is" in line
    assert camaudit(["review", "import", str(fresh.path), str(tmp_path / "none.sqlite")], monkeypatch) == 1
    assert "No verdict log at" in capsys.readouterr().err
    assert not (fresh.path / layout.VERDICTS).exists()


def test_flagging_by_verdicts_says_how_much_it_left_out_and_so_does_what_is_printed_of_it(
    fresh: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    findings = Findings(fresh)
    held = in_turn(claim_subjects(findings)["findings"])[:7]
    before = len(findings.targets())
    VerdictLog.of(fresh).add_all(held, "disagree", "Ana")
    said = "7 findings and 0 claims are left out, for reviewers disagree with them (row 7 of the verdict log)"
    for verb in (["flag", "--verdicts"], ["findings"]):
        assert camaudit([verb[0], str(fresh.path), *verb[1:]], monkeypatch) == 0
        assert said in " ".join(capsys.readouterr().out.split())
    assert camaudit(["findings", str(fresh.path), "--json"], monkeypatch) == 0
    record = json.loads(capsys.readouterr().out)
    assert (len(record["targets"]), len(record["set_aside"])) == (before - 7, 7)
    assert camaudit(["review", "status", str(fresh.path)], monkeypatch) == 0
    assert f"7 of {before} findings have a verdict" in capsys.readouterr().out
    assert camaudit(["flag", str(fresh.path)], monkeypatch) == 0
    assert "left out" not in capsys.readouterr().out
    assert len(Findings(fresh).targets()) == before


def test_flagging_by_verdicts_before_there_is_any_says_that_in_one_line(
    fresh: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert camaudit(["flag", str(fresh.path), "--verdicts"], monkeypatch) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("Nothing is left out, for the verdict log holds no verdict yet") == 1
