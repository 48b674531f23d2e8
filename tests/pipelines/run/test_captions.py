"""A network of images and texts through a whole run: words of each image's own text are its targets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from second_device import assert_same_tables, audit_again

from audit.datasets.manifest import Box, Manifest, Sample
from audit.errors import ModelError, RunError
from audit.findings import Findings
from audit.findings.judge import flag
from audit.findings.pages.basis import basis_of
from audit.findings.rules import Rules
from audit.models import ModelSpec, load_classifier
from audit.models.aimed.words import WordClassifier
from audit.store import Run
from pipelines.asked import SanityCheck
from pipelines.experiments.explain import explain_image, text_of
from pipelines.experiments.inputs import asked_of, class_probabilities, read_input
from pipelines.experiments.sanity import check_sanity
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Stopped, audit_shard

CLASSES = ("red", "green", "blue square", "bright")
MODEL = ModelSpec("tests.support.made_captioner:build", layer="features", size=64, mode="squash")
TEXTS = (
    ("A red square.", (0,)),
    ("Something bright, and green", (1, 3)),
    ("a Blue square and a red one", (0, 2)),
    ("nothing of the kind", (1,)),
    ("green", (1,)),
    ("bright", (3,)),
)


def collection(folder: Path, texts: bool = True) -> Path:
    """Noise with a square that the first label's boxes show; of the last image no box is known."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, samples = np.random.default_rng(5), []
    for place, (text, labels) in enumerate(TEXTS):
        pixels = rng.integers(0, 90, (48, 80, 3), np.uint8)
        x, y = int(rng.integers(0, 50)), int(rng.integers(0, 20))
        pixels[y : y + 24, x : x + 28, labels[0] % 3] = 250
        Image.fromarray(pixels).save(folder / f"{place}.png")
        boxes = (Box(labels[0], x, y, x + 28, y + 24),) if place < len(TEXTS) - 1 else ()
        said = {"text": text} if texts else {}
        samples.append(Sample(str(place), f"{place}.png", labels, boxes=boxes, attributes=said))
    return Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")


def run_of(folder: Path, **config: Any) -> Plan:
    plan = prepare(
        str(collection(folder / "images")), folder / "run", MODEL, RunConfig(shard_size=4, batch_size=4, **config)
    )
    for shard in plan.run.shards:
        end = audit_shard(plan.task, shard)
        assert not isinstance(end, Stopped), end
    flag(plan.run, Rules())
    return plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return run_of(tmp_path_factory.mktemp("captions"))


def table(run: Run, name: str) -> pd.DataFrame:
    return pd.concat([run.read(name, shard).to_pandas() for shard in run.done()], ignore_index=True)


def test_targets_are_the_labels_that_an_images_text_says(plan: Plan) -> None:
    targets = table(plan.run, "targets")
    assert (targets["role"] == "word").all()
    said = {row: set(own) for row, own in targets.groupby("sample")["class_id"]}
    assert said == {0: {0}, 1: {1, 3}, 2: {0, 2}, 4: {1}, 5: {3}}  # the fourth text says nothing of its label


