"""A zero-shot audit from the command line: words, prompts, the record, and other words refused on going on."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.collection import camaudit, draw_collection
from tiny_clip import save_clip

from audit.store import Run
from pipelines.experiments.model import model_of_run

pytest.importorskip("open_clip", reason="open_clip is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("audited")
    draw_collection(place, 6)
    save_clip(place / "clip")
    return place


def arguments(folder: Path, *more: str) -> list[str]:
    place = ["run", str(folder / "manifest.parquet"), "-o", str(folder / "run"), "--workers", "1"]
    return [*place, "--model", f"clip:{folder / 'clip'}", *more]


def test_one_command_audits_the_data_sets_classes_as_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "prompts.txt").write_text("a photo of a {}.\na bad drawing of a {}\n")
    asked = ["--prompts", str(folder / "prompts.txt"), "--prompts", "the {}"]
    assert camaudit(arguments(folder, *asked), monkeypatch) == 0
    run = Run.open(folder / "run")
    prompts = ["a photo of a {}.", "a bad drawing of a {}", "the {}"]
    assert run.record["model"]["words"] == ["disc", "box", "bar"]
    assert run.record["model"]["prompts"] == run.record["source"]["prompts"] == prompts
    assert model_of_run(run).details["prompts"] == prompts
    assert camaudit(arguments(folder, *asked), monkeypatch) == 0  # nothing is left to do


def test_a_run_does_not_go_on_with_other_prompts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert camaudit(arguments(folder, "--prompts", "one {}"), monkeypatch) == 1
    assert "was begun differently" in capsys.readouterr().err


def test_words_may_be_given_for_images_without_labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = folder / "images"
    images.mkdir()
    for path in folder.glob("00?.png"):
        (images / path.name).write_bytes(path.read_bytes())
    place = ["run", str(images), "-o", str(folder / "words"), "--workers", "1", "--model", f"clip:{folder / 'clip'}"]
    assert camaudit([*place, "--classes", "garden gnome,disc"], monkeypatch) == 0
    assert Run.open(folder / "words").classes == ("garden gnome", "disc")


def test_a_prompt_without_a_place_is_wrong_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert camaudit(arguments(folder, "--prompts", "a photo"), monkeypatch) == 2
    assert "Expected {} in a prompt, or a file of prompts" in " ".join(capsys.readouterr().err.split())


def test_one_image_is_explained_by_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, out = str(folder / "000.png"), str(folder / "explained.png")
    asked = ["explain", image, "--model", f"clip:{folder / 'clip'}", "--classes", "disc,box", "--prompts", "a {}"]
    assert camaudit([*asked, "--method", "gradcam", "--class", "box", "-o", out], monkeypatch) == 0
    assert Path(out).stat().st_size > 0
