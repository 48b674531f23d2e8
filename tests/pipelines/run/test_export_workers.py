"""Exports over workers: the same files as in one process, and what stops a shard is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import make_run

from audit.errors import RunError
from audit.export import PseudoMasks, export_run
from audit.store import Run
from pipelines.run.config import ClusterConfig
from pipelines.run.export import over_workers


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run.open(make_run(tmp_path_factory.mktemp("small")))


def test_workers_write_what_one_process_does(run: Run, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    export_run(run, "coco", here, PseudoMasks(0.5))
    said = export_run(run, "coco", there, PseudoMasks(0.5), spread=over_workers(ClusterConfig(2), run, there))
    assert said == f"{there}: 5 pseudo-masks at threshold 0.500"
    for name in ("instances.json", "results.json"):
        assert (here / name).read_bytes() == (there / name).read_bytes()


def test_what_stops_a_worker_is_told_in_one_line(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    part = run.part("targets", run.shards[1])
    assert part is not None
    part.write_bytes(b"damaged")
    with pytest.raises(RunError, match=f"^Damaged: {part}"):
        export_run(
            run,
            "coco",
            tmp_path / "out",
            PseudoMasks(0.5),
            spread=over_workers(ClusterConfig(2), run, tmp_path / "out"),
        )


def test_a_small_run_starts_no_workers_unless_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.run.workers.client.connect", lambda _: pytest.fail("workers were started"))
    export_run(
        run,
        "coco",
        tmp_path / "out",
        PseudoMasks(0.5),
        spread=over_workers(ClusterConfig(), run, tmp_path / "out"),
    )
