"""Measures of a whole run: pixels pooled against loops, ranks against scikit-learn, and the numbers of a small run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from small_run import make_run
from typer.testing import CliRunner

from audit.datasets.manifest import Box, Sample
from audit.datasets.objects import Objects
from audit.errors import RunError
from audit.findings import Findings
from audit.scores import pixel_average_precision, relevance_rank_accuracy
from audit.scores.metrics.agreement import Agreement
from audit.scores.metrics.from_scores import FromScores
from audit.scores.metrics.registry import measure_run, true_boxes
from audit.segmentation import ThresholdedRun
from audit.store import Run
from pipelines.cli import app

CLASSES = ("a", "b", "c")


def masks(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.int16]:
    return rng.choice(np.array([-1, 0, 0, 1, 2], np.int16), size)


def test_mean_iou_is_that_of_one_confusion_matrix_over_all_images(rng: np.random.Generator) -> None:
    agreement, matrix = Agreement.none(3), np.zeros((4, 5), int)
    for size in ((8, 9), (11, 5)):
        said, true = masks(rng, size), masks(rng, size)
        agreement.add(said, true)
        for s, t in zip(said.ravel(), true.ravel(), strict=True):
            if t >= 0:
                matrix[t, s] += 1  # unknown is the last column
    result = agreement.result(CLASSES)
    for row, found in enumerate(result["classes"]):
        union = matrix[row].sum() + matrix[:, row].sum() - matrix[row, row]
        assert found["iou"] == (pytest.approx(matrix[row, row] / union) if union else None)
    known = [row["iou"] for row in result["classes"] if row["iou"] is not None]
    assert len(known) == 3
    assert result["mean_iou"] == pytest.approx(np.mean(known))
    assert result["classes"][3] == {"class": "c", "iou": None, "boundary_iou": None, "boundary_f": None, "images": 0}


def test_outlines_are_pooled_for_iou_and_averaged_over_images_for_f() -> None:
    true = np.zeros((2, 30, 30), np.int16)
    true[:, 5:15, 5:15] = 1
    said = true.copy()
    said[1] = 0
    agreement = Agreement.none(1)
    for image in range(2):
        agreement.add(said[image], true[image])
    (_, row) = agreement.result(("a",))["classes"]
    assert row["boundary_iou"] == pytest.approx(0.5)
    assert row["boundary_f"] == pytest.approx(0.5)
    assert row["images"] == 2


def test_agreements_of_shards_add_up_to_that_of_the_whole(rng: np.random.Generator) -> None:
    whole, halves = Agreement.none(3), [Agreement.none(3), Agreement.none(3)]
    for place in range(4):
        said, true = masks(rng, (9, 9)), masks(rng, (9, 9))
        whole.add(said, true)
        halves[place % 2].add(said, true)
    halves[0].merge(halves[1])
    assert halves[0].result(CLASSES) == whole.result(CLASSES)


def drawn_levels(rng: np.random.Generator, levels: int = 256) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    drawn = (rng.integers(0, levels, (3, 20, 20)) * (255 // (levels - 1))).astype(np.uint8)
    return drawn, (rng.random((3, 20, 20)) * 255 + drawn / 2) > 200


def counted(levels: NDArray[np.uint8], objects: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels [K, 256] of each level on and off the objects."""
    pairs = [
        [np.bincount(level[chosen], minlength=256) for chosen in (on, ~on)]
        for level, on in zip(levels, objects, strict=True)
    ]
    inside, outside = np.array(pairs).transpose(1, 0, 2)
    return inside, outside


def test_px_ap_is_scikit_learns_average_precision_of_all_pixels(rng: np.random.Generator) -> None:
    levels, objects = drawn_levels(rng)
    inside, outside = counted(levels, objects)
    found = pixel_average_precision(inside.sum(axis=0), outside.sum(axis=0))
    assert found == pytest.approx(average_precision_score(objects.ravel(), levels.ravel()))
    assert np.isnan(pixel_average_precision(np.zeros(256, int), outside.sum(axis=0)))


