"""A detector through a whole run: its boxes are targets, and each is scored against its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from second_device import THERE, assert_same_tables, audit_again, on_second_device

from audit.attribution import HiResCAM
from audit.compare.runs import compare_runs
from audit.datasets.manifest import Box, Manifest, Sample
from audit.drawing.targets import read_picture
from audit.errors import AuditError, RunError
from audit.findings import Findings
from audit.findings.judge import flag
from audit.findings.pages.basis import basis_of
from audit.findings.rules import Rules
from audit.images import View, upsample
from audit.interventions.quick import without_background
from audit.interventions.removals import mask_at_input
from audit.models import ModelSpec, load_classifier
from audit.models.aimed.detectors import Detector
from audit.models.device import move
from audit.scores.given.detection_metrics import measure_detections
from audit.scores.given.errors import ERRORS, Truths, judge_boxes
from audit.store import Run
from pipelines.asked import SanityCheck, Trial, Verification
from pipelines.experiments.backgrounds import target_mask
from pipelines.experiments.explain import explain_image
from pipelines.experiments.faithfulness import draw_targets, measure_run
from pipelines.experiments.inputs import asked_of, class_probabilities, read_input
from pipelines.experiments.sanity import check_sanity
from pipelines.experiments.verify import verify_run
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import audit_shard, rescore_shard

MODEL = ModelSpec("tests.support.made_detectors:build")
CLASSES = ("three", "one", "two")
SIDES = (48, 80)


def collection(folder: Path, count: int = 6) -> Path:
    """Noise with rectangles, and the manifest that lists these as boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    samples = []
    for place in range(count):
        pixels = rng.integers(0, 90, (*SIDES, 3), np.uint8)
        boxes = []
        for class_id in rng.integers(0, 3, 2).tolist():
            x, y = int(rng.integers(0, 50)), int(rng.integers(0, 20))
            pixels[y : y + 24, x : x + 28, class_id] = 250
            boxes.append(Box(class_id, x, y, x + 28, y + 24))
        Image.fromarray(pixels).save(folder / f"{place}.png")
        samples.append(
            Sample(str(place), f"{place}.png", tuple(sorted({b.class_id for b in boxes})), boxes=tuple(boxes))
        )
    return Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")


def run_of(folder: Path, **config: object) -> Plan:
    plan = prepare(
        str(collection(folder / "images")), folder / "run", MODEL, RunConfig(shard_size=3, detections=4, **config)
    )  # type: ignore[arg-type]
    for shard in plan.run.shards:
        finished = audit_shard(plan.task, shard)
        assert not hasattr(finished, "reason"), finished
    flag(plan.run, Rules())
    return plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return run_of(tmp_path_factory.mktemp("detectors"))


def table(run: Run, name: str) -> pd.DataFrame:
    return pd.concat([run.read(name, shard).to_pandas() for shard in run.done()], ignore_index=True)


def test_targets_are_the_surest_boxes_of_each_image(plan: Plan) -> None:
    targets, boxes = table(plan.run, "targets"), table(plan.run, "detections")
    assert (targets["role"] == "detected").all()
    assert targets.groupby("sample").size().tolist() == [4] * 6
    found = boxes[boxes["score"].notna()]
    for sample, own in found.groupby("sample"):
        assert own["score"].is_monotonic_decreasing
        first = targets[targets["sample"] == sample]
        assert own["slot"].dropna().tolist() == first["slot"].tolist() == [0, 1, 2, 3]
        assert own["class_id"][:4].tolist() == first["class_id"].tolist()
        np.testing.assert_allclose(own["score"][:4], first["probability"], rtol=1e-4)


