"""Flagging by verdicts: what reviewers disagree with leaves findings and claims, and can still be told."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_run import MARKED, draw_run
from made_evidence import draw_evidence

from audit.compare import compare_runs
from audit.errors import RunError
from audit.findings import Findings, Rules
from audit.findings.evidence.disagreements import Disagreements
from audit.findings.evidence.targets import Absences
from audit.findings.judge import flag
from audit.review import claim_subjects, form_review, in_turn
from audit.store import Run, layout
from audit.store.verdicts.log import VerdictLog, target_of, target_subject

ASKED = Rules(verdicts=True)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four fifths have masks, so there are guesses too."""
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 3000, masked=0.8, marked=(MARKED, 8, 13, 18))
    flag(run, Rules())
    return run


@pytest.fixture
def fresh(drawn: Run, tmp_path: Path) -> Run:
    """A copy without verdicts."""
    return Run.open(shutil.copytree(drawn.path, tmp_path / "run"))


def listed(run: Run) -> pd.DataFrame:
    found = Findings(run).targets().to_pandas()
    return found.assign(subject=[target_subject(*key) for key in zip(found["sample"], found["slot"], strict=True)])


def disagreeing(*subjects: str) -> Disagreements:
    targets = [target for subject in subjects if (target := target_of(subject)) is not None]
    return Disagreements(1, np.array(sorted(s * 65536 + slot for s, slot in targets)), frozenset())


def test_a_finding_that_reviewers_disagree_with_is_left_out_and_kept_beside(fresh: Run) -> None:
    before = listed(fresh).set_index("subject")
    evident = before[before["kind"] != "detected"].index
    guess = before[before["kind"] == "detected"].index[0]
    log = VerdictLog.of(fresh)
    log.add_all([*evident[:5], guess], "disagree", "Ana")
    log.add_all(evident[5:8], "agree", "Ana")
    log.add(evident[4], "agree", "Ben")  # now disputed
    summary = flag(fresh, ASKED)
    left = {*evident[:4], guess}
    after = listed(fresh).set_index("subject")
    assert set(before.index) - set(after.index) == left
    aside = Findings(fresh).set_aside().to_pandas()
    assert {target_subject(*key) for key in zip(aside["sample"], aside["slot"], strict=True)} == left
    same = aside.set_index("finding_id").sort_index().drop(columns=["suspicion", "family"])
    was = before.set_index("finding_id").loc[same.index, same.columns]
    pd.testing.assert_frame_equal(same, was)
    assert summary["verdicts"] == {"as_of": log.last(), "findings": 5, "claims": 0}
    assert sum(summary["findings"].values()) == len(after)


def test_without_being_asked_verdicts_change_nothing(fresh: Run) -> None:
    before = Findings(fresh).targets()
    VerdictLog.of(fresh).add_all(listed(fresh)["subject"][:50], "disagree", "Ana")
    assert "verdicts" not in flag(fresh, Rules())
    assert Findings(fresh).targets().equals(before)
    assert not len(Findings(fresh).set_aside())


def test_flagging_without_verdicts_brings_all_back(fresh: Run) -> None:
    before = Findings(fresh).targets()
    VerdictLog.of(fresh).add_all(listed(fresh)["subject"][:50], "disagree", "Ana")
    flag(fresh, ASKED)
    assert len(Findings(fresh).set_aside()) == 50
    flag(fresh, Rules())
    assert Findings(fresh).targets().equals(before)
    assert not len(Findings(fresh).set_aside())
    assert not (fresh.path / layout.FINDINGS / layout.SET_ASIDE).exists()


def test_claims_whose_targets_are_disagreed_with_fall_and_others_stand(fresh: Run) -> None:
    findings = Findings(fresh)
    claims = {claim.claim_id: claim for claim in findings.standing_claims()}
    subjects = claim_subjects(findings)
    name = f"class {MARKED:02d}"
    own = {claim_id for claim_id, claim in claims.items() if claim.class_name == name}
    assert own
    VerdictLog.of(fresh).add_all({s for claim_id in own for s in subjects[claim_id]}, "disagree", "Ana")
    flag(fresh, ASKED)
    left = {claim.claim_id for claim in Findings(fresh).standing_claims()}
    assert not {claim_id for claim_id in left if f":{name}:" in claim_id}
    assert {claim_id for claim_id in claims if claim_id not in own and claims[claim_id].kind != "cluster"} <= left


def test_a_claim_that_reviewers_disagree_with_does_not_stand(fresh: Run) -> None:
    claims = [claim.claim_id for claim in Findings(fresh).standing_claims()]
    VerdictLog.of(fresh).add(claims[0], "disagree", "Ana")
    summary = flag(fresh, ASKED)
    assert [claim.claim_id for claim in Findings(fresh).standing_claims()] == claims[1:]
    assert summary["verdicts"]["claims"] == 1
    assert sum(summary["claims"].values()) == len(claims) - 1


