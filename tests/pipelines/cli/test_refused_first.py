"""What can be refused is refused before torch and the model are loaded, and long waits are said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from faults.collection import camaudit, command, connected, draw_collection, write_model
from small_run import make_run

from audit.datasets.classes import imagenet_names
from audit.errors import AuditError
from audit.store import Run
from pipelines.experiments.source import check_class

RUN = """
import sys
from pipelines.__main__ import main

sys.argv = ["camaudit", *sys.argv[1:]]
try:
    main()
finally:
    print("torch" in sys.modules)
"""


@pytest.fixture
def made_with_code(tmp_path: Path) -> Path:
    """A run whose model is somebody's code."""
    path = make_run(tmp_path, flagged=False)
    Run.open(path).amended(source={"model": "/theirs.py:build", "arch": None, "weights": None})
    return path


def refused(*arguments: str) -> str:
    """The line by which the command line refuses, without torch."""
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "False\n"
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize("verb", ["verify", "sanity", "faithfulness"])
def test_a_model_that_is_code_which_was_not_named_again(verb: str, made_with_code: Path) -> None:
    assert "if you trust it, allow it with --model /theirs.py:build" in refused(verb, str(made_with_code))


def test_a_class_that_is_none_of_imagenets() -> None:
    model = ("--model", "torchvision:resnet18", "--weights", "IMAGENET1K_V1")
    assert "got 'unicorn'" in refused("explain", "cat.png", *model, "--class", "unicorn")


def test_a_manifest_that_is_missing(tmp_path: Path) -> None:
    assert "No manifest at" in refused("run", str(tmp_path / "none.parquet"), "--model", "x:y", "-o", str(tmp_path))


def test_a_unit_that_the_manifest_does_not_have(tmp_path: Path) -> None:
    manifest = str(make_run(tmp_path, flagged=False) / "manifest.parquet")
    line = refused("run", manifest, "--model", "x:y", "-o", str(tmp_path / "new"), "--unit", "patient")
    assert "Expected as unit an attribute of the manifest, which has " in line
    assert line.endswith("got 'patient'")


def test_imagenets_names_are_those_of_torchvisions_weights() -> None:
    from torchvision.models import ResNet18_Weights

    assert imagenet_names() == tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


@pytest.mark.parametrize(
    ("name", "model", "weights"),
    [
        ("tench", "torchvision:resnet18", "IMAGENET1K_V1"),
        (None, "torchvision:resnet18", "random:0"),
        ("disc", "torchvision:resnet18", "mine.pt"),
        ("disc", "mine.pt", None),
        ("disc", "mine.py:build", "random:0"),
    ],
)
def test_a_class_that_may_be_known_is_left_to_the_model(name: str | None, model: str, weights: str | None) -> None:
    check_class(name, model, weights)
    with pytest.raises(AuditError, match="Expected a class that the model names"):
        check_class("disc", "torchvision:resnet18", "DEFAULT")


def test_a_run_says_what_it_is_doing_before_the_first_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Enough(AuditError):
        pass

    def refuse(*_arguments: object, **_options: object) -> None:
        raise Enough("enough")

    draw_collection(tmp_path, 4)
    write_model(tmp_path)
    monkeypatch.setattr("pipelines.run.start.audit", refuse)
    with connected(None, monkeypatch):  # type: ignore[arg-type]
        assert camaudit(command(tmp_path), monkeypatch) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in said] == ["loading", "loading", "laying", "starting", "maps:", "camaudit:"]
