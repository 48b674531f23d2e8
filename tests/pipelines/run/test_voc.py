"""A real classifier on 280 real PASCAL VOC images: figures that were measured independently of this code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from audit.datasets import Manifest, read_voc
from audit.findings import Rules
from audit.findings.judge import flag
from audit.models import ModelSpec
from audit.store import Run
from pipelines.run.config import RunConfig
from pipelines.run.plan import prepare
from pipelines.run.shards.shard import Finished, audit_shard

SHARED = Path(__file__).parents[4] / "shared"
VOC = SHARED / "voc2012" / "VOCdevkit" / "VOC2012"
pytestmark = pytest.mark.skipif(not VOC.is_dir(), reason=f"needs PASCAL VOC images in {VOC}")


def audited(folder: Path, manifest: Manifest, spec: ModelSpec, config: RunConfig) -> tuple[Run, dict[str, Any]]:
    """The run of a manifest, all in this process, and its summary."""
    plan = prepare(str(manifest.save(folder / "manifest.parquet")), str(folder / "run"), spec, config)
    for shard in plan.run.shards:
        assert isinstance(audit_shard(plan.task, shard), Finished)
    return plan.run, flag(plan.run, Rules())


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    spec = ModelSpec(
        f"{SHARED / 'models' / 'voc_squeezenet.py'}:build",
        layer="features",
        size=320,
        mode="squash",
        activation="sigmoid",
    )
    config = RunConfig(roles=("label",), shard_size=70)
    return audited(tmp_path_factory.mktemp("voc"), read_voc(VOC, split="trainval"), spec, config)


def scored(run: Run) -> pd.DataFrame:
    columns = ["status", "lift", "hit", "centre_hit"]
    table = pd.concat([run.read("scores", shard, columns).to_pandas() for shard in run.done()])
    return table[table["status"] == "scored"]


def test_every_sample_is_accounted_for(reference: tuple[Run, dict[str, Any]]) -> None:
    account = reference[0].account()
    assert (account.processed, account.failed, account.pending) == (280, 0, 0)


def test_the_scores_are_those_that_were_measured_elsewhere(reference: tuple[Run, dict[str, Any]]) -> None:
    run, summary = reference
    assert summary["mean_iou"] == pytest.approx(0.289, abs=0.005)
    assert summary["means"]["hit"] == pytest.approx(0.607, abs=0.01)
    assert summary["means"]["energy"] == pytest.approx(0.387, abs=0.01)
    assert scored(run)["lift"].median() == pytest.approx(2.41, abs=0.03)


def test_the_rate_of_the_centre_is_formed_over_its_own_pixels(reference: tuple[Run, dict[str, Any]]) -> None:
    """Elsewhere 0.477 was measured: the hits of the centre over the number of targets whose peak is not void."""
    run, summary = reference
    table = scored(run)
    hits = table["centre_hit"].eq(True).sum()
    assert hits / table["hit"].notna().sum() == pytest.approx(0.477, abs=0.002)
    assert summary["means"]["centre_hit"] == pytest.approx(hits / table["centre_hit"].notna().sum(), abs=1e-6)
    assert summary["means"]["centre_hit"] == pytest.approx(0.447, abs=0.001)


def test_an_imagenet_classifier_is_audited_through_the_mapping(tmp_path: Path) -> None:
    weights = SHARED / "models" / "squeezenet1_0_imagenet.pth"
    spec = ModelSpec("torchvision:squeezenet1_0", str(weights))
    everything = read_voc(VOC, split="val")
    manifest = Manifest.from_samples(list(everything)[:48], everything.classes, everything.root)
    run, summary = audited(tmp_path, manifest, spec, RunConfig(shard_size=24))
    assert run.account().processed == 48
    assert summary["targets"]["no_output"] > 0  # ImageNet has no person
    assert summary["means"]["hit"] > summary["means"]["centre_hit"]
    assert summary["mean_iou"] > 0.25
