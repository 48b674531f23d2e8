"""Label sets over a drawn collection: made, gone on with, refused, measured, cut and drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faults.collection import CLASSES, CONFIG, audit_here, camaudit, finished, planned, refusals
from PIL import Image
from rewritten import put_part

from audit.datasets import Manifest
from audit.drawing.labels import draw_masks, read_label
from audit.errors import RunError
from audit.images import View, upsample
from audit.models.lattices import Lattice
from audit.segmentation.cut import Cut
from audit.segmentation.label_set import LabelSet
from audit.segmentation.labels import UNKNOWN, ThresholdedRun
from audit.segmentation.quality import Masks, best_cut, pool_regions
from audit.segmentation.refine import parse_steps, refine
from audit.segmentation.refine.learnt import load_head
from audit.store import Run, Shard
from audit.store.label_store import LabelStore
from pipelines.asked import Labelling
from pipelines.labels.learn import learn_head
from pipelines.labels.make import account, strong_peak
from pipelines.labels.quality import quality_record
from pipelines.labels.shard import HEAD, STRONG, Task, label_shard, network_of
from pipelines.run.plan import prepare
from pipelines.run.shards.shard import Finished, Stopped, audit_shard

COUNT = 10
Work = Callable[[Shard], object]


def made(run: Run, name: str, asked: Labelling, shards: int | None = None) -> LabelStore:
    """The label set, its first shards made in this process."""
    store = LabelStore.make(run, name, asked.record())
    for shard in run.done()[:shards]:
        assert isinstance(label_shard(Task(str(run.path), name, asked), shard), Finished)
    return store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished(tmp_path_factory.mktemp("labelled"), COUNT).run


@pytest.fixture(scope="module")
def store(run: Run) -> LabelStore:
    return made(run, "plain", Labelling())


def masks_of(store: LabelStore, **asked: object) -> dict[int, np.ndarray]:
    source = LabelSet(store, **asked)  # type: ignore[arg-type]
    return {image.row: image.mask for shard in source.shards for image in source.images(shard)}


def truth_of(run: Run) -> list[np.ndarray]:
    """Masks as files hold them, 255 as -1."""
    return [np.asarray(Image.open(str(sample.mask)), np.int16) for sample in run.manifest()]


def iou_of(masks: dict[int, np.ndarray], truth: list[np.ndarray]) -> np.ndarray:
    """IoU of background and classes, pixel by pixel."""
    values = range(len(CLASSES) + 1)
    both, either = (
        np.array(
            [sum(how(masks[row][t < 255] == v, t[t < 255] == v).sum() for row, t in enumerate(truth)) for v in values]
        )
        for how in (np.logical_and, np.logical_or)
    )
    return both / either


def test_without_refinement_they_are_the_runs_own_pseudo_masks(run: Run, store: LabelStore) -> None:
    plain = ThresholdedRun(run, 0.5)
    own = {image.row: image.mask for shard in plain.shards for image in plain.images(shard)}
    masks = masks_of(store, cut=Cut(0.5))
    assert masks.keys() == own.keys() == set(range(COUNT))
    for row, mask in masks.items():
        np.testing.assert_array_equal(mask, own[row])


@pytest.mark.parametrize("cut", [Cut(0.3), Cut(0.7), Cut(0.4, {1: 0.9, 2: 0.1}), Cut(None)])
def test_quality_is_that_of_the_pixels(run: Run, store: LabelStore, cut: Cut) -> None:
    expected = iou_of(masks_of(store, cut=cut), truth_of(run))
    np.testing.assert_allclose(Masks.of(store, cut).iou(), expected)


def test_counts_of_masks_and_pooled_counts_say_the_same(store: LabelStore) -> None:
    for level in (50, 128, 205):
        pooled = pool_regions(store).iou(np.full(len(CLASSES), level))
        np.testing.assert_allclose(Masks.of(store, Cut(level / 256)).iou(), pooled)


def test_a_band_is_left_undecided_around_the_threshold(store: LabelStore) -> None:
    band = 0.2
    low, high, both = (masks_of(store, cut=cut) for cut in (Cut(0.4), Cut(0.6), Cut(0.5, band=band)))
    for row, mask in both.items():
        np.testing.assert_array_equal(mask > 0, high[row] > 0)
        assert abs(int((mask == 0).sum()) - int((low[row] == 0).sum())) <= 0.02 * mask.size
    assert any((mask == UNKNOWN).any() for mask in both.values())


def test_a_band_beyond_the_peak_keeps_the_peak() -> None:
    level, at = np.array([[200, 250, 254, 255]]), np.full((1, 4), 252)
    kept, open_ = Cut(0.985, band=0.2).decide(level, at)
    assert kept.tolist() == [[False, False, False, True]]
    assert open_.tolist() == [[False, True, True, False]]
    never = Cut(0.5, band=0.2).decide(level, np.full((1, 4), 1 << 16))
    assert not any(part.any() for part in never)


def test_masks_that_are_not_trusted_or_left_out_are_undecided(run: Run, store: LabelStore) -> None:
    everything = masks_of(store, cut=Cut(0.5))
    none = masks_of(store, cut=Cut(0.5), least=1.01)
    without = masks_of(store, cut=Cut(0.5), leave_out=first_sample)
    for row, mask in everything.items():
        np.testing.assert_array_equal(none[row] == UNKNOWN, mask > 0)
        np.testing.assert_array_equal(without[row] == UNKNOWN, (mask > 0) & (row == 0))


def first_sample(run: Run, shard: Shard) -> set[tuple[int, int]]:
    return {(0, class_id) for class_id in range(len(run.classes))} if shard.start == 0 else set()


def test_what_is_kept_changes_its_digest(store: LabelStore) -> None:
    shard = store.done()[0]
    sources = [
        LabelSet(store),
        LabelSet(store, Cut(0.4)),
        LabelSet(store, least=0.2),
        LabelSet(store, leave_out=first_sample),
    ]
    assert len({source.digest(shard) for source in sources}) == len(sources)
    assert LabelSet(store).digest(shard) == LabelSet(store, Cut()).digest(shard)


def test_a_step_makes_of_each_map_what_it_makes_of_it_alone(run: Run) -> None:
    store = made(run, "refined", Labelling("superpixel"))
    label = read_label(run, "refined", 1)
    row = run.read("samples", run.shards[0]).to_pylist()[1]
    view, size = View(row["x0"], row["y0"], row["x1"], row["y1"]), (row["height"], row["width"])
    image = np.asarray(Image.open(next(s.image for s in run.manifest(1, 2))))
    heat = upsample(run.maps(1, 2)[0, :1], view, *size)
    expected = refine(parse_steps("superpixel"), np.clip(heat, 0, 1), image)
    assert label.ranked is not None
    np.testing.assert_array_equal(label.ranked.level, np.clip(expected[0] * 256, 0, 255).astype(np.uint8))
    assert store.record["refine"] == "superpixel"


def test_a_step_that_reads_the_network_is_given_what_it_holds_of_the_image(tmp_path: Path) -> None:
    plan = finished(tmp_path, 4)
    asked = Labelling("affinity", model=plan.task.spec.model)
    store = made(plan.run, "walked", asked)
    plain = made(plan.run, "plain", Labelling())
    assert any((masks_of(store)[row] != masks_of(plain)[row]).any() for row in range(4))
    assert isinstance(label_shard(Task(str(plan.run.path), "walked", asked), plan.run.shards[0]), Finished)


def test_features_lie_where_an_aligned_run_has_its_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lattice = Lattice(first=9.0, step=5.0)
    monkeypatch.setattr("audit.attribution.inside.activations.find_lattice", lambda *_: lattice)
    layers = {}
    for method in ("gradcam", "aligned:gradcam"):
        plan = finished(tmp_path / method, 1, replace(CONFIG, method=method))
        network = network_of(str(plan.run.path), plan.task.spec.model)
        side = network.preprocessing.fit.size
        image = np.random.default_rng(0).integers(256, size=(side, side, 3), dtype=np.uint8)
        layers[method] = network(image)
    for plain, placed in zip(*layers.values(), strict=True):
        np.testing.assert_allclose(placed, lattice.spread(torch.from_numpy(plain), (side, side)), rtol=1e-5, atol=1e-6)
        assert not np.allclose(placed, plain)


def test_maps_of_faint_peaks_count_for_less(run: Run, store: LabelStore) -> None:
    asked = Labelling(evidence=0.5)
    strong = strong_peak(run, asked)
    rows = [row for shard in run.done() for row in run.read("targets", shard).to_pylist() if row["role"] == "label"]
    assert strong == pytest.approx(np.quantile([row["peak"] for row in rows], 0.7))
    LabelStore.make(run, "weighed", asked.record(), lambda: {STRONG: strong})
    for shard in run.done():
        label_shard(Task(str(run.path), "weighed", asked), shard)
    for row in rows:
        plain, weighed = (read_label(run, name, row["sample"]).ranked for name in ("plain", "weighed"))
        assert plain is not None
        assert weighed is not None
        share = min(row["peak"] / strong, 1) ** 0.5
        assert weighed.level.max() == pytest.approx(plain.level.max() * share, abs=1.5)
    assert strong_peak(run, Labelling()) == 0


def test_a_head_is_learnt_from_another_label_set(tmp_path: Path) -> None:
    plan = finished(tmp_path, 6)
    made(plan.run, "seeds", Labelling())
    asked = Labelling("learnt", learn_from=f"{plan.run.path}:seeds", model=plan.task.spec.model)
    store = LabelStore.make(plan.run, "learnt", asked.record())
    learn_head(asked, store.path / HEAD)
    for shard in plan.run.done():
        assert isinstance(label_shard(Task(str(plan.run.path), "learnt", asked), shard), Finished)
    assert any((masks_of(store, cut=Cut(0.3))[row] > 0).any() for row in range(6))
    learn_head(asked, tmp_path / "again.pt")
    first, again = (load_head(path).state_dict() for path in (store.path / HEAD, tmp_path / "again.pt"))
    assert all((first[name] == again[name]).all() for name in first)
    with pytest.raises(RunError, match=r"No label set 'none'"):
        learn_head(replace(asked, learn_from=f"{plan.run.path}:none"), tmp_path / "none.pt")


def test_gone_on_with_and_whole_in_the_end(tmp_path: Path) -> None:
    run = finished(tmp_path, COUNT).run
    none = made(run, "plain", Labelling(), 0)
    for ask in (pool_regions, lambda store: Masks.of(store, Cut())):
        with pytest.raises(RunError, match="has no finished shard; go on with `camaudit labels"):
            ask(none)
    half = made(run, "plain", Labelling(), 1)
    assert account(half) == {"processed": 4, "failed": 0, "pending": 6, "failures": []}
    whole = made(run, "plain", Labelling())
    assert account(whole) == {"processed": COUNT, "failed": 0, "pending": 0, "failures": []}
    files = sorted(path.name for path in whole.path.rglob("*.parquet"))
    assert len(files) == 2 * len(run.shards)


def test_labels_of_a_run_that_grew_are_gone_on_with_by_the_same_rule(tmp_path: Path) -> None:
    plan = planned(tmp_path, COUNT)
    first, *others = plan.run.shards
    audit_shard(plan.task, first)
    asked = Labelling(evidence=0.5)
    begun = LabelStore.make(plan.run, "plain", asked.record(), lambda: {STRONG: strong_peak(plan.run, asked)})
    label_shard(Task(str(plan.run.path), "plain", asked), first)
    for shard in others:
        audit_shard(plan.task, shard)
    gone_on = LabelStore.make(plan.run, "plain", asked.record(), lambda: {STRONG: strong_peak(plan.run, asked)})
    assert gone_on.record == begun.record
    assert [gone_on.is_current(shard) for shard in plan.run.shards] == [True, False, False]
    assert account(gone_on)["pending"] == COUNT - len(first)


def test_labels_of_maps_that_were_made_again_otherwise_are_made_again(tmp_path: Path) -> None:
    run = finished(tmp_path, 4).run
    store, shard = made(run, "plain", Labelling()), run.shards[0]
    targets = run.read("targets", shard).to_pydict()
    put_part(run, "targets", 0, targets | {"probability": [0.25] * len(targets["probability"])})
    assert not store.is_current(shard)
    assert isinstance(label_shard(Task(str(run.path), "plain", Labelling()), shard), Finished)
    assert store.is_current(shard)
    assert store.read("images", shard)["probabilities"].to_pylist()[0] == [0.25]


def test_what_is_trusted_owes_nothing_to_the_true_mask(store: LabelStore) -> None:
    rows = Masks.of(store, Cut(0.5)).rows
    with_map = {(row.sample, row.class_id) for row in rows.itertuples() if not np.isnan(row.confidence)}
    images = [row for shard in store.done() for row in store.read("images", shard).to_pylist()]
    assert with_map == {(row["sample"], class_id) for row in images for class_id in row["class_ids"]}


def test_an_image_that_is_gone_or_another_costs_its_own_sample(tmp_path: Path) -> None:
    run = finished(tmp_path, COUNT).run
    (tmp_path / "000.png").unlink()
    Image.new("RGB", (9, 9)).save(tmp_path / "001.png")
    counted = account(made(run, "plain", Labelling()))
    assert (counted["processed"], counted["failed"]) == (COUNT - 2, 2)
    assert "9" in counted["failures"][1]["reason"]
    assert read_label(run, "plain", 1).mask_at(0.5, (4, 4)) is None


def test_the_threshold_of_other_labels_names_where_it_is_from(run: Run, store: LabelStore) -> None:
    cut = best_cut(store, by_class=True, band=0.1)
    assert cut.origin == f"{run.path}:plain"
    assert cut.band == 0.1
    assert set(cut.by_class) <= set(range(len(CLASSES)))
    others = [Masks.of(store, Cut(threshold)).mean_iou() for threshold in (0.2, 0.4, 0.6, 0.8)]
    assert Masks.of(store, best_cut(store)).mean_iou() >= max(others)


def test_what_is_told_of_quality(store: LabelStore) -> None:
    record = quality_record(store)
    best = max(row["mean_iou"] for row in record["thresholds"][:2])
    assert record["thresholds"][1]["mean_iou"] == best
    assert record["thresholds"][2]["mean_iou"] >= best - 1e-9
    assert [row["class"] for row in record["classes"]] == ["background", *CLASSES]
    assert record["by_trust"][-1]["mean_iou"] == pytest.approx(record["thresholds"][1]["mean_iou"])


def test_without_masks_nothing_is_told_of_quality(tmp_path: Path) -> None:
    plan = planned(tmp_path, 4)
    bare = [replace(sample, mask=None) for sample in plan.run.manifest()]
    Manifest.from_samples(bare, CLASSES, tmp_path).save(tmp_path / "bare.parquet")
    run = prepare(str(tmp_path / "bare.parquet"), str(tmp_path / "bare"), plan.task.spec, plan.task.config)
    audit_here(run)
    store = made(run.run, "plain", Labelling())
    assert quality_record(store) == {"thresholds": [], "classes": [], "by_trust": []}
    with pytest.raises(RunError, match="no masks to choose a threshold by"):
        best_cut(store)


def test_labels_made_otherwise_are_not_mixed(run: Run, store: LabelStore) -> None:
    with pytest.raises(RunError, match=r"was made with refine , now asked for refine pamr; choose another --name"):
        LabelStore.make(run, "plain", Labelling("pamr").record())
    with pytest.raises(RunError, match=r"No label set 'other' in .*, it has plain"):
        LabelStore.open(run, "other")
    with pytest.raises(RunError, match="Expected a name of letters"):
        LabelStore.open(run, "../plain")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    run = finished(tmp_path, 4).run
    store = made(run, "plain", Labelling())
    (part,) = (store.path / "regions").glob("*.parquet")
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)
    with pytest.raises(RunError, match=r"Damaged|Cannot read"):
        pool_regions(store)


def test_masks_are_drawn_in_the_colours_of_their_classes() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    drawn = draw_masks(image, np.array([[0, 1], [2, 0]], np.int16))
    assert drawn[0, 0].tolist() == [50, 50, 50]
    assert drawn[0, 1].tolist() == [114, 50, 50]  # VOC's first class is (128, 0, 0)
    assert drawn[1, 0].tolist() == [50, 114, 50]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--refine", "sharpen"], "Expected --refine to be names of"),
        (["--least", "2"], "Expected --least from 0 to 1"),
        (["--evidence", "-1"], "Expected --evidence of 0 or more"),
        (["--refine", "learnt"], "Expected --learn-from for learnt"),
        (["--roles", "label,other"], "Expected targets among"),
        (["--name", "a/b"], "Expected a name of letters"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_line(
    run: Run,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert camaudit(["labels", str(run.path), *arguments], monkeypatch) != 0
    (said,) = refusals(capsys.readouterr().err)
    assert says in said


def test_a_run_without_a_finished_shard_and_labels_that_are_not_there_are_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(planned(tmp_path, 4).run.path)
    capsys.readouterr()
    out = ["--format", "voc-png", "-o", str(tmp_path / "out"), "--threshold", "0.5"]
    for arguments, says in (
        (["labels", run], "no finished shard to make labels of; finish it with `camaudit run`"),
        (["export", run, "--labels", "labels", *out], "No label set 'labels'"),
        (["metrics", run, "--labels", "labels", "--threshold", "otsu"], "No label set 'labels'"),
    ):
        assert camaudit(arguments, monkeypatch) == 1
        (said,) = refusals(capsys.readouterr().err)
        assert says in said


def test_the_verb_makes_them_over_workers_and_says_how_good_they_are(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def here(_client: object, shards: list[Shard], work: Work, *_more: object, **_how: object) -> None:
        assert all(isinstance(work(shard), Finished) for shard in shards)

    monkeypatch.setattr("pipelines.labels.make.submit_all", here)
    monkeypatch.setattr("pipelines.labels.make.connect", lambda _config: nullcontext())
    assert camaudit(["labels", str(run.path), "--name", "verb", "--refine", "pamr"], monkeypatch) == 0
    printed = capsys.readouterr()
    assert f"{COUNT} label images, 0 failed, 0 pending" in printed.out
    assert "Otsu's of each mask" in printed.out
    assert f"next: camaudit export {run.path} --labels verb" in printed.out
    assert camaudit(["labels", str(run.path), "--name", "verb", "--refine", "pamr", "--json"], monkeypatch) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["processed"] == COUNT
    assert [row["class"] for row in record["classes"]] == ["background", *CLASSES]


def test_a_shard_that_cannot_be_done_stops_with_a_reason(run: Run, store: LabelStore) -> None:
    end = label_shard(Task(str(run.path), "nothing", Labelling()), run.shards[0])
    assert isinstance(end, Stopped)
    assert "No label set 'nothing'" in end.reason
