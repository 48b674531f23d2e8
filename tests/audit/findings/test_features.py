"""What the off-object heat of a run's targets comes from, from the tables of the run to claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from blobs import blobs, make_evidence
from rewritten import put_part
from small_run import CLASSES, TARGETS, make_run

from audit.findings import Claim, Findings, Rules
from audit.findings.claims.clustering import NONE
from audit.findings.claims.clusters import Clusters
from audit.findings.claims.kind import Material
from audit.findings.evidence.features import read_features
from audit.findings.evidence.targets import Evidence
from audit.findings.writing import FindingsWriter
from audit.store import Run, Shard
from audit.store.tables.parts import read_table

SIZE = 40


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(make_run(tmp_path))


def write_features(run: Run, shard: int, samples: np.ndarray, under: list[np.ndarray | None]) -> None:
    columns = {"sample": samples, "slot": np.zeros(len(samples), int), "relevance": under}
    put_part(run, "features", shard, columns)


def cluster_run(run: Run, shards: list[Shard], evidence: Evidence) -> list[Claim]:
    material = Material(evidence, Rules(), features=lambda: read_features(run, shards))
    FindingsWriter.beside(Findings(run)).write_members(material.members, evidence)
    return Clusters().test(material)


def test_features_of_a_run_come_shard_by_shard_without_targets_that_have_none(run: Run) -> None:
    under = [vector / np.linalg.norm(vector) for vector in np.arange(3) + np.arange(4)[:, None]]
    write_features(run, 0, np.array([0, 1]), [under[0], None])
    write_features(run, 1, np.array([2, 3]), [under[2], under[3]])
    write_features(run, 2, np.array([4]), [None])
    first, second = read_features(run, run.done())
    assert (first[0].tolist(), first[1].tolist()) == ([0], [0])
    np.testing.assert_allclose(first[2], [under[0]], atol=0.025)  # kept in 45 steps
    assert second[0].tolist() == [2, 3]
    np.testing.assert_allclose(second[2], under[2:], atol=0.025)  # kept in 45 steps


def test_clusters_of_a_run_are_written_and_told(run: Run, rng: np.random.Generator) -> None:
    what = np.arange(3 * SIZE) % 2
    under = blobs(rng, what)
    for shard in range(3):
        own = np.arange(shard * SIZE, (shard + 1) * SIZE)
        write_features(run, shard, own, list(under[own]))
    class_id = (np.arange(3 * SIZE) >= 2 * SIZE).astype(int)
    evidence = make_evidence(class_id, off=(what == 0) & (class_id == 0))
    rows = cluster_run(run, [Shard(shard, 0, 0) for shard in range(3)], evidence)
    members = read_table(run.path / "findings" / "clusters.parquet").to_pandas()
    assert members["sample"].tolist() == list(range(3 * SIZE))
    assert any(row.found for row in rows)
    for row in rows:
        own = members[(members["cluster"] == int(row.subject)) & (members["class_id"] == row.class_id)]
        assert row.found == (row.class_id == 0 and (what[own["sample"]] == 0).all())
        assert row.details["size"] == len(own)


def test_a_run_as_small_as_this_has_no_clusters(run: Run) -> None:
    evidence = make_evidence(np.array([class_id for _, class_id, *_ in TARGETS]), classes=CLASSES)
    assert cluster_run(run, run.done(), evidence) == []
    members = read_table(run.path / "findings" / "clusters.parquet").to_pandas()
    assert (members["cluster"] == NONE).all()
    assert members["distance"].isna().all()
