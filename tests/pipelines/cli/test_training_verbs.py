"""From labels to a network to its masks on the command line: train, distill, segment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faults.collection import camaudit

from audit.datasets import read_voc
from audit.datasets.planted import CLASSES, PlantedSpec, draw_planted

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw_planted(tmp_path / "scenes", PlantedSpec(train=12, test=6, size=48, cue_share=0.0))
    for split in ("train", "val"):
        read_voc(tmp_path / "scenes", split=split).save(tmp_path / f"{split}.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_masks_teach_a_network_whose_masks_are_scored(
    scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    masks = "scenes/SegmentationClass"
    quick = ["--epochs", "2", "--batch-size", "6", "--threads", "1", "--validate", "val.parquet"]
    distill = ["distill", "train.parquet", masks, "--arch", "unet", "--size", "32", "-o", "student.pt", *quick]
    assert camaudit(distill, monkeypatch) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("student.pt: 12 labels, last mean loss ")
    assert shown[1].startswith("epoch 2, on 6 other samples: mean iou 0.")
    assert shown[2] == "epoch by epoch: student.training.json, student.training.png"
    segment = ["segment", "val.parquet", "--model", "student.pt", "-o", "out", "--threads", "1"]
    assert camaudit(segment, monkeypatch) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "out: 6 masks, 0 failed"
    assert shown[1].startswith("mean IoU 0.")
    assert camaudit([*segment, "--json"], monkeypatch) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["masks"], record["scored"]) == (6, 6)
    assert list(record["iou"]) == ["background", *CLASSES]


def test_training_says_what_it_measured(scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    options = ["--size", "32", "--epochs", "2", "--hold-out", "0.5", "--patience", "5", "--augment", "full"]
    model = ["--model", "audit.models.small:build", "-o", "model.pt", "--threads", "1", "--balanced"]
    assert camaudit(["train", "train.parquet", *model, *options], monkeypatch) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("model.pt: 6 samples (0 unreadable), last mean loss ")
    assert "on 6 other samples: mean average precision 0." in shown[1]
    assert ", accuracy 0." in shown[1]
    assert {path.name for path in scenes.glob("model.*")} == {"model.pt", "model.training.json", "model.training.png"}