@pytest.mark.parametrize("steps", [256, 6, 2])
def test_rank_accuracy_is_the_mean_over_orders_in_which_equal_pixels_may_come(
    steps: int, rng: np.random.Generator
) -> None:
    levels, objects = drawn_levels(rng, steps)
    found = relevance_rank_accuracy(*counted(levels, objects))
    for place in range(3):
        size, shares = int(objects[place].sum()), []
        for _ in range(2000):
            order = np.lexsort((rng.random(400), -levels[place].ravel().astype(int)))
            shares.append(objects[place].ravel()[order[:size]].mean())
        assert found[place] == pytest.approx(np.mean(shares), abs=0.005)
    assert np.isnan(relevance_rank_accuracy(np.zeros((1, 256), int), np.ones((1, 256), int)))[0]


def test_256_levels_leave_rank_accuracy_as_that_of_the_map_itself(rng: np.random.Generator) -> None:
    from scipy.ndimage import gaussian_filter

    from audit.scores.histograms import quantise

    for _ in range(5):
        heat = gaussian_filter(rng.random((60, 80)), 6).astype(np.float32)
        heat = (heat - heat.min()) / np.ptp(heat)
        objects = gaussian_filter(rng.random((60, 80)), 6) + heat / 10 > 0.55
        exact = objects.ravel()[np.argsort(-heat.ravel())[: objects.sum()]].mean()
        counts = counted(quantise(heat)[None], objects[None])
        assert relevance_rank_accuracy(*counts)[0] == pytest.approx(exact, abs=0.01)


def test_the_difficult_are_small_objects_beside_another_class(rng: np.random.Generator) -> None:
    count = 60
    hits = rng.choice(np.array([True, False, None], object), count)
    scores: dict[str, Any] = {
        "inside": np.ones(count * 256, int),
        "outside": np.ones(count * 256, int),
        "rests_on": np.full(count, "mask", object),
        "area": rng.choice([0.1, 0.2499, 0.25, 0.6], count),
        "energy": rng.random(count),
        "class_id": rng.integers(0, 3, count),
    } | dict.fromkeys(("hit", "hit_15px", "centre_hit", "centre_hit_15px"), hits)
    distracted = rng.random(count) < 0.5
    gathered = FromScores()
    for part in (np.arange(count) < 20, np.arange(count) >= 20):
        one = {
            name: v.reshape(count, -1)[part].squeeze() if name[-4:] == "side" else v[part] for name, v in scores.items()
        }
        gathered.add(one, distracted[part], 3)
    pointing = gathered.result()["pointing"]
    for which in ("all", "difficult"):
        rates, tries = [], 0
        for class_id in range(3):
            own = [
                bool(hits[i])
                for i in range(count)
                if scores["class_id"][i] == class_id
                and hits[i] is not None
                and (which == "all" or (scores["area"][i] < 0.25 and distracted[i]))
            ]
            rates += [sum(own) / len(own)] if own else []
            tries += len(own)
        assert pointing[which]["hit_15px"]["mean_accuracy"] == pytest.approx(np.mean(rates))
        assert pointing[which]["hit"]["targets"] == tries
    assert pointing["difficult"]["hit"]["targets"] < pointing["all"]["hit"]["targets"]


def test_boxes_are_the_manifests_or_else_around_the_mask() -> None:
    mask = np.zeros((9, 9), np.int16)
    mask[2:4, 3:8] = 1
    boxes = (Box(0, 1.0, 1.0, 5.0, 5.0), Box(1, 0.0, 0.0, 2.0, 2.0), Box(0, float("nan"), 0.0, 1.0, 1.0))
    assert true_boxes(Sample("a", "a.png", boxes=boxes), Objects(mask), 0, 2).tolist() == [[1, 1, 5, 5]]
    assert true_boxes(Sample("a", "a.png"), Objects(mask), 0, 2).tolist() == [[3, 2, 8, 4]]
    assert len(true_boxes(Sample("a", "a.png"), Objects(mask), 1, 2)) == 0
    assert len(true_boxes(Sample("a", "a.png"), Objects(), 0, 2)) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run.open(make_run(tmp_path_factory.mktemp("small")))


