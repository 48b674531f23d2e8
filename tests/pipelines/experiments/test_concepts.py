"""Concepts of a network that is known: one channel each for white, red and stripes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from faults.collection import camaudit, paint
from PIL import Image
from scipy.optimize import nnls
from test_verify import CLASSES, EACH, audited, classifier_of

from audit.concepts.chosen import targets_of_class
from audit.errors import ModelError, RunError
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.store import Run
from pipelines.asked import ConceptSearch
from pipelines.experiments import words
from pipelines.experiments.concepts import find_concepts
from pipelines.experiments.inputs import read_input
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
    assert (found.images, len(targets), len(concept.patches)) == (EACH, EACH, EACH)
    # The stamp has edges, which the channel of stripes answers to as well; nothing there is red.
    white, red, stripes = concept.direction
    assert white > stripes > red == 0
    assert min(concept.cosine) > 0.999
    for _, _, cell in concept.patches:
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
    assert find_concepts(plan.run, classifier_of(plan), targets, ConceptSearch(1, images=4)).images == 4
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
    assert (found["of"], found["images"], len(found["concepts"])) == ("class:stamped", EACH, 1)
    assert Path(found["sheet"]).exists()
    assert camaudit(["units", path, "--class", "stamped"], monkeypatch) == 0
    assert "leads in" in capsys.readouterr().out


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
    with pytest.raises(ModelError, match="Expected a CLIP network with its weights"):
        words.load_namer("ViT-B-32", ("a stamp",))