def test_the_precision_of_flags_is_the_same_after_those_that_are_disagreed_with_are_left_out(fresh: Run) -> None:
    log, before = VerdictLog.of(fresh), claim_subjects(Findings(fresh))
    for number, subject in enumerate(in_turn({s for own in before.values() for s in own})[:300]):
        log.add(subject, "disagree" if number % 4 == 0 else "agree", "Ana")
    flag(fresh, ASKED)
    after = claim_subjects(Findings(fresh))
    left = set(after) & set(before)
    assert {"findings", "guesses"} < left
    standing, last = log.standing(), log.last()
    reviews = [
        {claim.claim_id: claim for claim in form_review(subjects, standing, last).claims}
        for subjects in (before, after)
    ]
    for claim_id in left:
        assert reviews[1][claim_id] == reviews[0][claim_id]
    assert any(claim.agreed < claim.decided for claim in reviews[1].values())


def test_evidence_is_read_back_as_claims_were_made_from_it(fresh: Run) -> None:
    held = listed(fresh)["subject"][:20].tolist()
    VerdictLog.of(fresh).add_all(held, "disagree", "Ana")
    flag(fresh, ASKED)
    VerdictLog.of(fresh).add(listed(fresh)["subject"][0], "disagree", "Ana")  # comes too late
    findings = Findings(fresh)
    silent = {
        target_subject(int(sample), int(slot))
        for part in findings.evidence(fresh.done())
        for sample, slot, heat in zip(part.evidence.sample, part.evidence.slot, part.evidence.off_heat, strict=True)
        if heat.sum() == 0
    }
    assert set(held) <= silent
    assert len(silent) == len(held)


def test_two_runs_are_compared_by_what_reviewers_left(fresh: Run, drawn: Run) -> None:
    found = listed(fresh)
    held = found["subject"][found["kind"] != "detected"][:6]
    VerdictLog.of(fresh).add_all(held, "disagree", "Ana")
    flag(fresh, ASKED)
    with pytest.raises(RunError, match=r"verdicts False in .* and verdicts True in"):
        compare_runs(drawn, fresh)
    with pytest.raises(RunError, match=r"flag one again with `camaudit flag \S+ --verdicts`"):
        compare_runs(fresh, drawn)
    other = Run.open(shutil.copytree(drawn.path, fresh.path.with_name("other")))
    flag(other, ASKED)
    record = compare_runs(other, fresh)
    ids = found.set_index("subject").loc[held, "id"]
    assert sorted(row["id"] for row in record["findings"]["gone"]) == sorted(ids)
    assert record["worse"] == []


def test_of_a_target_that_is_disagreed_with_all_heat_counts_as_on_its_object() -> None:
    evidence = draw_evidence(20)
    held = [target_subject(int(evidence.sample[row]), int(evidence.slot[row])) for row in (3, 8)]
    heeded = disagreeing(*held).heeded(evidence)
    for row in range(len(evidence)):
        own = row in (3, 8)
        assert heeded.off[row] == (evidence.off[row] and not own)
        assert np.array_equal(heeded.off_heat[row], np.zeros(64) if own else evidence.off_heat[row])
    changed = {"off", "off_heat", "absences"}
    for name in {field.name for field in fields(evidence)} - changed:
        assert getattr(heeded, name) is getattr(evidence, name)


def test_a_target_without_heat_has_no_vote_whatever_reviewers_say() -> None:
    evidence = draw_evidence(5)
    off_heat = evidence.off_heat.copy()
    off_heat[0] = np.nan
    heeded = disagreeing("0:0").heeded(replace(evidence, off_heat=off_heat))
    assert np.isnan(heeded.off_heat[0]).all()


def test_all_heat_is_laid_where_the_object_is() -> None:
    evidence = draw_evidence(4)
    heat, objects = np.full((3, 64), 1 / 64, np.float32), np.zeros((3, 64), np.float32)
    objects[:, :2] = 1.0, 0.5
    objects[2] = np.nan
    read = disagreeing("0:1", "1:1").heeded_frames(lambda rows: (heat.copy(), objects), evidence)
    laid, same = read(np.array([0, 1, 3]))  # targets 0:0, 0:1, 1:1
    assert np.array_equal(laid[0], heat[0])
    assert laid[1, :3] == pytest.approx([2 / 3, 1 / 3, 0])
    assert not laid[2].any()
    assert same is objects


def test_one_whose_object_is_absent_is_no_more_named_by_mistake_if_reviewers_disagree() -> None:
    absent = Absences.none()
    columns = {field.name: np.zeros(2, getattr(absent, field.name).dtype) for field in fields(absent)}
    columns |= {"heat": np.zeros((2, 64), np.float16), "named": np.ones(2, bool), "sample": np.array([50, 51])}
    evidence = replace(draw_evidence(5), absences=Absences(**columns))
    assert disagreeing("51:0").heeded(evidence).absences.named.tolist() == [True, False]


def test_a_log_of_another_run_is_not_heeded(fresh: Run) -> None:
    VerdictLog(fresh.path / layout.VERDICTS, {"manifest": "another"}).add("0:0", "disagree", "Ana")
    with pytest.raises(RunError, match="its manifest is another"):
        flag(fresh, ASKED)
    assert Findings(fresh).current  # nothing was begun
