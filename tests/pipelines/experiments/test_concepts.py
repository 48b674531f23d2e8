"""Concepts of a network that is known: one channel each for white, red and stripes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from drawn_concepts import drawn
from faults.collection import camaudit, paint
from PIL import Image
from rewritten import put_part
from scipy.optimize import nnls
from second_device import THERE, on_second_device
from test_verify import CLASSES, EACH, audited, classifier_of
from tiny_clip import save_clip

from audit.concepts.chosen import targets_of_class
from audit.concepts.kept import About, Concepts, hex_maps
from audit.concepts.patches import PatchReader
from audit.concepts.shown import concept_tiles
from audit.errors import ImageError, ModelError, RunError
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.images import decode_image
from audit.models import Classifier
from audit.models.device import move
from audit.store import Run
from pipelines.asked import ConceptSearch
from pipelines.experiments import words
from pipelines.experiments.concepts import find_concepts
from pipelines.experiments.in_layer import class_weights, logits_without
from pipelines.experiments.inputs import read_input
from pipelines.experiments.kept_concepts import keep_concepts, name_concepts
from pipelines.experiments.words import Namer
from pipelines.run.plan import Plan

STAMPED = CLASSES.index("stamped")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = audited(tmp_path_factory.mktemp("known"))
    flag(plan.run, Rules())
    return plan


def test_the_concept_of_a_stamp_is_its_channel_and_lies_where_the_stamp_is(plan: Plan) -> None:
    targets = targets_of_class(Findings(plan.run), STAMPED)
    found = find_concepts(plan.run, classifier_of(plan), targets, ConceptSearch(1))
    (concept,) = found.concepts
    assert (found.images, len(targets), len(concept.targets)) == (EACH, EACH, EACH)
    # The stamp has edges, which the channel of stripes answers to as well; nothing there is red.
    white, red, stripes = concept.direction
    assert white > stripes > red == 0
    assert min(concept.cosine) > 0.999
    for _, _, cell in concept.targets:
        assert np.divmod(cell, 12) >= (9, 9)  # of 12 x 12 cells; the stamp lies in the last ones but one


def test_what_a_concept_is_worth_is_what_the_logit_loses_without_it(plan: Plan) -> None:
    run, classifier = plan.run, classifier_of(plan)
    targets = targets_of_class(Findings(run), STAMPED)
    found = find_concepts(run, classifier, targets, ConceptSearch(1))
    direction, falls, logits = found.concepts[0].direction, [], []
    for row in targets.itertuples():
        image = torch.from_numpy(read_input(run, classifier, row.sample, row.digest).image)[None]
        with torch.no_grad():
            held = classifier.module.trunk(image)
            less = held.clone()
            for y, x in zip(*np.nonzero(run.maps(row.sample, row.sample + 1)[0, row.slot] > 0), strict=True):
                amount, _ = nnls(direction[:, None], held[0, :, y, x].double().numpy())
                less[0, :, y, x] -= torch.from_numpy(amount * direction).float()
            before, after = (float(classifier.module.head(each.mean(dim=(2, 3)))[0, STAMPED]) for each in (held, less))
        falls.append(before - after)
        logits.append(before)
    assert found.concepts[0].worth == pytest.approx(np.mean(falls), rel=1e-4)
    assert found.logit == pytest.approx(np.mean(logits), rel=1e-4)


def test_no_more_images_are_read_than_asked_and_one_of_a_unit(plan: Plan) -> None:
    targets = targets_of_class(Findings(plan.run), STAMPED)
    few = find_concepts(plan.run, classifier_of(plan), targets, ConceptSearch(1, images=4))
    assert (few.images, list(few.concepts[0].cosine)) == (4, [])  # too few to say whether it comes back
    same = targets.assign(unit=0)
    assert find_concepts(plan.run, classifier_of(plan), same, ConceptSearch(1)).images == 1


def test_a_class_without_a_map_and_images_that_have_changed_are_told_in_a_line(tmp_path: Path) -> None:
    plan = audited(tmp_path)
    findings = Findings(plan.run)
    targets = targets_of_class(findings, STAMPED)
    for row in range(EACH * len(CLASSES)):
        paint(tmp_path / f"{row}.png", (9, 9, 9))
    with pytest.raises(RunError, match=r"None of the images drawn from .* can be read as it was"):
        find_concepts(plan.run, classifier_of(plan), targets, ConceptSearch(1))
    with pytest.raises(ValueError, match="concepts"):
        ConceptSearch(0)


def test_units_of_a_class_are_told_and_drawn(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(plan.run.path)
    assert camaudit(["units", path, "--class", "stamped", "--json"], monkeypatch) == 0
    (told,) = json.loads(capsys.readouterr().out)["classes"]
    assert [row["channel"] for row in told["channels"]] == [0]
    assert told["channels"][0]["share"] == pytest.approx(1)
    assert Image.open(told["sheet"]).size[0] > 200
    model = plan.task.spec.model
    again = ["units", path, "--class", "stamped", "--concepts", "1", "--model", model, "--device", "cpu", "--json"]
    assert camaudit(again, monkeypatch) == 0
    (found,) = json.loads(capsys.readouterr().out)
    (concept,) = found["concepts"]
    assert (found["of"], concept["images"], len(concept["patches"]["maps"])) == ("class stamped", EACH, EACH)
    assert Path(found["sheet"]).exists()
    assert camaudit(["units", path, "--class", "stamped"], monkeypatch) == 0
    assert "leads in" in capsys.readouterr().out


def test_concepts_of_before_are_told_again_without_a_look_at_the_images_until_the_run_changes(tmp_path: Path) -> None:
    plan = audited(tmp_path)
    asked, concepts = ConceptSearch(1, way="pca"), Concepts(Findings(plan.run))
    first = keep_concepts(concepts, "red", asked, lambda: classifier_of(plan))
    assert first.concepts[0].way == "pca"

    def never() -> Classifier:
        raise AssertionError("Expected nobody to be asked")

    again = Concepts(Findings(Run.open(plan.run.path)))
    assert keep_concepts(again, "red", asked, never) == first
    for other in (ConceptSearch(1), ConceptSearch(1, way="pca", seed=1)):
        with pytest.raises(AssertionError, match="nobody"):
            keep_concepts(again, "red", other, never)
    samples = plan.run.read("samples", plan.run.shards[0]).to_pydict()
    put_part(plan.run, "samples", 0, samples | {"look": list(range(len(samples["look"])))})
    with pytest.raises(AssertionError, match="nobody"):
        keep_concepts(Concepts(Findings(Run.open(plan.run.path))), "red", asked, never)


def test_words_are_kept_with_the_concepts_and_asked_for_once(plan: Plan) -> None:
    concepts = Concepts(Findings(plan.run))
    kept = keep_concepts(concepts, "striped", ConceptSearch(1), lambda: classifier_of(plan))
    assert kept.concepts[0].words == {}
    asked: list[int] = []

    def see(pictures: Sequence[np.ndarray]) -> np.ndarray:
        asked.append(len(pictures))
        return np.tile(np.eye(2, dtype=np.float32)[0], (len(pictures), 1))

    namer, reader = Namer(("white", "blue"), np.eye(2, dtype=np.float32), see, "tiny"), PatchReader(plan.run)
    named = name_concepts(concepts, kept, namer, reader)
    assert (named.concepts[0].words["by"], len(named.concepts[0].words["nearest"])) == ("tiny", 2)
    assert concepts.of(named.about) == named
    before = len(asked)
    assert name_concepts(concepts, named, namer, reader) is named
    assert before == len(asked) > 0
    other = name_concepts(concepts, named, replace(namer, words=("white", "green")), reader)
    assert len(asked) > before
    assert {row["word"] for row in other.concepts[0].words["nearest"]} == {"white", "green"}


def test_images_that_hold_none_of_a_concept_are_not_shown_for_it(plan: Plan) -> None:
    findings = Findings(plan.run)
    of_both = pd.concat([targets_of_class(findings, CLASSES.index(name)) for name in ("stamped", "red")])
    found = find_concepts(plan.run, classifier_of(plan), of_both.assign(unit=range(len(of_both))), ConceptSearch(2))
    grid = plan.run.record["grid"]
    for concept in found.concepts:
        assert concept.targets
        for (_, _, cell), where in zip(concept.targets, concept.maps, strict=True):
            assert where[np.unravel_index(cell, grid)] > 0


def test_patches_and_whole_images_are_made_from_one_reading_and_stand_in_pairs(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = hex_maps(np.ones((9, *plan.run.record["grid"])))
    concept = drawn(plan.run, About("red"), 1, patches={"targets": [[row, 0, 0] for row in range(9)], "maps": maps})
    decoded: list[str] = []

    def decode(data: bytes, name: str) -> np.ndarray:
        decoded.append(name)
        if len(decoded) == 4:
            raise ImageError("Expected an image that can be read")
        return decode_image(data, name)

    monkeypatch.setattr("audit.concepts.patches.decode_image", decode)
    tiles, wholes = concept_tiles(concept, PatchReader(plan.run))
    assert (len(decoded), len(set(decoded))) == (9, 9)
    assert len(tiles) == len(wholes) == 8


def test_weights_of_a_class_behind_pooling_are_the_row_of_its_head(plan: Plan) -> None:
    classifier = classifier_of(plan)
    images = np.random.default_rng(0).random((2, 3, 48, 48)).astype(np.float32)
    logits_without(classifier, images[0], np.zeros((0, 12, 12, 3)), STAMPED)  # asked first where no gradients are kept
    weights = class_weights(classifier, images, [STAMPED, 1])
    rows = classifier.module.head.weight.detach().numpy()
    np.testing.assert_allclose(weights, rows[[STAMPED, 1]], rtol=1e-5, atol=1e-4)


def test_components_of_a_class_lie_on_what_its_logit_is_read_from(plan: Plan) -> None:
    targets = targets_of_class(Findings(plan.run), CLASSES.index("red"))
    found = find_concepts(plan.run, classifier_of(plan), targets, ConceptSearch(1, way="pca"))
    (concept,) = found.concepts
    assert abs(concept.direction[1]) > 0.5
    assert 0 < concept.worth <= found.logit
    with pytest.raises(RunError, match="Expected images that differ in what the class goes by, found none by pca"):
        find_concepts(plan.run, classifier_of(plan), targets[:1], ConceptSearch(1, way="pca"))
    with pytest.raises(ValueError, match="Expected --way to be one of nmf, pca, got 'ica'"):
        ConceptSearch(1, way="ica")


def test_the_run_measured_how_much_of_its_input_a_cell_goes_by(plan: Plan) -> None:
    run = Run.open(plan.run.path)
    assert run.record["receptive_side"] == 0.15  # a cell of 4 pixels of 48, and one beside it: the narrowest


def test_patches_are_named_by_a_network_that_knows_words_and_told_with_them(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def see(pictures: Sequence[np.ndarray]) -> np.ndarray:
        """How white a picture is, and how blue."""
        seen = np.array([[(part.min(axis=2) > 200).mean(), 0.02 + (part[..., 2] > 150).mean()] for part in pictures])
        return seen / np.linalg.norm(seen, axis=1, keepdims=True)

    namer = Namer(("white", "blue"), np.eye(2, dtype=np.float32), see)
    monkeypatch.setattr(words, "load_namer", lambda *_: namer)
    path = str(plan.run.path)
    asked = ["units", path, "--class", "stamped", "--words", "builtin", "--clip", "any:weights", "--json"]
    assert camaudit(asked, monkeypatch) == 0
    (told,) = json.loads(capsys.readouterr().out)["classes"]
    first, _ = told["channels"][0]["words"]
    assert first["word"] == "white"
    assert first["margin"] > 0
    assert camaudit([*asked[:-1], "--wide"], monkeypatch) == 0
    assert "white (+" in capsys.readouterr().out


def test_words_are_read_from_a_file_and_a_clip_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a stamp\n\n rails \n")
    assert words.words_of(str(tmp_path / "words.txt")) == ("a stamp", "rails")
    assert len(words.words_of("builtin")) > 100
    with pytest.raises(ModelError, match="Expected a file of words"):
        words.words_of(str(tmp_path / "none.txt"))
    pytest.importorskip("open_clip", reason="open_clip is not installed")
    with pytest.raises(ModelError, match=r"Expected --weights for clip:ViT-B-32: openai, .* got none"):
        words.load_namer("ViT-B-32", ("a stamp",))


def test_concepts_and_weights_are_the_same_on_another_device(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = targets_of_class(Findings(plan.run), STAMPED)
    images = np.random.default_rng(0).random((2, *classifier_of(plan).example().shape[1:]), np.float32)

    def told(device: torch.device) -> list[np.ndarray]:
        classifier = classifier_of(plan)
        move(classifier.module, device)
        (concept,) = find_concepts(plan.run, classifier, targets, ConceptSearch(1)).concepts
        return [concept.direction, np.array(concept.worth), class_weights(classifier, images, [0, 1])]

    here = told(torch.device("cpu"))
    with on_second_device(monkeypatch):
        for one, other in zip(told(THERE), here, strict=True):
            np.testing.assert_allclose(one, other)


def test_words_come_through_the_source_of_clip_models(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    folder = save_clip(tmp_path / "clip")
    namer = words.load_namer(str(folder), ("a stamp", "rails"))
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}", weights_only=True)
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a photo of a stamp", "a photo of rails"])
    pictures = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(2)]
    with torch.no_grad():
        texts = torch.nn.functional.normalize(model.encode_text(tokens), dim=1).numpy()
        seen = torch.stack([prepare(Image.fromarray(picture)) for picture in pictures])
        images = torch.nn.functional.normalize(model.encode_image(seen), dim=1).numpy()
    np.testing.assert_allclose(namer.texts, texts, atol=1e-5)
    np.testing.assert_allclose(namer.see(pictures), images, atol=1e-5)
    assert namer.source == str(folder)