def test_boxes_are_torchvisions_in_upright_pixels(plan: Plan) -> None:
    detector = load_classifier(MODEL, classes=CLASSES)
    assert isinstance(detector, Detector)
    boxes = table(plan.run, "detections")
    pixels, view = _seen(detector, plan, 2)
    own = detector.network.network([pixels[0]])[0]
    scale = [(view.x1 - view.x0) / 64, (view.y1 - view.y0) / 64] * 2
    x = own["boxes"][:4].detach().numpy() * scale + [view.x0, view.y0, view.x0, view.y0]
    kept = boxes[(boxes["sample"] == 2) & boxes["slot"].notna()]
    expected = x.clip(0, [SIDES[1], SIDES[0]] * 2)
    np.testing.assert_allclose(kept[["x0", "y0", "x1", "y1"]].to_numpy(), expected, atol=0.01)
    names = ["__background__", "one", "two", "three"]
    assert [CLASSES[class_id] for class_id in kept["class_id"]] == [names[n] for n in own["labels"][:4].tolist()]


def _seen(detector: Detector, plan: Plan, row: int) -> tuple[torch.Tensor, View]:
    fit = detector.preprocessing.fit
    image = np.asarray(Image.open(next(iter(plan.run.manifest(row, row + 1))).image))
    fitted, view = fit(image)
    return detector.preprocessing.normalise(fitted[None]), view


def test_maps_are_those_of_the_method_aimed_at_the_boxes_of_each_image_alone(plan: Plan) -> None:
    detector = load_classifier(MODEL, classes=CLASSES)
    assert isinstance(detector, Detector)
    with HiResCAM(detector) as explain:
        for row in (0, 4):
            images, _ = _seen(detector, plan, row)
            with detector.network.aimed(detector.detect(images).first(4)):
                raw, _ = explain(images, torch.arange(4)[None])
            stored = plan.run.maps(row, row + 1)[0].astype(np.float32)
            peaks = raw[0].amax(dim=(1, 2), keepdim=True)
            there = np.isfinite(stored).all(axis=(1, 2))
            assert there.tolist() == (peaks[:, 0, 0] > 0).tolist()
            assert there.any()
            np.testing.assert_allclose(stored[there], (raw[0] / peaks).numpy()[there], rtol=1e-3, atol=2e-3)


def test_each_target_is_scored_against_its_own_box(plan: Plan) -> None:
    scores, boxes, samples = (table(plan.run, name) for name in ("scores", "detections", "samples"))
    scored = scores[scores["status"] == "scored"]
    wide = (boxes["x1"] - boxes["x0"] > 1) & (boxes["y1"] - boxes["y0"] > 1)
    rows = boxes[boxes["slot"].notna() & wide].merge(scored, on=["sample", "slot"])
    assert len(rows) > 8
    assert (rows["rests_on"] == "detection").all()
    for row in rows.itertuples():
        sample = samples[samples["sample"] == row.sample].iloc[0]
        view = View(sample.x0, sample.y0, sample.x1, sample.y1)
        heat = np.maximum(upsample(plan.run.maps(row.sample, row.sample + 1)[0, int(row.slot)], view, *SIDES), 0)
        inside = np.zeros(SIDES, bool)
        inside[round(row.y0) : round(row.y1), round(row.x0) : round(row.x1)] = True
        assert row.area == pytest.approx(inside.mean(), abs=1e-6)
        assert row.energy == pytest.approx(float(heat[inside].sum() / heat.sum()), abs=1e-4)


def test_kinds_of_error_and_missed_objects_are_those_of_the_manifests_boxes(plan: Plan) -> None:
    boxes = table(plan.run, "detections")
    for row, sample in enumerate(plan.run.manifest()):
        own = boxes[boxes["sample"] == row]
        found, missed = own[own["score"].notna()], own[own["score"].isna()]
        truths = Truths(
            np.array([box.class_id for box in sample.boxes]),
            np.array([(box.x0, box.y0, box.x1, box.y1) for box in sample.boxes]),
        )
        judged = judge_boxes(found[["x0", "y0", "x1", "y1"]].to_numpy(float), found["class_id"].to_numpy(), truths)
        assert found["error"].tolist() == judged.errors.tolist()
        assert set(found["error"]) <= set(ERRORS)
        assert missed["class_id"].tolist() == truths.class_ids[judged.missed].tolist()
        assert (missed["error"] == "missed").all()
        of = [truths.class_ids[place] if place >= 0 else None for place in judged.truth]
        assert [None if np.isnan(true) else true for true in found["true_class"]] == of
        assert missed["true_class"].tolist() == missed["class_id"].tolist()


