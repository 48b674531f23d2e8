"""Which label images are exported: what goes together, which threshold, which masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults.collection import finished

from audit.errors import RunError
from audit.export import PseudoMasks, export_run
from audit.export.pseudo_masks import flagged
from audit.findings import Findings
from audit.images.masks import VOID, read_mask
from audit.segmentation import ThresholdedRun
from audit.segmentation.label_set import LabelSet
from audit.segmentation.labels import UNKNOWN
from audit.segmentation.quality import best_cut
from audit.store import Run
from audit.store.label_store import LabelStore
from audit.store.layout import FINDINGS
from pipelines.asked import Labelling
from pipelines.labels.shard import Task, label_shard


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return labelled(tmp_path_factory.mktemp("exported"), 40)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    """Of other samples."""
    return LabelStore.open(labelled(tmp_path_factory.mktemp("other"), 12), "labels")


def labelled(folder: Path, count: int) -> Run:
    run = finished(folder, count).run
    LabelStore.make(run, "labels", Labelling().record())
    for shard in run.done():
        label_shard(Task(str(run.path), "labels", Labelling()), shard)
    return run


def undecided(run: Run, **asked: Any) -> dict[int, int]:
    """Unknown pixels by sample."""
    source = PseudoMasks(0.5, labels="labels", **asked).of(run)
    return {image.row: int((image.mask == UNKNOWN).sum()) for shard in source.shards for image in source.images(shard)}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"keep": 0.0}, "Expected --keep above 0"),
        ({"band": 0.2}, "Expected --labels beside what is asked of a label set"),
        ({"keep": 0.5}, "Expected --labels beside"),
        ({"threshold": "otsu"}, "Expected --labels beside"),
        ({"without_findings": True}, "Expected --labels beside"),
        ({"labels": "labels", "by_class": True}, "Expected --threshold-from beside --by-class"),
    ],
)
def test_what_does_not_go_together_is_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PseudoMasks(**asked)


def test_without_a_label_set_they_are_the_runs_maps(run: Run) -> None:
    assert PseudoMasks(0.4).of(run) == ThresholdedRun(run, 0.4)


def test_a_label_set_needs_a_threshold(run: Run) -> None:
    with pytest.raises(RunError, match="Expected --threshold or --threshold-from for the label set 'labels'"):
        PseudoMasks(labels="labels").of(run)


def test_a_threshold_is_chosen_on_other_samples_and_says_so(run: Run, other: LabelStore) -> None:
    source = PseudoMasks(labels="labels", chosen_on=other, by_class=True, band=0.1).of(run)
    assert isinstance(source, LabelSet)
    assert source.cut == best_cut(other, by_class=True, band=0.1)
    assert source.about()["origin"] == f"{other.run.path}:labels"
    with pytest.raises(RunError, match="Expected --threshold-from other samples"):
        PseudoMasks(labels="labels", chosen_on=LabelStore.open(run, "labels")).of(run)
    with pytest.raises(ValueError, match="got both"):
        PseudoMasks(0.5, labels="labels", chosen_on=other)


def test_the_least_trusted_masks_are_undecided(run: Run) -> None:
    shares = {keep: np.mean([count > 0 for count in undecided(run, keep=keep).values()]) for keep in (0.9, 0.5, 0.2)}
    assert shares[0.9] < shares[0.5] < shares[0.2]
    assert shares[0.5] == pytest.approx(0.5, abs=0.15)


def test_masks_of_findings_are_undecided(run: Run) -> None:
    found = set(Findings(run).targets()["sample"].to_pylist())
    assert found
    counts = undecided(run, without_findings=True)
    assert {row for row, count in counts.items() if count} == found
    assert {row for shard in run.done() for row, _ in flagged(run, shard)} == found


def test_masks_of_findings_cannot_be_left_out_before_there_are_any(tmp_path: Path) -> None:
    run = labelled(tmp_path, 4)
    for path in (run.path / FINDINGS).iterdir():
        path.unlink()
    with pytest.raises(RunError, match="flag"):
        undecided(run, without_findings=True)


def test_undecided_pixels_are_255_in_files(run: Run, tmp_path: Path) -> None:
    source = PseudoMasks(0.5, labels="labels", band=0.3)
    said = export_run(run, "voc-png", tmp_path / "masks", source)
    assert str(tmp_path / "masks") in said
    label_set = source.of(run)
    table = pd.read_csv(tmp_path / "masks" / "confidence.csv", dtype={"id": str}).set_index("id")["confidence"]
    for shard in label_set.shards:
        for image in label_set.images(shard):
            assert table[image.sample.id] == pytest.approx(min(image.confidence.values(), default=0), abs=1e-5)
            path = tmp_path / "masks" / f"{image.sample.id}.png"
            written = read_mask(as_masked(image.sample, path), "index", image.mask.shape, len(run.classes))
            np.testing.assert_array_equal(written, np.where(image.mask == UNKNOWN, VOID, image.mask))


def as_masked(sample: Any, path: Path) -> Any:
    return replace(sample, mask=str(path))