def test_a_runs_measures_agree_with_its_summary_and_its_scores(run: Run) -> None:
    summary = Findings(run).summary()
    assert summary is not None
    record = measure_run(ThresholdedRun(run, summary["threshold"]))
    assert record["segmentation"]["images"] == 5
    assert record["segmentation"]["mean_iou"] == pytest.approx(summary["mean_iou"], abs=1e-6)
    energies = [row["energy"] for shard in run.done() for row in run.read("scores", shard).to_pylist()]
    assert record["relevance"]["mass_accuracy"] == pytest.approx(np.mean(energies), abs=1e-6)
    assert record["pointing"]["all"]["hit"] == {"targets": 5, "accuracy": 2 / 5, "mean_accuracy": pytest.approx(5 / 12)}
    assert record["pointing"]["difficult"]["hit"]["targets"] == 0  # no image shows another class
    assert record["boxes"]["targets"] == 5
    # A cell of 8 pixels is lit at a corner of an object of 16: its box overlaps by 0.36 at 0.15, by 0.39 at the most.
    assert record["boxes"]["top1_error"] == record["boxes"]["top5_error"] == 1
    assert record["boxes"]["max_box_acc"] == 0
    assert record["boxes"]["max_box_acc_v2"] == pytest.approx(2 / 5 / 3)


def test_energy_is_relevance_mass_accuracy(rng: np.random.Generator) -> None:
    from audit.scores.localization import energy_inside

    heat, objects = rng.random((2, 7, 9)).astype(np.float32), rng.random((2, 7, 9)) < 0.4
    everywhere = np.ones((7, 9), bool)
    for found, own, on in zip(energy_inside(heat, objects, everywhere), heat, objects, strict=True):
        assert found == pytest.approx(own[on].sum() / own.sum(), rel=1e-5)
        assert found == pytest.approx(oracles.energy(own, on.astype(float), everywhere.astype(float)), rel=1e-5)


@pytest.mark.parametrize("state", [{"masks": False}, {"scored": False}, {"readable": 0}, {"shards": 1}])
def test_a_run_of_which_less_is_known_is_measured_as_far_as_that_goes(state: dict[str, Any], tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path, flagged=False, **state))
    record = measure_run(ThresholdedRun(run, 0.5))
    json.dumps(record, allow_nan=False)
    expected = {"masks": 0, "scored": 5, "readable": 0, "shards": 2}[next(iter(state))]
    assert record["segmentation"]["images"] == record["boxes"]["targets"] == expected
    shown = CliRunner().invoke(app, ["metrics", str(run.path), "--threshold", "0.5"])
    assert shown.exit_code == 0, shown.output


def test_a_run_without_a_finished_shard_is_refused_in_one_line(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path, shards=0, flagged=False))
    with pytest.raises(RunError, match="has no finished shard to measure; finish it with `camaudit run`"):
        measure_run(ThresholdedRun(run, 0.5))


def test_the_verb_prints_a_table_and_json(run: Run) -> None:
    table = CliRunner().invoke(app, ["metrics", str(run.path)], env={"COLUMNS": "200"})
    assert table.exit_code == 0, table.output
    for name in ("boundary IoU", "MaxBoxAccV2", "PxAP", "top-5 localization error", "relevance rank accuracy"):
        assert name in table.output
    printed = CliRunner().invoke(app, ["metrics", str(run.path), "--json"])
    record = json.loads(printed.output)
    assert record.keys() == {"labels", "segmentation", "boxes", "pixels", "relevance", "pointing"}