def test_heat_on_other_objects_is_context_one_of_the_same_class_included(plan: Plan) -> None:
    context, targets = table(plan.run, "context"), table(plan.run, "targets")
    both = context.merge(targets, on=["sample", "slot"], suffixes=("", "_own"))
    assert len(both)
    assert context["class_id"].between(0, 2).all()


def test_scoring_stored_maps_again_gives_the_same_bytes(plan: Plan) -> None:
    run = plan.run
    before = {shard: run.entry(shard)["artefacts"] for shard in run.shards}  # type: ignore[index]
    run = run.begin_scoring()
    for shard in run.shards:
        rescore_shard(run.address, shard)
        assert run.entry(shard)["artefacts"] == before[shard]  # type: ignore[index]
    run.amended(rescoring=False)
    flag(run, Rules())


def test_a_run_goes_on_where_it_was_left_and_gives_the_same_tables(tmp_path: Path, plan: Plan) -> None:
    again = prepare(
        str(collection(tmp_path / "images")), tmp_path / "run", MODEL, RunConfig(shard_size=3, detections=4)
    )
    audit_shard(again.task, again.run.shards[0])
    resumed = prepare(str(tmp_path / "images/manifest.parquet"), tmp_path / "run", MODEL, RunConfig(detections=4))
    assert resumed.resumed
    audit_shard(resumed.task, resumed.run.shards[1])
    for name in ("targets", "detections", "scores", "context", "checks"):
        pd.testing.assert_frame_equal(table(resumed.run, name), table(plan.run, name))


def test_there_are_findings_about_boxes(plan: Plan) -> None:
    found = Findings(Run.open(plan.run.path)).targets().to_pandas()
    assert set(found["role"]) <= {"detected"}
    assert set(found["rests_on"]) <= {"detection"}


def test_the_boxes_that_it_gave_are_what_findings_rest_on(plan: Plan) -> None:
    findings = Findings(Run.open(plan.run.path))
    basis, given = basis_of(findings), (table(plan.run, "targets")["status"] == "ok").sum()
    assert basis is not None
    assert basis.says().startswith(f"the objects are {given} boxes that the network gave; 0 of 6 images have masks, ")
    assert {claim.rests_on for claim in findings.claims()} <= {"detections", "labels", "activations"}


@pytest.mark.parametrize(
    "method", ["gradcam", "layercam", "smoothgrad:gradcam", "saliency", "scorecam", "occlusion", "eigencam"]
)
def test_methods_of_one_pass_and_of_many_explain_boxes(tmp_path: Path, method: str) -> None:
    options = {"smoothgrad:gradcam": (("samples", 2),), "occlusion": (("patch", 0.5), ("stride", 0.5))}.get(method, ())
    run = run_of(tmp_path, method=method, options=options).run
    assert set(table(run, "targets")["status"]) <= {"ok", "no_evidence"}
    assert (table(run, "targets")["status"] == "ok").any()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RunConfig(roles=("label",)), "Expected --targets detected for a detector"),
        (RunConfig(precision="bfloat16"), "Expected --precision float32 for a detector"),
        (RunConfig(method="flip:gradcam"), "leaves an image in its place"),
    ],
)
def test_what_a_detector_cannot_do_is_refused(tmp_path: Path, config: RunConfig, message: str) -> None:
    with pytest.raises(AuditError, match=message):
        prepare(str(collection(tmp_path / "images")), tmp_path / "run", MODEL, config)


def test_boxes_are_not_asked_of_a_classifier(tmp_path: Path) -> None:
    spec = ModelSpec("tests.support.made_detectors:build_classifier", size=32)
    with pytest.raises(RunError, match="Expected a detector for --targets detected"):
        prepare(str(collection(tmp_path / "images")), tmp_path / "run", spec, RunConfig(roles=("detected",)))
    with pytest.raises(ValueError, match="alone"):
        RunConfig(roles=("detected", "label"))


