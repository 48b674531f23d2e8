"""One image under several methods, as a picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.attribution.inside.visualise import Climb
from audit.errors import AuditError
from audit.models import Classifier, load_classifier
from pipelines import cli
from pipelines.experiments import seen
from pipelines.experiments.explain import displayed, explain_image

SIZE = 64


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier("torchvision:squeezenet1_1", "random:0", size=SIZE, layer="features")


@pytest.fixture
def photograph(tmp_path: Path, rng: np.random.Generator) -> str:
    path = tmp_path / "photograph.png"
    Image.fromarray(rng.integers(0, 256, (48, 72, 3), dtype=np.uint8)).save(path)
    return str(path)


def test_every_method_has_a_panel_and_a_part_of_the_picture(
    classifier: Classifier, photograph: str, tmp_path: Path
) -> None:
    methods = ["gradcam", "saliency", "flip:hirescam"]
    named, panels = explain_image(photograph, classifier, methods, None, tmp_path / "out.png")
    assert named in classifier.classes
    assert [panel.method for panel in panels] == methods
    assert [None if panel.heat is None else panel.heat.shape for panel in panels] == [(3, 3), (SIZE, SIZE), (3, 3)]
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 3 * picture.height / 2  # the image and three panels in a row


def test_a_method_that_the_network_does_not_admit_leaves_the_others_their_panels(
    classifier: Classifier, photograph: str, tmp_path: Path
) -> None:
    _, panels = explain_image(photograph, classifier, ["cam", "gradcam"], None, tmp_path / "out.png")
    assert panels[0].heat is None
    assert "CAM needs global average pooling" in panels[0].reason
    assert panels[1].heat is not None


def test_a_class_is_explained_by_its_name_and_an_unknown_one_refused(
    classifier: Classifier, photograph: str, tmp_path: Path
) -> None:
    wanted = classifier.classes[7]
    assert explain_image(photograph, classifier, ["gradcam"], wanted, tmp_path / "out.png")[0] == wanted
    with pytest.raises(AuditError, match=r"Expected a class that the model names, as .*; got .unicorn."):
        explain_image(photograph, classifier, ["gradcam"], "unicorn", tmp_path / "out.png")


def test_what_is_displayed_is_the_positive_part_of_a_map_up_to_its_brightest_hundredths() -> None:
    heat = np.full((20, 20), -1.0, np.float32)
    heat[0] = 1
    heat[0, 0] = 50  # a single pixel does not leave the rest dark
    shown = displayed(heat)
    assert shown.min() == 0
    assert shown[0, 1] == shown[0, 0] == 1
    assert (displayed(np.full((2, 2), np.nan, np.float32)) == 0).all()


def test_the_verb_says_what_it_drew_and_what_it_could_not(
    photograph: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", "torchvision:squeezenet1_1", "--weights", "random:0", "--layer", "features", "--size", "64"]
    methods = ["--method", "gradcam", "--method", "cam"]
    out = tmp_path / "out.png"
    monkeypatch.setattr("sys.argv", ["camaudit", "explain", photograph, *model, *methods, "-o", str(out)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    said = capsys.readouterr()
    assert f"{out}: " in said.out
    assert "under 1 methods" in said.out
    assert said.err.startswith("cam: CAM needs") or "\ncam: CAM needs" in said.err


def test_the_verb_takes_a_model_or_a_run_that_names_one(
    photograph: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["camaudit", "explain", photograph])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "--run" in capsys.readouterr().err


def test_a_runs_model_is_taken_as_it_was_and_other_details_are_refused(
    photograph: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--run", str(tmp_path / "run"), "--fit", "squash", "--layer", "3"]
    monkeypatch.setattr("sys.argv", ["camaudit", "explain", photograph, *asked])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "Expected --layer without --run, whose own is taken; leave one out" in capsys.readouterr().err


def test_what_a_network_sees_is_drawn_for_a_class(
    photograph: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seen, "draw_seen", partial(seen.draw_seen, climb=Climb(steps=2)))
    model = ["--model", "torchvision:squeezenet1_1", "--weights", "random:0", "--layer", "features", "--size", "64"]
    out = tmp_path / "seen.png"
    asked = ["--units", "--class", "goldfish", "-o", str(out), "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["camaudit", "explain", photograph, *model, *asked])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert "what the network sees of goldfish; logits of its images" in capsys.readouterr().out
    assert Image.open(out).size[0] > 800  # as wide as six channels


def test_a_network_without_rectifiers_has_no_channels_at_the_pixels() -> None:
    classifier = load_classifier("torchvision:convnext_tiny", "random:0", size=SIZE)
    assert seen._at_the_pixels(classifier, classifier.example(), [0]) == []
