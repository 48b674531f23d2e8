"""`camaudit compare`: two runs made by hand, what is paired, what is gone and new, and the exit code of the gate."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from faults.collection import camaudit
from paired_runs import Target, make_run

from audit.compare import compare_runs
from audit.errors import RunError
from audit.findings import Rules
from audit.store import layout
from audit.store.storage.files import write_json


def many(count: int, **more: Any) -> list[Target]:
    return [Target(f"s{place}", energy=place / count, **more) for place in range(count)]


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", many(20), classes=["cat"], claims=[("zone", "cat", "border")])
    record = compare_runs(run, run)
    assert record["samples"] == {"both": 20, "only_a": 0, "only_b": 0, "changed": 0}
    for one in record["measures"].values():
        assert (one["difference"], one["low"], one["high"]) == (0, 0, 0)
    assert record["flips"] == {"worse": 0, "better": 0, "p": 1.0}
    assert record["differs"] == []
    assert record["worse"] == []
    for name in ("findings", "class_findings", "claims"):
        assert record[name] == {"gone": [], "new": []}


def test_targets_are_paired_by_id_and_class_whatever_their_order(tmp_path: Path) -> None:
    before = [Target("x", "cat", 0.2), Target("x", "car", 0.6), Target("y", "car", 0.4)]
    after = [Target("y", "car", 0.5), Target("x", "car", 0.9), Target("x", "cat", 0.3)]
    record = compare_runs(make_run(tmp_path / "a", before), make_run(tmp_path / "b", after))
    assert record["measures"]["energy"]["difference"] == pytest.approx((0.1 + 0.3 + 0.1) / 3)
    by_class = {row["class"]: row["measures"]["energy"] for row in record["classes"]}
    assert by_class["cat"]["difference"] == pytest.approx(0.1)
    assert by_class["car"]["pairs"] == 2
    assert by_class["car"]["difference"] == pytest.approx(0.2)


def test_samples_in_one_run_only_are_counted_and_left_out(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", [Target("x", energy=0.2), Target("y", energy=0.9)], failed=["z"])
    b = make_run(tmp_path / "b", [Target("x", energy=0.5), Target("z", energy=0.1)])
    record = compare_runs(a, b)
    assert record["samples"] == {"both": 1, "only_a": 1, "only_b": 1, "changed": 0}
    assert record["measures"]["energy"]["difference"] == pytest.approx(0.3)
    with pytest.raises(RunError, match="Expected samples of the same ids in both runs, got none"):
        compare_runs(a, make_run(tmp_path / "c", [Target("other")]))


def test_severity_is_the_image_score_of_scored_targets(tmp_path: Path) -> None:
    before = [Target("x", p_high=0.2, probability=0.8), Target("y", energy=None)]
    after = [replace(before[0], p_high=0.7), before[1]]
    record = compare_runs(make_run(tmp_path / "a", before), make_run(tmp_path / "b", after))
    expected = [float(0.6 * p * (1 - before[0].energy)) for p in (0.2, 0.7)]
    one = record["measures"]["severity"]
    assert one["pairs"] == 1
    assert (one["a"], one["b"]) == pytest.approx(expected, rel=1e-6)
    assert record["measures"]["off_object"]["pairs"] == 1


def test_accuracy_is_whether_the_highest_class_is_a_label(tmp_path: Path) -> None:
    before = [
        Target("x", "cat", rank=1),
        Target("x", "car", rank=0, role="predicted"),
        Target("y", "cat", rank=2),
        Target("y", "car", rank=0),
        Target("z", "cat", rank=4),
    ]
    after = [replace(target, rank=0 if target.id == "z" else target.rank) for target in before]
    one = compare_runs(make_run(tmp_path / "a", before), make_run(tmp_path / "b", after))["measures"]["accuracy"]
    assert one["pairs"] == 3
    assert one["a"] == pytest.approx(1 / 3)
    assert one["b"] == pytest.approx(2 / 3)


def test_near_duplicates_have_one_vote_and_changed_files_are_counted(tmp_path: Path) -> None:
    before = [Target(f"s{place}", look=7 if place < 5 else None) for place in range(8)]
    after = [replace(target, off=True, digest="1") for target in before]
    record = compare_runs(make_run(tmp_path / "a", before), make_run(tmp_path / "b", after))
    assert record["flips"]["worse"] == 4
    assert record["flips"]["p"] == pytest.approx(2 * 0.5**4)
    assert record["samples"]["changed"] == 8


def test_findings_gone_and_new_are_listed_most_severe_first(tmp_path: Path) -> None:
    before = [Target("gone", off=True), Target("kept", off=True), Target("new"), Target("graver", p_high=0.9)]
    after = [replace(target, off=target.id != "gone") for target in before]
    found = compare_runs(make_run(tmp_path / "a", before), make_run(tmp_path / "b", after))["findings"]
    assert [row["id"] for row in found["gone"]] == ["gone"]
    assert [row["id"] for row in found["new"]] == ["graver", "new"]
    assert found["gone"][0]["class"] == "cat"


def test_class_findings_and_claims_gone_and_new_are_listed(tmp_path: Path) -> None:
    claims_a = [("zone", "cat", "border"), ("cluster", "cat", "3"), ("zone", "car", "none"), ("class", "car", "")]
    claims_b = [("zone", "cat", "centre"), ("cluster", "cat", "0"), ("spot", "car", "1"), ("class", "cat", "")]
    a = make_run(tmp_path / "a", many(4), classes=["car"], claims=claims_a)
    b = make_run(tmp_path / "b", many(4), classes=["cat"], claims=claims_b)
    record = compare_runs(a, b)
    assert record["class_findings"] == {"gone": ["car"], "new": ["cat"]}
    assert [row["claim_id"] for row in record["claims"]["gone"]] == ["zone:cat:border"]
    assert [row["claim_id"] for row in record["claims"]["new"]] == ["zone:cat:centre", "spot:car:1"]
    assert record["worse"] == []
    assert compare_runs(a, make_run(tmp_path / "c", many(4)))["claims"] is None


def test_a_risen_share_is_worse_and_a_fallen_one_is_not(tmp_path: Path) -> None:
    few, more = many(30), [replace(target, off=place < 12) for place, target in enumerate(many(30))]
    a, b = make_run(tmp_path / "a", few), make_run(tmp_path / "b", more)
    reasons = compare_runs(a, b)["worse"]
    assert len(reasons) == 2
    assert reasons[0].startswith("off-object share rose by 0.400 [")
    assert reasons[0].endswith("]; 12 images more, 0 fewer, p 0.00024, q 0.00024")
    assert reasons[1].startswith("cat: off-object share rose by 0.400 [")
    assert compare_runs(b, a)["worse"] == []


def test_a_run_without_findings_is_refused_with_what_to_do(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", many(3))
    (run.path / layout.FINDINGS / layout.FINDINGS_LEDGER).unlink()
    with pytest.raises(RunError, match=f"has no findings yet; make them with `camaudit flag {run.path}`"):
        compare_runs(run, run)


def test_runs_flagged_by_different_rules_are_refused(tmp_path: Path) -> None:
    a, b = (make_run(tmp_path / name, many(6)) for name in "ab")
    for run, rules in ((a, Rules()), (b, Rules(fdr=0.2))):
        write_json(run.path / layout.SUMMARY, {"rules": asdict(rules)})
    assert compare_runs(a, a)["worse"] == []
    with pytest.raises(RunError) as refused:
        compare_runs(a, b)
    assert str(refused.value) == (
        f"Expected the same rules in both runs, got fdr 0.05 in {a.path} and fdr 0.2 in {b.path}; flag one again "
        f"with `camaudit flag {b.path} --fdr 0.05`"
    )


def test_the_gate_fails_on_worse_alone_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "a", many(12))
    make_run(tmp_path / "b", many(12, off=True), classes=["cat"])
    make_run(tmp_path / "c", many(12), classes=["cat"], claims=[("zone", "cat", "border")])
    verb = ["compare", str(tmp_path / "a"), str(tmp_path / "b")]
    assert camaudit(verb, monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "new: 12 targets, 1 classes, 0 claims" in printed
    assert "Is B worse? 2 rose by more than chance; 2 differences tested together" in printed
    assert camaudit([*verb, "--fail-on", "worse"], monkeypatch) == 1
    assert "worse: cat: off-object share rose by 1.000 [" in capsys.readouterr().err
    assert camaudit([*verb[:1], *verb[:0:-1], "--fail-on", "worse"], monkeypatch) == 0
    new_alone = [*verb[:2], str(tmp_path / "c"), "--fail-on", "worse"]
    assert camaudit(new_alone, monkeypatch) == 0
    assert "new: 0 targets, 1 classes" in capsys.readouterr().out
    assert camaudit([*verb, "--fail-on", "never"], monkeypatch) == 2


def test_json_parses_also_where_there_is_nothing_to_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "a", [Target("x", energy=None)])
    assert camaudit(["compare", str(tmp_path / "a"), str(tmp_path / "a"), "--json"], monkeypatch) == 0
    record = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert record["measures"]["energy"]["difference"] is None
    assert camaudit(["compare", str(tmp_path / "a"), str(tmp_path / "a")], monkeypatch) == 0
