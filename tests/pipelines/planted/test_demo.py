"""The demo's way, on few and small scenes: what it prints is what the run and the truth say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import mannwhitneyu

from audit.datasets.planted import CUES, PlantedSpec
from audit.models import load_classifier
from audit.store import Run
from pipelines.planted.demo import demo
from pipelines.planted.truth import reliance
from pipelines.run.config import ClusterConfig

SPEC = PlantedSpec(seed=3, train=360, test=36, size=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo(folder / "run", folder / "scenes", SPEC, ClusterConfig(workers=1), epochs=4)
    return folder


def test_the_summary_keeps_the_findings_beside_the_truth(folder: Path) -> None:
    planted = json.loads((folder / "run" / "summary.json").read_text())["planted"]
    assert {row["class"]: row["cue"] for row in planted["classes"] if row["cue"]} == CUES
    learnt = [row["accuracy_without_cue"] for row in planted["classes"] if row["cue"] is None]
    assert planted["void"] == (min(learnt) < 0.9)


def test_reliance_is_what_the_cue_adds_to_the_probability(folder: Path) -> None:
    classifier = load_classifier(str(folder / "scenes" / "model.pt"))
    table = reliance(Run.open(folder / "run"), folder / "scenes", classifier)
    assert len(table) == SPEC.test
    without_cue = table[table["cue"].isna()]
    assert (without_cue["reliance"] == 0).all()
    assert table["reliance"].between(-1, 1).all()
    assert table["reliance"].max() > 0


def test_the_auroc_is_scipys(folder: Path) -> None:
    classifier = load_classifier(str(folder / "scenes" / "model.pt"))
    table = reliance(Run.open(folder / "run"), folder / "scenes", classifier).dropna(subset=["p_high"])
    planted = json.loads((folder / "run" / "summary.json").read_text())["planted"]
    relies = table["reliance"] >= 0.5
    if relies.any() and not relies.all():
        suspicion = 1 - table["lift"]
        expected = mannwhitneyu(suspicion[relies], suspicion[~relies]).statistic / (relies.sum() * (~relies).sum())
        assert planted["auroc"]["1 - lift"] == pytest.approx(expected, abs=1e-4)
    else:
        assert planted["auroc"]["1 - lift"] is None


def test_every_sample_of_the_demo_is_accounted_for(folder: Path) -> None:
    account = Run.open(folder / "run").account()
    assert (account.processed, account.failed, account.pending) == (SPEC.test, 0, 0)
