"""A network that segments through a whole run: its regions are targets, and each is scored against its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from second_device import assert_same_tables, audit_again

from audit.attribution import GradCAM, make_method
from audit.attribution.asked import explain_asked, surest
from audit.datasets.manifest import Manifest, Sample
from audit.errors import ModelError, RunError
from audit.findings import Findings
from audit.findings.judge import flag
from audit.findings.pages.basis import basis_of
from audit.findings.rules import Rules
from audit.models import ModelSpec, load_classifier
from audit.models.aimed.kind import refuse_aimed
from audit.models.aimed.regions import RegionClassifier, largest, logits_of
from audit.scores.given.segmented import Segmented, regions_of
from audit.store import Run
from pipelines.experiments.backgrounds import target_mask
from pipelines.experiments.inputs import asked_of, class_probabilities, read_input
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Stopped, audit_shard, rescore_shard

CLASSES = ("three", "one", "two")
SIZE = 64
FAMILIES = ("fcn", "deeplab", "lraspp", "plain")


def spec_of(family: str = "fcn") -> ModelSpec:
    return ModelSpec(f"tests.support.made_segmenters:{family}", size=SIZE, mode="letterbox")


def collection(folder: Path, count: int = 6) -> Path:
    """Noise with rectangles, which the masks show."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, samples = np.random.default_rng(5), []
    for place in range(count):
        pixels, mask = rng.integers(0, 90, (48, 80, 3), np.uint8), np.zeros((48, 80), np.uint8)
        x, y, class_id = int(rng.integers(0, 50)), int(rng.integers(0, 20)), int(rng.integers(0, 3))
        pixels[y : y + 24, x : x + 28, class_id] = 250
        mask[y : y + 24, x : x + 28] = class_id + 1
        Image.fromarray(pixels).save(folder / f"{place}.png")
        Image.fromarray(mask).save(folder / f"{place}-mask.png")
        samples.append(Sample(str(place), f"{place}.png", (class_id,), f"{place}-mask.png"))
    return Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")


def run_of(folder: Path, family: str = "fcn", **config: Any) -> Plan:
    manifest = str(collection(folder / "images"))
    plan = prepare(manifest, folder / "run", spec_of(family), RunConfig(shard_size=3, detections=3, **config))
    for shard in plan.run.shards:
        end = audit_shard(plan.task, shard)
        assert not isinstance(end, Stopped), end
    flag(plan.run, Rules())
    return plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return run_of(tmp_path_factory.mktemp("segmenters"))


def classifier_of(family: str = "fcn") -> RegionClassifier:
    classifier = load_classifier(spec_of(family), classes=CLASSES)
    assert isinstance(classifier, RegionClassifier)
    return classifier


def table(run: Run, name: str) -> pd.DataFrame:
    return pd.concat([run.read(name, shard).to_pandas() for shard in run.done()], ignore_index=True)


def seen(classifier: RegionClassifier, plan: Plan, row: int) -> tuple[torch.Tensor, Any]:
    (sample,) = plan.run.manifest(row, row + 1)
    fitted, view = classifier.preprocessing.fit(np.asarray(Image.open(sample.image)))
    return classifier.preprocessing.normalise(fitted[None]), view


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regions_logit_is_the_mean_over_it_and_its_gradient_is_autograds(family: str) -> None:
    classifier = classifier_of(family)
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    kept: list[torch.Tensor] = []
    handle = classifier.target_layer.register_forward_hook(lambda _m, _i, out: kept.append(out))
    with torch.enable_grad():
        logits = logits_of(classifier.network.network(images.clone().requires_grad_()))
    handle.remove()
    category = {"three": 3, "one": 1, "two": 2}
    outputs = classifier.module(images)
    values, probabilities = classifier.class_logits(outputs), classifier.probabilities(outputs)
    highest, softmax = logits.argmax(1), logits.softmax(1)
    ids = largest(classifier.network.segment(images), 3)
    with GradCAM(classifier) as explain, classifier.network.aimed(classifier.network.segment(images)):
        maps, _ = explain(images, ids)
    compared = 0
    for image in range(2):
        for slot, class_id in enumerate(ids[image].tolist()):
            if class_id < 0:
                continue
            place = category[CLASSES[class_id]]
            region = highest[image] == place
            torch.testing.assert_close(values[image, class_id], logits[image, place][region].mean())
            torch.testing.assert_close(probabilities[image, class_id], softmax[image, place][region].mean())
            (slope,) = torch.autograd.grad(logits[image, place][region].mean(), kept[0], retain_graph=True)
            weights = slope[image].mean(dim=(1, 2), keepdim=True)
            expected = torch.relu((weights * kept[0][image]).sum(0)).detach()
            torch.testing.assert_close(maps[image, slot], expected, rtol=1e-3, atol=1e-6)
            compared += 1
    assert compared >= 2


