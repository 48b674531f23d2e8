"""The report's section on what reviewers decided."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from drawn_run import draw_run

from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.report import write_report
from audit.review import FINDINGS, claim_subjects, in_turn
from audit.store import Run
from audit.store.verdicts.log import VerdictLog


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 1500)
    flag(run, Rules())
    return run


@pytest.fixture
def fresh(drawn: Run, tmp_path: Path) -> Run:
    """A copy without verdicts."""
    return Run.open(shutil.copytree(drawn.path, tmp_path / "run"))


def section(run: Run) -> str:
    """The words of the section; empty where there is none."""
    page = write_report(run).read_text()
    match = re.search(r'<section aria-labelledby="reviewed">(.*?)</section>', page, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", match[1])).split()) if match else ""


def test_a_run_that_nobody_looked_at_has_no_such_section(fresh: Run) -> None:
    assert section(fresh) == ""


def test_it_tells_who_decided_how_precise_flags_are_and_what_was_disagreed_with(fresh: Run) -> None:
    findings, log = Findings(fresh), VerdictLog.of(fresh)
    subjects = claim_subjects(findings)
    claim = findings.standing_claims()[0]
    order = in_turn(subjects[FINDINGS])
    log.add_all(order[:30], "agree", "Ana")
    log.add(order[0], "disagree", "Ben")
    log.add(order[40], "disagree", "<b>Ben</b>", "the object is <i>there</i>")
    log.add(claim.claim_id, "unsure", "Ana")
    said = section(fresh)
    flagged = len(findings.targets())
    assert f"31 of {flagged} findings have a verdict." in said
    assert "Agreement of 2 reviewers on 1 subjects" in said
    assert "1 subject is disputed." in said
    assert "29 of 30 agreed, 1 unsure or disputed so far, precision 0." in said
    assert f"{claim.says}" in said
    assert "Findings that reviewers disagree with" in said
    sample = int(order[40].split(":")[0])
    assert f"in {sample:07d}" in said
    assert "<b>Ben</b> : the object is <i>there</i>" in said or "<b>Ben</b>: the object is <i>there</i>" in said
    assert "left out" not in said


def test_it_tells_how_much_is_left_out_and_still_names_it(fresh: Run) -> None:
    order = in_turn(claim_subjects(Findings(fresh))[FINDINGS])
    VerdictLog.of(fresh).add_all(order[:25], "disagree", "Ana")
    flag(fresh, Rules(verdicts=True))
    said = section(fresh)
    assert (
        "25 findings and 0 claims are left out, for reviewers disagree with them (row 25 of the verdict log)." in said
    )
    assert said.count(" in 000") == 20
    assert "and 5 more." in said
    assert "0 of 25 agreed so far" in said or "enough: 0 of 25 agreed" in said