def test_interventions_ask_about_the_same_box_again(plan: Plan) -> None:
    run, detector = Run.open(plan.run.path), load_classifier(MODEL, classes=CLASSES)
    assert isinstance(detector, Detector)
    targets, boxes = table(run, "targets"), table(run, "detections")
    digests = table(run, "samples")["digest"]
    wide = boxes[(boxes["y1"] - boxes["y0"] > 2) & (boxes["x1"] - boxes["x0"] > 2)]
    targets = targets.merge(wide[["sample", "slot"]], on=["sample", "slot"])
    for target in targets[targets["status"] == "ok"].head(5).to_dict("records"):
        entry = read_input(run, detector, target["sample"], digests[target["sample"]])
        about = asked_of(run, target)
        whole, dark = class_probabilities(detector, [entry.image, np.zeros_like(entry.image)], entry.given, about, 2)
        assert whole == pytest.approx(target["probability"], abs=1e-5)
        assert dark != pytest.approx(whole, abs=1e-3)
        mask, object_id = target_mask(run, entry, target)
        assert mask is not None
        own = boxes[(boxes["sample"] == target["sample"]) & (boxes["slot"] == target["slot"])].iloc[0]
        inside = np.argwhere(mask == object_id + 1)
        assert inside.min(axis=0).tolist() == [round(own.y0), round(own.x0)]
        assert (inside.max(axis=0) + 1).tolist() == [round(own.y1), round(own.x1)]


def test_the_surest_box_of_each_image_is_asked_again_without_what_lies_around(plan: Plan) -> None:
    run, detector = plan.run, load_classifier(MODEL, classes=CLASSES)
    targets = table(run, "targets").merge(table(run, "scores"), on=["sample", "slot"], suffixes=("", "_of_scores"))
    sure = targets[(targets["probability"] >= 0.5) & (targets["status_of_scores"] == "scored") & (targets["slot"] == 0)]
    checks = table(run, "checks").set_index(["sample", "slot"])["reliance"]
    assert checks.index.is_monotonic_increasing
    assert len(sure) > 2
    digests = table(run, "samples")["digest"]
    for target in sure.to_dict("records"):
        entry = read_input(run, detector, target["sample"], digests[target["sample"]])
        mask, object_id = target_mask(run, entry, target)
        assert mask is not None
        seen = mask_at_input(mask, entry.view, entry.image.shape[1])
        changed = without_background(entry.image, seen, object_id, np.random.default_rng([target["sample"], 0]))
        assert changed is not None
        (answer,) = class_probabilities(detector, [changed], entry.given, asked_of(run, target), 1)
        lost = 1 - answer / target["probability"]
        assert checks[target["sample"], 0] == pytest.approx(lost, abs=1e-3)


def test_verify_tries_flagged_boxes_and_compares_with_random_weights(plan: Plan) -> None:
    run = Run.open(plan.run.path)
    record = verify_run(run, load_classifier(MODEL, classes=CLASSES), Verification(targets=4))
    assert record["targets"] >= 4
    assert not record["failed"]
    assert record["random_weights"] is not None


def test_a_picture_shows_the_box_of_its_target(plan: Plan) -> None:
    run = Run.open(plan.run.path)
    boxes = table(run, "detections")
    own = boxes[boxes["slot"] == 1].iloc[0]
    sample = run.read("samples", run.shards[0]).to_pylist()[int(own["sample"])]
    picture = read_picture(run, sample, 1, int(own.class_id))
    assert picture.target is not None
    assert picture.target.sum() == (round(own.y1) - round(own.y0)) * (round(own.x1) - round(own.x0))


def test_metrics_tell_precision_and_count_every_box_and_every_object(plan: Plan) -> None:
    run = Run.open(plan.run.path)
    record = measure_detections(run)
    boxes = table(run, "detections")
    assert (record["images"], record["objects"]) == (6, 12)
    counted = [count for kinds in record["errors"].values() for count in kinds.values()]
    assert sum(counted) == len(boxes)
    right, missed = (sum(kinds[name] for kinds in record["errors"].values()) for name in ("right", "missed"))
    assert right + missed == 12
    assert 0 <= record["ap"] <= record["ap50"] <= 1