def test_a_segformer_of_a_folder_is_one(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `huggingface` is not installed")
    sizes = {"hidden_sizes": [8, 8, 8, 8], "num_attention_heads": [1, 1, 1, 1], "depths": [1, 1, 1, 1]}
    labels = dict(enumerate(("background", *CLASSES)))
    config = transformers.SegformerConfig(**sizes, decoder_hidden_size=8, id2label=labels)
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    transformers.SegformerImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(tmp_path)
    classifier = load_classifier(f"hf:{tmp_path}", classes=CLASSES)
    assert isinstance(classifier, RegionClassifier)
    assert classifier.mapping.outputs == ((1,), (2,), (3,))
    assert (classifier.preprocessing.fit.size, classifier.preprocessing.fit.mode) == (SIZE, "squash")
    images = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    expected = classifier.network.network.network(pixel_values=images).logits.argmax(1) - 1
    torch.testing.assert_close(classifier.network.segment(images), expected)
    with GradCAM(classifier) as explain:
        assert explain.grid == (2, 2)  # of the last of four stages


@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_torchvisions_are_found_by_name_and_explained_in_the_backbone(name: str) -> None:
    classifier = load_classifier(f"torchvision:{name}", "random:0", classes="voc", size=SIZE)
    assert isinstance(classifier, RegionClassifier)
    assert "backbone" in classifier.layer
    assert classifier.mapping.outputs[0] == (1,)  # the background is the first
    assert classifier.preprocessing.fit.mode == "letterbox"


def test_targets_are_the_largest_regions_of_each_image(plan: Plan) -> None:
    targets = table(plan.run, "targets")
    assert (targets["role"] == "segmented").all()
    assert len(targets) >= 6
    classifier = classifier_of()
    for row, own in targets.groupby("sample"):
        images, _ = seen(classifier, plan, int(row))
        labels = classifier.network.segment(images)[0].numpy()
        sizes = [int((labels == class_id).sum()) for class_id in own["class_id"]]
        assert sizes == sorted(sizes, reverse=True)
        assert min(sizes) >= 1e-3 * labels.size
        kept = regions_of(plan.run, int(row))
        assert kept is not None
        np.testing.assert_array_equal(kept.labels, labels)


def test_each_target_is_scored_against_its_own_region(plan: Plan) -> None:
    scores = table(plan.run, "scores").merge(table(plan.run, "targets"), on=["sample", "slot"])
    scored = scores[scores["status_x"] == "scored"]
    assert len(scored)
    assert (scored["rests_on"] == "region").all()
    for row in scored.itertuples():
        regions = regions_of(plan.run, row.sample)
        assert regions is not None
        assert row.area == pytest.approx((regions.upright == row.class_id).mean(), abs=1e-6)


def test_an_upright_pixel_has_the_class_of_the_place_that_it_lies_in() -> None:
    from audit.images import View

    labels = np.array([[0, 1], [-1, 2]], np.int32)
    regions = Segmented(labels, View(-2.0, 0.0, 6.0, 8.0), (8, 5))
    for y in range(8):
        for x in range(5):
            row, column = int((y + 0.5) / 8 * 2), int((x + 0.5 + 2) / 8 * 2)
            assert regions.upright[y, x] == labels[row, column]
    again = Segmented.of(regions.png(), regions.view, regions.size)
    np.testing.assert_array_equal(again.labels, labels)


def test_scores_formed_again_are_the_same(tmp_path: Path) -> None:
    made = run_of(tmp_path)
    before = table(made.run, "scores")
    run = made.run.begin_scoring()
    for shard in run.shards:
        assert not isinstance(rescore_shard(str(run.path), shard), Stopped)
    pd.testing.assert_frame_equal(table(run, "scores"), before)


def test_interventions_ask_about_the_same_region_again(plan: Plan) -> None:
    classifier, targets = classifier_of(), table(plan.run, "targets")
    samples = table(plan.run, "samples").set_index("sample")
    for target in targets.to_dict("records"):
        entry = read_input(plan.run, classifier, target["sample"], samples.loc[target["sample"], "digest"])
        asked = asked_of(plan.run, target)
        (same,) = class_probabilities(classifier, [entry.image], entry.given, asked, 2)
        assert same == pytest.approx(target["probability"], abs=1e-5)
        mask, object_id = target_mask(plan.run, entry, target)
        assert mask is not None
        regions = regions_of(plan.run, target["sample"])
        assert regions is not None
        np.testing.assert_array_equal(mask == object_id + 1, regions.upright == target["class_id"])


def test_findings_and_claims_are_made(plan: Plan) -> None:
    findings = Findings(plan.run)
    assert findings.current
    assert (findings.summary() or {})["scores"]
    basis, regions = basis_of(findings), (table(plan.run, "targets")["status"] == "ok").sum()
    assert basis is not None
    assert basis.says().startswith(f"the objects are {regions} regions that the network gave; 6 of 6 images have masks")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"roles": ("detected",)}, "Expected --targets segmented for a network that segments, got detected"),
        ({"precision": "bfloat16"}, "Expected --precision float32 for a network that segments"),
    ],
)
def test_what_such_a_network_has_not_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RunError, match=says):
        prepare(str(collection(tmp_path / "images")), tmp_path / "run", spec_of(), RunConfig(**changes))


