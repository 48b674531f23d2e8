"""One shard from samples to commit, the summary and findings of a run, and runs over Dask workers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from faults.collection import CLASSES, CONFIG, audit_here, contents, draw_collection, finished, planned, write_model

from audit.attribution import GradCAM
from audit.datasets.manifest import Manifest, Sample
from audit.export import PseudoMasks, export_run
from audit.findings import Rules
from audit.findings.judge import flag
from audit.images.ahead import map_ahead
from audit.images.masks import read_mask
from audit.images.reading import decode_image
from audit.images.views import View, upsample
from audit.models import load_classifier
from audit.store import Run
from pipelines.run.config import RunConfig, default_shard_size
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.attribute import attribute_samples
from pipelines.run.shards.found import by_peak
from pipelines.run.shards.reading import Reader
from pipelines.run.shards.shard import Finished, audit_shard, rescore_shard


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return finished(tmp_path_factory.mktemp("finished"), 18)


def table(run: Run, name: str) -> pd.DataFrame:
    parts: list[pd.DataFrame] = [run.read(name, shard).to_pandas() for shard in run.done()]
    return pd.concat(parts, ignore_index=True)


def test_every_sample_has_a_row_and_every_target_a_row_and_a_map(plan: Plan) -> None:
    samples, targets, scores = (table(plan.run, name) for name in ("samples", "targets", "scores"))
    assert samples["sample"].tolist() == list(range(18))
    assert set(samples["status"]) == {"processed"}
    assert targets[["sample", "slot"]].equals(scores[["sample", "slot"]])
    maps = plan.run.maps(0, 18)
    filled = {(int(sample), int(slot)) for sample, slot in np.argwhere(~np.isnan(maps).all(axis=(2, 3)))}
    ok = targets[targets["status"] == "ok"]
    assert filled == set(zip(ok["sample"], ok["slot"], strict=True))
    assert maps[ok["sample"], ok["slot"]].max(axis=(1, 2)) == pytest.approx(1)


def test_stored_maps_and_logits_are_those_of_the_method_called_on_each_image_alone(plan: Plan) -> None:
    classifier = load_classifier(plan.task.spec, classes=CLASSES)
    targets = table(plan.run, "targets")
    with GradCAM(classifier) as explain:
        for row, sample in enumerate(plan.run.manifest()):
            pixels, _ = classifier.preprocessing.fit(decode_image(Path(sample.image).read_bytes(), sample.image))
            ids = targets.loc[targets["sample"] == row, "class_id"].tolist()
            maps, logits = explain(classifier.preprocessing.normalise(np.stack([pixels])), torch.tensor([ids]))
            expected = (maps[0] / maps[0].amax(dim=(1, 2), keepdim=True)).numpy()
            np.testing.assert_allclose(plan.run.maps(row, row + 1)[0, : len(ids)], expected, atol=2e-3)
            stored = targets.loc[targets["sample"] == row, "logit"]
            np.testing.assert_allclose(stored, logits[0, ids], rtol=1e-5)


def test_scores_equal_a_slow_count_over_the_upsampled_map_and_the_mask(plan: Plan) -> None:
    scores = table(plan.run, "scores").merge(table(plan.run, "targets")[["sample", "slot", "class_id"]])
    samples = list(plan.run.manifest())
    views = table(plan.run, "samples")
    for row in scores.to_dict("records"):
        sample = row["sample"]
        view = View(*views.loc[sample, ["x0", "y0", "x1", "y1"]])
        mask = read_mask(samples[sample], "index", (40, 48), 3)
        heat = np.maximum(upsample(plan.run.maps(sample, sample + 1)[0, row["slot"]][None], view, 40, 48)[0], 0)
        inside, valid = mask == row["class_id"] + 1, mask >= 0
        assert row["area"] == pytest.approx(inside.sum() / valid.sum())
        assert row["energy"] == pytest.approx(heat[inside].sum() / heat[valid].sum(), rel=1e-4)
        assert sum(row["inside"]) == inside.sum()
        assert sum(row["outside"]) == valid.sum() - inside.sum()


def test_mean_iou_of_the_summary_is_that_of_the_exported_masks(plan: Plan, tmp_path: Path) -> None:
    """The curve from pooled counts against a slow confusion matrix over the pseudo-masks that users get."""
    summary = json.loads((plan.run.path / "summary.json").read_text())
    export_run(plan.run, "voc-png", tmp_path, PseudoMasks(summary["threshold"]))
    confusion = np.zeros((4, 4), int)
    for sample in plan.run.manifest():
        true = read_mask(sample, "index", (40, 48), 3)
        found = read_mask(replace(sample, mask=str(tmp_path / f"{sample.id}.png")), "index", (40, 48), 3)
        for i in range(4):
            for j in range(4):
                confusion[i, j] += int(((true == i) & (found == j)).sum())
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    assert summary["mean_iou"] == pytest.approx(float(np.mean(np.diag(confusion) / union)), abs=1e-9)
    assert summary["mean_iou"] == pytest.approx(max(summary["mean_iou_curve"]), abs=1e-6)


def test_findings_are_those_samples_whose_object_lies_elsewhere(plan: Plan) -> None:
    found = pd.concat([pd.read_parquet(path) for path in sorted((plan.run.path / "findings").glob("part-*.parquet"))])
    assert set(found.loc[found["role"] == "label", "sample"]) == {3, 7, 11, 15}
    assert found["severity"].between(0, 1).all()
    assert found["finding_id"].tolist() == [f"{row.sample}:{row.slot}:{row.kind}" for row in found.itertuples()]


def test_flagging_again_with_the_same_rules_changes_nothing_and_with_others_does(tmp_path: Path) -> None:
    run = finished(tmp_path).run
    before = contents(run)
    flag(run, Rules())
    assert contents(run) == before
    summary = flag(run, Rules(confident=0.9999), threshold=0.25)
    assert summary["threshold"] == 0.25
    assert summary["findings"]["indifferent"] == 0


def test_scoring_stored_maps_again_gives_the_same_bytes(plan: Plan, tmp_path: Path) -> None:
    run = finished(tmp_path).run
    before = contents(run)
    run = run.begin_scoring()
    for shard in run.shards:
        assert isinstance(rescore_shard(str(run.path), shard), Finished)
    flag(run, Rules())
    assert contents(run) == before


def test_scoring_a_run_with_another_mask_uses_it(tmp_path: Path) -> None:
    run = finished(tmp_path).run
    before = table(run, "scores")["energy"]
    (tmp_path / "000-mask.png").write_bytes((tmp_path / "003-mask.png").read_bytes())
    rescore_shard(str(run.begin_scoring().path), run.shards[0])
    after = table(run, "scores")["energy"]
    assert (after != before).tolist() == [True] + [False] * 9


def test_a_run_without_scores_has_none_and_can_be_scored_later(tmp_path: Path) -> None:
    plan = planned(tmp_path, config=replace(CONFIG, scored=False))
    for shard in plan.run.shards:
        audit_shard(plan.task, shard)
    assert not any(plan.run.has_scores(shard) for shard in plan.run.shards)
    assert flag(plan.run, Rules())["mean_iou"] is None
    for shard in plan.run.shards:
        assert isinstance(rescore_shard(str(plan.run.path), shard), Finished)
    assert flag(plan.run, Rules())["mean_iou"] > 0


def test_a_collection_without_masks_or_labels_is_audited_and_has_no_scores(tmp_path: Path) -> None:
    samples = [Sample(s.id, s.image) for s in Manifest.open(draw_collection(tmp_path, 5))]
    manifest = Manifest.from_samples(samples, CLASSES).save(tmp_path / "bare.parquet")
    plan = prepare(str(manifest), str(tmp_path / "run"), write_model(tmp_path), CONFIG)
    audit_here(plan)
    summary = json.loads((plan.run.path / "summary.json").read_text())
    assert summary["samples"]["processed"] == 5
    assert summary["mean_iou"] is None
    assert summary["scores"] == {"no_mask": 10}
    assert table(plan.run, "targets")["role"].tolist() == 5 * ["predicted", "runner_up"]


def test_taking_samples_one_by_one_gives_the_same_statuses_and_maps(plan: Plan) -> None:
    with GradCAM(load_classifier(plan.task.spec, classes=CLASSES)) as explain:
        touched: list[int] = []
        shard = plan.run.shards[1]
        found = attribute_samples(
            list(plan.run.manifest(shard.start, shard.stop)),
            shard.start,
            explain,
            CONFIG,
            2,
            Reader(explain.classifier.preprocessing.fit, before=touched.append, quarantined=frozenset({5})),
        )
    assert touched == [4, 6, 7]
    assert found.samples.column("status") == ["processed", "failed", "processed", "processed"]
    assert np.isnan(found.maps[1]).all()
    np.testing.assert_allclose(found.maps[[0, 2, 3]], plan.run.maps(4, 8)[[0, 2, 3]], atol=1e-3)


def test_raw_maps_are_divided_by_their_peak_and_those_without_evidence_become_nan() -> None:
    raw = torch.tensor([[2.0, 4.0], [0.0, 0.0], [-3.0, -1.0], [1.0, torch.inf], [torch.nan, 1.0]]).view(1, 5, 1, 2)
    maps, peaks = (part.numpy() for part in by_peak(raw))
    np.testing.assert_array_equal(maps[0, 0, 0], [0.5, 1])
    assert np.isnan(maps[0, 1:]).all()
    np.testing.assert_array_equal(peaks[0, :4], [4, 0, -1, np.inf])


@pytest.mark.parametrize("threads", [1, 3])
def test_reading_ahead_keeps_order_and_its_bound(threads: int) -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    results = map_ahead(work, range(100), 3, threads)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(begun) <= 5
    assert list(results) == [item * item for item in range(1, 100)]


@pytest.mark.parametrize("ahead", [0, 4])
def test_an_error_while_reading_ahead_reaches_the_caller_and_leaves_no_thread(ahead: int) -> None:
    def work(item: int) -> int:
        return 1 // (item - 3)

    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(map_ahead(work, range(10), ahead))
    assert threading.active_count() == threads


def test_several_threads_read_at_once() -> None:
    together = threading.Barrier(3)

    def work(item: int) -> int:
        together.wait(5)
        return item

    assert list(map_ahead(work, range(6), 6, 3)) == list(range(6))


def test_preparing_a_run_again_reads_no_row_of_the_manifest_but_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path)

    def refuse(*_arguments: object) -> Iterator[Any]:
        raise AssertionError("iterated over samples")

    monkeypatch.setattr(Manifest, "__iter__", refuse)
    opened: list[int] = []
    read = Manifest.open

    def counting(*arguments: Any) -> Manifest:
        manifest = read(*arguments)
        opened.append(len(manifest))
        return manifest

    monkeypatch.setattr(Manifest, "open", counting)
    assert prepare(str(tmp_path / "manifest.parquet"), str(plan.run.path), plan.task.spec, CONFIG).resumed
    assert opened == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "magic"}, "--method to be one of gradcam, cam"),
        (
            {"roles": ("label", "lable")},
            "targets among label, predicted, runner_up, detected, segmented, word, got 'lable'",
        ),
        ({"roles": ()}, "targets among"),
        ({"batch_size": 0}, "--batch-size of at least 1, got 0"),
        ({"shard_size": -1}, "--shard-size of at least 1, got -1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig(**wrong)


SIZES = [(1, 32), (280, 32), (3200, 100), (10_000, 256), (10**6, 2560), (10**7, 4096), (10**8, 4096)]


@pytest.mark.parametrize(("samples", "size"), SIZES)
def test_shards_are_as_many_as_workers_can_share_and_no_longer_than_4096(samples: int, size: int) -> None:
    assert default_shard_size(samples, 1, 2 * 49) == size


def test_shards_grow_in_size_and_number_with_the_samples_and_are_4000_at_most_up_to_16_million() -> None:
    sizes = [default_shard_size(samples, 1, 98) for samples in range(1024, 16_000_000, 9973)]
    numbers = [-(-samples // size) for samples, size in zip(range(1024, 16_000_000, 9973), sizes, strict=True)]
    assert sizes == sorted(sizes)
    assert 32 <= min(numbers) < max(numbers) < 4000


@pytest.mark.parametrize(
    ("passes", "values", "size"),
    [(2, 98, 2048), (33, 98, 124), (501, 98, 8), (10**5, 98, 1), (1, 19 * 224 * 224, 35), (1, 10**9, 1)],
)
def test_shards_of_many_passes_or_large_maps_are_short(passes: int, values: int, size: int) -> None:
    assert default_shard_size(10**6, passes, values) == size
