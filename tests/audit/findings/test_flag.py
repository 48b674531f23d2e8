"""From a run's tables to findings and claims: drawn runs, with and without masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn_run import CLASSES, draw_run
from rewritten import put_findings, put_part
from small_run import make_run

from audit.errors import RunError
from audit.findings import Claim, Findings, Outcome, Rules
from audit.findings import judge as judging
from audit.findings.claims.registry import kind_of
from audit.findings.evidence.frame import bits_as_cells
from audit.findings.evidence.gather import gather
from audit.findings.judge import flag, judge
from audit.findings.records import Effect
from audit.store import Run, layout

MARKED = CLASSES[3]
OFTEN = (3, 8, 13, 18)
"""Classes with a mark in the run with few masks: enough to learn from."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 3000)
    flag(run, Rules())
    return run


@pytest.fixture(scope="module")
def partly_masked(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = draw_run(tmp_path_factory.mktemp("partly") / "run", 3000, masked=0.8, marked=OFTEN)
    flag(run, Rules())
    return run


def claims(run: Run) -> list[Claim]:
    return Findings(run).claims()


def test_the_one_class_that_was_marked_in_a_corner_has_all_claims_found(drawn: Run) -> None:
    found = [row for row in claims(drawn) if row.found]
    assert {row.class_name for row in found} == {MARKED}
    assert {row.kind for row in found} >= {"zone", "spot", "cluster"}
    (spot,) = [row for row in found if row.kind == "spot"]
    assert spot.details["box"] == [0.875, 0.875, 1, 1]


def test_every_claim_names_its_family_its_level_and_what_it_rests_on(drawn: Run) -> None:
    for row in claims(drawn):
        assert row.fdr == Rules().fdr
        assert row.family.startswith("class") or row.kind == "group"
        assert row.rests_on
        assert row.says
        assert row.tested > 0 or row.q is None


def test_the_summary_counts_the_claims_that_stand(drawn: Run) -> None:
    summary = json.loads((drawn.path / layout.SUMMARY).read_text())
    for kind, number in summary["claims"].items():
        assert number == sum(row.found for row in claims(drawn) if row.kind == kind)
    assert summary["detector"] is None


def test_members_of_clusters_are_targets_of_the_run(drawn: Run) -> None:
    members = pq.read_table(drawn.path / layout.FINDINGS / layout.CLUSTERS).to_pandas()
    assert set(members["sample"] % len(CLASSES) == members["class_id"]) == {True}
    assert members["cluster"].max() > 0


def test_targets_without_masks_are_flagged_by_a_detector_of_stated_worth(partly_masked: Run) -> None:
    detector = json.loads((partly_masked.path / layout.SUMMARY).read_text())["detector"]
    assert detector["precision_interval"][0] >= 0.8
    assert detector["base_rate_interval"][0] <= detector["base_rate"] <= detector["base_rate_interval"][1]
    named = [
        row["probability"] >= 0.5
        for shard in partly_masked.shards
        for row in partly_masked.read("targets", shard).to_pylist()
    ]
    assert detector["judged"] == sum(named[2400:])
    parts = (partly_masked.path / layout.FINDINGS).glob("part-*.parquet")
    detected = [row for part in parts for row in pq.read_table(part).to_pylist() if row["kind"] == "detected"]
    assert {row["rests_on"] for row in detected} == {"detector"}
    assert all(row["sample"] >= 2400 for row in detected)
    marked = [row["class_id"] in OFTEN for row in detected]
    assert len(detected) > 5
    assert np.mean(marked) > 0.8


def test_a_detectors_guesses_come_after_all_findings_with_evidence(partly_masked: Run) -> None:
    targets = Findings(partly_masked).targets().to_pandas()
    guesses = targets["kind"] == "detected"
    assert guesses.is_monotonic_increasing
    for part in (targets[guesses], targets[~guesses]):
        assert part["suspicion"].is_monotonic_decreasing
    assert targets[guesses]["suspicion"].max() > targets[~guesses]["suspicion"].min()


def test_what_is_not_named_with_confidence_is_tested_for_nothing(drawn: Run) -> None:
    judged = judge(gather(drawn, drawn.done()).scored, Rules())
    named = judged["probability"] >= 0.5
    assert judged["q_low"].notna().equals(named)
    assert judged["kind"][~named].isna().all()


def test_gathered_targets_are_the_rows_of_the_tables(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    gathered = gather(run, run.done())
    scores = [row for shard in run.done() for row in run.read("scores", shard).to_pylist()]
    assert gathered.targets["sample"].tolist() == [row["sample"] for row in scores]
    np.testing.assert_allclose(gathered.targets["energy"], [row["energy"] for row in scores])
    np.testing.assert_array_equal(gathered.cells["off_heat"], [row["off_heat"] for row in scores])
    np.testing.assert_array_equal(bits_as_cells(gathered.cells["clear"]), [row["clear"] for row in scores])
    assert gathered.score_status == {"scored": len(scores)}


def test_evidence_takes_copies_of_an_image_for_one(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    first = run.shards[0]
    samples = run.read("samples", first).to_pydict()
    samples["look"] = [-1, -2]
    put_part(run, "samples", 0, samples)
    gathered = gather(run, run.done())
    evidence = gathered.evidence(run, judge(gathered.scored, Rules()), 0.5)
    assert evidence.unit.tolist() == [0, 0, 1, 2, 3]
    assert evidence.off.tolist() == [True, True, True, False, False]
    assert not evidence.wrong.any()


def test_a_claim_shows_in_targets_taken_from_the_evidence_as_in_all_of_it(drawn: Run) -> None:
    kinds = set()
    for _, _, evidence in Findings(drawn).evidence(drawn.done()):
        rows = np.random.default_rng(3).permutation(len(evidence))[: len(evidence) // 2]
        taken = evidence.take(rows)
        np.testing.assert_array_equal(taken.sample, evidence.sample[rows])
        for claim in claims(drawn):
            kinds.add(claim.kind)
            kind = kind_of(claim)
            np.testing.assert_array_equal(kind.shows(claim, taken), kind.shows(claim, evidence)[rows])
            np.testing.assert_array_equal(kind.prominence(claim, taken), kind.prominence(claim, evidence)[rows])
    assert kinds >= {"zone", "spot", "cluster"}


def test_scores_that_do_not_fit_their_targets_are_named(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    targets = run.read("targets", run.shards[0]).to_pydict()
    targets["slot"] = [1, 0]
    put_part(run, "targets", 0, targets)
    with pytest.raises(
        RunError, match=r"scores/part-00000\.\w+\.parquet does not fit its targets; score again: camaudit score"
    ):
        gather(run, run.done())


def test_what_interventions_said_of_earlier_findings_is_dropped(drawn: Run) -> None:
    for name, schema in ((layout.EFFECTS, Effect.schema()), (layout.CAUSES, Outcome.schema())):
        put_findings(drawn, name, {column: [] for column in schema.names}, schema)
    flag(drawn, Rules())
    assert not (drawn.path / layout.FINDINGS / layout.EFFECTS).exists()
    assert not (drawn.path / layout.FINDINGS / layout.CAUSES).exists()


def test_hashes_keep_all_their_bits_beside_a_sample_that_failed(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    looks = [[2**62, 2**62 + 1], [5, 6], [7, None]]
    for shard, own in zip(run.shards, looks, strict=True):
        samples = run.read("samples", shard).to_pydict() | {"look": own}
        put_part(run, "samples", shard.index, samples)
    assert gather(run, run.done()).targets["look"].tolist() == [2**62, 2**62 + 1, 5, 6, 7]


def test_copies_of_one_image_are_one_witness_against_a_class(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 400)
    for shard in run.shards:
        samples = run.read("samples", shard).to_pydict()
        samples["look"] = [row % len(CLASSES) for row in samples["sample"]]
        put_part(run, "samples", shard.index, samples)
    flag(run, Rules(tolerated=0.01))
    table = pq.read_table(run.path / layout.FINDINGS / layout.CLASS_FINDINGS).to_pylist()
    assert {row["targets"] for row in table} == {20}
    assert {row["confident"] for row in table} == {1}
    assert {row["p"] for row in table} == {None}
    assert not any(row["is_finding"] for row in table)


def test_a_run_begun_without_scores_says_why_it_has_no_clusters(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    for shard in run.shards:
        put_part(run, "features", shard.index, {"sample": [], "slot": [], "relevance": []})
    assert any("one layer" in said for said in flag(run, Rules())["untested"])
    run.record["config"]["scored"] = False
    assert any("begun without scores" in said for said in flag(run, Rules())["untested"])


def test_a_threshold_is_the_map_level_that_it_begins_at() -> None:
    curve = np.zeros(256)
    curve[77] = 0.4
    assert [judging._map_level(threshold, curve) for threshold in (None, 0, 0.25, 0.5, 1)] == [77, 0, 64, 128, 255]
    with pytest.raises(ValueError, match="Expected `threshold` between 0 and 1, got 2"):
        judging._map_level(2, curve)
