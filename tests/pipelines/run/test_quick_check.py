"""The quick check within a run: who is asked, what is kept of it, and that it changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faults.collection import CLASSES, CONFIG, audit_here, contents, draw_collection, finished, write_model

from audit.attribution import GradCAM
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.models import load_classifier
from audit.store import Run
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.attribute import attribute_samples
from pipelines.run.shards.quick_check import QuickCheck
from pipelines.run.shards.reading import Reader
from pipelines.run.shards.scoring import ObjectsReader
from pipelines.run.shards.shard import rescore_shard

ELSEWHERE = {3, 7, 11, 15}
"""Samples whose mask is of another place than the coloured square that the network goes by."""

BRIGHT = "x = 2 * (x - 0.4).relu()"
"""Makes the network blind to all that is darker than the squares: they are gone where they are scattered."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return finished(tmp_path_factory.mktemp("finished"), 18, trap=BRIGHT)


def checks(run: Run) -> pd.DataFrame:
    return pd.concat([run.read("checks", shard).to_pandas() for shard in run.done()], ignore_index=True)


def test_flagged_targets_are_asked_and_lose_what_lies_off_their_object(plan: Plan) -> None:
    table = checks(plan.run)
    flagged = table["sample"].isin(ELSEWHERE)
    assert set(table.loc[flagged, "sample"]) == ELSEWHERE
    assert table.loc[flagged, "reliance"].min() > 0.3
    assert table.loc[~flagged, "reliance"].abs().max() < 0.1


def test_findings_tell_it_and_are_ranked_by_it(plan: Plan) -> None:
    targets = Findings(plan.run).targets().to_pandas()
    asked = checks(plan.run).set_index(["sample", "slot"])["reliance"]
    keys = pd.MultiIndex.from_frame(targets[["sample", "slot"]])
    np.testing.assert_allclose(targets["quick_reliance"], asked.reindex(keys).to_numpy())
    assert targets["suspicion"].is_monotonic_decreasing
    assert targets["says"].str.contains("of the probability is lost").all()


def test_a_run_without_it_has_the_same_maps_scores_and_findings_in_the_order_of_severity(tmp_path: Path) -> None:
    run = _run(tmp_path, quick_check=False)
    flag(run, Rules())
    other = finished(tmp_path / "with").run
    targets = Findings(run).targets().to_pandas()
    assert checks(run).empty
    assert targets["quick_reliance"].isna().all()
    assert set(targets["finding_id"]) == set(Findings(other).targets()["finding_id"].to_pylist())
    np.testing.assert_array_equal(run.maps(0, 10), other.maps(0, 10))
    own = targets.groupby("class")["severity"].transform("mean")
    np.testing.assert_allclose(targets["suspicion"], (targets["severity"] + own) / 2, rtol=1e-6)


def test_scoring_again_keeps_it(tmp_path: Path) -> None:
    run = finished(tmp_path).run
    before = checks(run)
    run = run.begin_scoring()
    for shard in run.shards:
        rescore_shard(str(run.path), shard)
    pd.testing.assert_frame_equal(checks(Run.open(run.path)), before)


def test_samples_taken_one_by_one_lose_the_same(plan: Plan) -> None:
    shard = plan.run.shards[0]
    manifest = plan.run.manifest(shard.start, shard.stop)
    with GradCAM(load_classifier(plan.task.spec, classes=CLASSES)) as explain:
        found = attribute_samples(
            list(manifest),
            shard.start,
            explain,
            CONFIG,
            plan.run.record["slots"],
            Reader(
                explain.classifier.preprocessing.fit,
                ObjectsReader(manifest.mask_kind, len(CLASSES)),
                before=lambda _row: None,
            ),
            QuickCheck(explain, 1, 100, 18),
        )
    together = plan.run.read("checks", shard).to_pydict()
    assert list(found.checks.column("sample")) == together["sample"]
    np.testing.assert_allclose(found.checks.column("reliance"), together["reliance"], atol=1e-4)


def test_two_runs_are_the_same_to_the_byte(tmp_path: Path) -> None:
    first, second = (finished(tmp_path / name).run for name in ("first", "second"))
    assert contents(first) == contents(second)


def _run(folder: Path, **changes: bool) -> Run:
    manifest = draw_collection(folder, 10)
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    plan = prepare(str(manifest), str(folder / "run"), write_model(folder), config)
    audit_here(plan)
    return plan.run


def test_classes_tell_the_mean_of_their_findings_and_of_the_others(plan: Plan) -> None:
    table = checks(plan.run).merge(pd.concat([plan.run.read("targets", s).to_pandas() for s in plan.run.done()]))
    found = table["sample"].isin(ELSEWHERE)
    for row in Findings(plan.run).classes():
        own = table["class"] == row.class_name
        for value, rows in ((row.quick_reliance, own & found), (row.quick_of_others, own & ~found)):
            expected = table.loc[rows, "reliance"].mean() if rows.any() else None
            assert value == (expected if expected is None else pytest.approx(expected, abs=1e-6))