def test_a_method_that_moves_the_image_is_refused() -> None:
    with pytest.raises(ModelError, match="leaves an image in its place for a network that segments, got flip"):
        make_method("flip:gradcam", classifier_of())


def test_the_largest_region_is_explained_where_nothing_else_is_asked(plan: Plan) -> None:
    classifier = classifier_of()
    images, _ = seen(classifier, plan, 0)
    (asked,) = surest(classifier, images)
    assert asked is not None
    assert asked.class_id == int(largest(classifier.network.segment(images), 1))
    with make_method("hirescam", classifier) as explain:
        kept = plan.run.maps(0, 1)[0, 0].astype(np.float32)
        raw = explain_asked(explain, images, [asked])[0, 0].numpy()
    np.testing.assert_allclose(raw / raw.max(), kept, atol=2e-3)


def test_the_layer_that_a_run_keeps_is_found_again(plan: Plan) -> None:
    kept = plan.run.record["model"]["layer"]
    for layer in (kept, kept.removeprefix("network.")):
        again = load_classifier(replace(spec_of(), layer=layer), classes=CLASSES)
        assert again.layer == kept


def test_what_asks_about_images_as_a_whole_refuses_such_a_network() -> None:
    with pytest.raises(ModelError, match="whose images have classes as a whole, got a network that segments"):
        refuse_aimed(classifier_of())


def test_a_method_of_many_passes_explains_each_images_own_regions(tmp_path: Path) -> None:
    made = run_of(tmp_path, "plain", method="rise", options=(("masks", 8),))
    assert set(table(made.run, "targets")["status"]) <= {"ok", "no_evidence"}


def test_a_network_that_segments_gives_the_same_on_another_device(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, reads = audit_again(plan, tmp_path / "run", monkeypatch)
    assert_same_tables(plan.run, other)
    assert reads.count("aten._local_scalar_dense") == len(plan.run.shards)  # how many classes have regions
    assert reads.count("aten._to_copy") == len(reads) - len(plan.run.shards)