def test_a_targets_value_is_the_log_probability_of_its_words_and_its_map_autograds(plan: Plan) -> None:
    classifier, targets = load_classifier(MODEL, classes=CLASSES), table(plan.run, "targets")
    assert isinstance(classifier, WordClassifier)
    network = classifier.network.network
    places = {(0, 0): [1], (1, 3): [1], (1, 1): [3], (2, 2): [1, 2], (2, 0): [5], (4, 1): [0], (5, 3): [0]}
    for target in targets.to_dict("records"):
        row, class_id = target["sample"], target["class_id"]
        (sample,) = plan.run.manifest(row, row + 1)
        fitted, _ = classifier.preprocessing.fit(np.asarray(Image.open(sample.image)))
        kept: list[torch.Tensor] = []
        handle = network.features.register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out))
        with torch.enable_grad():
            values = network(classifier.preprocessing.normalise(fitted[None]), [sample.attributes["text"]])
        handle.remove()
        value = values[0, places[row, class_id]].sum()
        assert target["logit"] == pytest.approx(value.item(), abs=1e-5)
        words = [float(values[0, place].detach().exp()) for place in places[row, class_id]]
        assert target["probability"] == pytest.approx(np.prod(words) ** (1 / len(words)), abs=1e-5)
        (slope,) = torch.autograd.grad(value, kept[0])
        raw = torch.relu((slope.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(1))[0].detach().numpy()
        if target["status"] == "ok":
            stored = plan.run.maps(row, row + 1)[0, target["slot"]].astype(np.float32)
            np.testing.assert_allclose(stored, raw / raw.max(), atol=2e-3)
        else:
            assert raw.max() == 0
    assert (targets["status"] == "ok").any()


def test_words_are_scored_against_the_boxes_of_their_phrase_where_these_are_known(plan: Plan) -> None:
    scores = table(plan.run, "scores").merge(table(plan.run, "targets"), on=["sample", "slot"])
    known = scores[scores["status_y"] == "ok"].set_index(["sample", "class_id"])["status_x"].to_dict()
    first = {row: labels[0] for row, (_, labels) in enumerate(TEXTS)}
    for (row, class_id), status in known.items():
        expected = "no_mask" if row == 5 else "scored" if class_id == first[row] else "absent"
        assert status == expected, (row, class_id)
    findings = Findings(plan.run)
    assert findings.current
    basis = basis_of(findings)
    assert basis is not None
    boxed = sum(status == "scored" for status in known.values())
    assert basis.says().startswith(f"0 of {len(known)} phrases have masks, {boxed} boxes alone; ")


def test_interventions_ask_about_the_same_words_again(plan: Plan) -> None:
    classifier, samples = load_classifier(MODEL, classes=CLASSES), table(plan.run, "samples").set_index("sample")
    for target in table(plan.run, "targets").to_dict("records"):
        entry = read_input(plan.run, classifier, target["sample"], samples.loc[target["sample"], "digest"])
        (same,) = class_probabilities(classifier, [entry.image], entry.given, asked_of(plan.run, target), 2)
        assert same == pytest.approx(target["probability"], abs=1e-5)


def test_one_image_is_explained_by_the_likeliest_phrase_of_its_text(plan: Plan, tmp_path: Path) -> None:
    classifier, targets = load_classifier(MODEL, classes=CLASSES), table(plan.run, "targets")
    for row in (0, 1, 2):
        image, own = str(next(iter(plan.run.manifest(row, row + 1))).image), targets[targets["sample"] == row]
        named, panels = explain_image(image, classifier, ["gradcam"], None, tmp_path / "a.png", text=TEXTS[row][0])
        best = own.loc[own["probability"].idxmax()]
        said = {name for place, name in enumerate(CLASSES) if classifier.span(place, TEXTS[row][0])}
        assert named in said
        if set(own["class"]) == said:
            assert named == best["class"]
            stored = plan.run.maps(row, row + 1)[0, best["slot"]].astype(np.float32)
            heat = panels[0].heat
            assert heat is not None
            np.testing.assert_allclose(heat / heat.max() if heat.max() > 0 else heat, np.nan_to_num(stored), atol=2e-3)


def test_a_runs_image_brings_its_text_along_and_without_one_a_line_says_so(plan: Plan, tmp_path: Path) -> None:
    image, classifier = str(next(iter(plan.run.manifest(0, 1))).image), load_classifier(MODEL, classes=CLASSES)
    assert text_of(plan.run, image) == text_of(plan.run, "0") == TEXTS[0][0]
    assert text_of(plan.run, "elsewhere.png") is None
    ask = partial(explain_image, image, classifier, ["gradcam"])
    with pytest.raises(
        ModelError, match=r"Expected the image's text for a network that reads one, got none; give it w"
    ):
        ask(None, tmp_path / "a.png")
    with pytest.raises(ModelError, match=r"Expected a text that says a word or phrase among .*, got 'nothing'"):
        ask(None, tmp_path / "a.png", text="nothing")
    with pytest.raises(ModelError, match=r"Expected a text that says green, got 'a red square'"):
        ask("green", tmp_path / "a.png", text="a red square")


def test_sanity_asks_about_the_words_of_each_images_text(plan: Plan) -> None:
    record = check_sanity(plan.run.path, SanityCheck(model=MODEL.model, samples=4, stages=2))
    assert set(record["methods"]) == {"gradcam"}
    assert np.isfinite(record["methods"]["gradcam"]["rank_correlation"]).all()


def test_a_method_of_many_passes_explains_each_images_own_words(tmp_path: Path) -> None:
    made = run_of(tmp_path, method="rise", options=(("masks", 8),))
    assert set(table(made.run, "targets")["status"]) <= {"ok", "no_evidence"}


def test_the_layer_that_a_run_keeps_is_found_again(plan: Plan) -> None:
    kept = plan.run.record["model"]["layer"]
    assert load_classifier(replace(MODEL, layer=kept), classes=CLASSES).layer == kept == "network.features"


def test_a_collection_without_texts_is_refused(tmp_path: Path) -> None:
    manifest = str(collection(tmp_path / "images", texts=False))
    with pytest.raises(RunError, match=r"Expected a column 'text' in .* for a network of images and texts, found none"):
        prepare(manifest, tmp_path / "run", MODEL, RunConfig())


def test_a_network_without_a_value_for_each_word_is_refused() -> None:
    with pytest.raises(ModelError, match=r"to give a value for each of 4 words, \(1, 4\), got \(1, 1\)"):
        load_classifier(ModelSpec("tests.support.made_captioner:build_wrong", size=64), classes=CLASSES)


def test_a_network_that_reads_texts_gives_the_same_on_another_device(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, reads = audit_again(plan, tmp_path / "run", monkeypatch)
    assert_same_tables(plan.run, other)
    assert reads == ["aten._to_copy"] * len(plan.run.shards)  # a batch each