def test_one_image_is_explained_by_its_surest_box_or_that_of_a_class(plan: Plan, tmp_path: Path) -> None:
    detector = load_classifier(MODEL, classes=CLASSES)
    image = next(iter(plan.run.manifest())).image
    boxes = table(plan.run, "detections")
    own = boxes[boxes["sample"] == 0]
    named, panels = explain_image(image, detector, ["hirescam", "occlusion"], None, tmp_path / "a.png")
    assert named == CLASSES[own["class_id"].iloc[0]]
    assert all(panel.heat is not None for panel in panels)
    stored = plan.run.maps(0, 1)[0, 0].astype(np.float32)
    heat = panels[0].heat
    assert heat is not None
    np.testing.assert_allclose(heat / heat.max(), stored, atol=2e-3)
    other = CLASSES[own["class_id"].unique()[1]]
    assert explain_image(image, detector, ["gradcam"], other, tmp_path / "b.png")[0] == other


def test_sanity_randomises_a_detector_and_asks_about_the_same_boxes(plan: Plan) -> None:
    check = SanityCheck(model=MODEL.model, samples=4, stages=2, batch_size=2)
    record = check_sanity(plan.run.path, check)
    assert record["samples"] == 4
    assert len(record["methods"]["hirescam"]["rank_correlation"]) == 2


def test_pages_say_what_is_wrong_with_each_box(plan: Plan) -> None:
    run = Run.open(plan.run.path)
    index, boxes = Findings(run).index().to_pandas(), table(run, "detections")
    both = index.merge(boxes[["sample", "slot", "error"]], on=["sample", "slot"], suffixes=("", "_told"))
    assert len(both) == len(index) == 24
    assert both["error"].tolist() == both["error_told"].tolist()
    assert both["right"].tolist() == (both["error"] == "right").tolist()


def test_a_run_compared_with_itself_has_not_changed_and_pairs_the_surest_box_of_a_class(plan: Plan) -> None:
    run = Run.open(plan.run.path)
    record = compare_runs(run, run)
    targets = table(run, "targets")
    assert record["targets"]["both"] == len(targets.drop_duplicates(["sample", "class"])) < len(targets)
    assert record["worse"] == []
    assert record["flips"]["worse"] == 0


def test_images_without_a_box_are_processed_and_their_objects_missed(tmp_path: Path) -> None:
    spec = ModelSpec("tests.support.made_detectors:build_silent")
    silent = prepare(str(collection(tmp_path / "images")), tmp_path / "run", spec, RunConfig(detections=2))
    for shard in silent.run.shards:
        audit_shard(silent.task, shard)
    flag(silent.run, Rules())
    assert len(table(silent.run, "targets")) == 0
    boxes = table(silent.run, "detections")
    assert boxes["error"].tolist() == ["missed"] * 12
    assert set(table(silent.run, "samples")["status"]) == {"processed"}
    assert measure_detections(silent.run)["ap"] == 0


def test_a_detector_gives_the_same_on_another_device(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, reads = audit_again(plan, tmp_path / "run", monkeypatch)
    assert_same_tables(plan.run, other)
    assert set(reads) == {"aten.nonzero", "aten._to_copy"}  # of suppression, and one a transfer


def test_what_asks_a_detector_again_says_the_same_on_another_device(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(plan.run.path)
    image = str(next(iter(run.manifest())).image)

    def asked(device: torch.device) -> str:
        detector = load_classifier(MODEL, classes=CLASSES)
        move(detector.module, device)
        check = SanityCheck(model=MODEL.model, samples=1, stages=1, device=str(device))
        heats = [panel.heat for panel in explain_image(image, detector, ("hirescam",), None, tmp_path / "one.png")[1]]
        said = {
            "sanity": check_sanity(run.path, check),
            "verify": verify_run(run, detector, Verification(targets=1)),
            "faithfulness": measure_run(run, detector, Trial(1, steps=2), draw_targets(run, 1, 0)),
            "explain": [heat.tolist() for heat in heats if heat is not None],
        }
        return json.dumps(said)

    here = asked(torch.device("cpu"))
    with on_second_device(monkeypatch):
        assert asked(THERE) == here
