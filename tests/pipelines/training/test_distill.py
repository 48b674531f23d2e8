"""A segmentation network trained on label images, weak or true; its masks as labels again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from second_device import THERE, on_second_device
from test_train import KillAfter, Killed

from audit.datasets import Manifest, Sample
from audit.errors import AuditError, ImageError, ManifestError, MaskError, RunError
from audit.images import write_index_png
from audit.models import weights_fingerprint
from audit.models.segmenters import load_segmenter
from audit.store.storage.files import write_json
from pipelines.asked import Distillation
from pipelines.training.distill import distill, measure
from pipelines.training.labels import find_labels, most_confident, survey, with_confidence
from pipelines.training.segment import segment_manifest

CLASSES = ("red", "blue")
SIDE = 32


def draw(folder: Path, count: int = 12, masks: bool = True, classes: tuple[str, ...] = CLASSES) -> Manifest:
    """A red or blue box on grey noise; masks in `masks`, weak labels (the box's middle, its rim 255) in `labels`."""
    rng = np.random.default_rng(2)
    for name in ("images", "masks", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    samples = []
    for place in range(count):
        image = rng.integers(90, 130, (SIDE, SIDE + 8, 3), np.uint8)
        mask = np.zeros(image.shape[:2], np.uint8)
        y, x = rng.integers(2, 14, 2)
        mask[y : y + 14, x : x + 16] = place % 2 + 1
        image[mask > 0, 2 * (place % 2)] += 110
        weak = np.where(mask > 0, 255, 0).astype(np.uint8)
        weak[y + 3 : y + 11, x + 3 : x + 13] = place % 2 + 1
        Image.fromarray(image).save(folder / f"images/{place}.png")
        write_index_png(folder / f"masks/{place}.png", mask)
        write_index_png(folder / f"labels/{place}.png", weak)
        mask_path = f"masks/{place}.png" if masks else None
        samples.append(Sample(str(place), f"images/{place}.png", (place % 2,), mask_path))
    return Manifest.from_samples(samples, classes, folder)


def asked(**changes: Any) -> Distillation:
    given = {"size": SIDE, "epochs": 2, "learning_rate": 0.01, "batch_size": 4, "augment": "mirror"}
    return Distillation("unet", **given | changes)


def fingerprint(path: Path) -> str:
    return weights_fingerprint(load_segmenter(path).module)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network that was trained on weak labels."""
    folder = tmp_path_factory.mktemp("learnt")
    manifest = draw(folder)
    distill(manifest, folder / "labels", asked(epochs=12), folder / "student.pt", validation=manifest)
    return folder


def test_a_network_learns_from_weak_labels_and_fills_the_band_that_is_not_known(learnt: Path) -> None:
    record = json.loads((learnt / "student.training.json").read_text())
    assert record["epochs"][-1]["mean_iou"] > 0.75
    assert record["epochs"][-1]["loss"] < record["epochs"][0]["loss"] / 3
    assert Image.open(learnt / "student.training.png").format == "PNG"


def test_a_killed_distillation_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    manifest, options = draw(tmp_path), asked(augment="full", epochs=3)
    distill(manifest, tmp_path / "labels", options, tmp_path / "whole.pt", validation=manifest)
    with pytest.raises(Killed):  # 12 labels are told, then 3 steps an epoch
        distill(manifest, tmp_path / "labels", options, tmp_path / "cut.pt", KillAfter(16), manifest)
    distill(manifest, tmp_path / "labels", options, tmp_path / "cut.pt", validation=manifest)
    assert fingerprint(tmp_path / "cut.pt") == fingerprint(tmp_path / "whole.pt")
    records = [json.loads((tmp_path / f"{name}.training.json").read_text()) for name in ("cut", "whole")]
    assert records[0] == records[1]


def test_what_is_finished_is_not_trained_again(learnt: Path) -> None:
    manifest = draw(learnt)
    before = (learnt / "student.pt").stat().st_mtime_ns
    done = distill(manifest, learnt / "labels", asked(epochs=12), learnt / "student.pt", validation=manifest)
    assert (learnt / "student.pt").stat().st_mtime_ns == before
    assert done["epoch"] == 12


def test_masks_of_a_network_are_palette_images_that_can_be_labels_again(learnt: Path, tmp_path: Path) -> None:
    manifest, network = draw(learnt), load_segmenter(learnt / "student.pt")
    summary = segment_manifest(manifest, network, tmp_path / "out")
    assert (summary["masks"], summary["failed"], summary["scored"]) == (12, 0, 12)
    record = json.loads((learnt / "student.training.json").read_text())
    assert summary["mean_iou"] == pytest.approx(record["epochs"][-1]["mean_iou"], abs=1e-6)
    image = Image.open(tmp_path / "out/3.png")
    assert (image.mode, image.size) == ("P", (SIDE + 8, SIDE))
    done = distill(
        manifest,
        tmp_path / "out",
        asked(keep=0.5, weighted=True, weights=str(learnt / "student.pt")),
        tmp_path / "again.pt",
        confidence=tmp_path / "out/confidence.csv",
    )
    assert done["samples"] == 6


def test_pixels_of_which_the_network_is_unsure_become_255_and_are_scored_before(learnt: Path, tmp_path: Path) -> None:
    manifest, network = draw(learnt), load_segmenter(learnt / "student.pt")
    sure = segment_manifest(manifest, network, tmp_path / "sure")
    unsure = segment_manifest(manifest, network, tmp_path / "unsure", 0.95)
    assert unsure == sure
    of = [[np.asarray(Image.open(tmp_path / name / f"{i}.png")) for i in range(12)] for name in ("sure", "unsure")]
    assert all(np.isin(b, [255]).any() for b in of[1])
    for plain, banded in zip(*of, strict=True):
        np.testing.assert_array_equal(plain[banded != 255], banded[banded != 255])


def test_with_labels_an_image_shows_no_other_class(learnt: Path, tmp_path: Path) -> None:
    manifest, network = draw(learnt), load_segmenter(learnt / "student.pt")
    one = [Sample(sample.id, sample.image, (1,) if int(sample.id) < 6 else ()) for sample in manifest]
    segment_manifest(Manifest.from_samples(one, CLASSES), network, tmp_path / "out", labelled=True)
    values = [set(np.unique(np.asarray(Image.open(tmp_path / f"out/{place}.png")))) for place in range(12)]
    assert all(seen <= {0, 2} for seen in values[:6])
    assert any(1 in seen for seen in values[6:])


def test_a_killed_pass_goes_on_and_writes_the_same(learnt: Path, tmp_path: Path) -> None:
    manifest, network = draw(learnt), load_segmenter(learnt / "student.pt")
    whole = segment_manifest(manifest, network, tmp_path / "whole")
    with pytest.raises(Killed):
        segment_manifest(manifest, network, tmp_path / "cut", progress=KillAfter(5))
    with (tmp_path / "cut/masks.jsonl").open("a") as ledger:
        ledger.write('{"id": "7", "conf')
    with pytest.raises(ManifestError, match=r"Expected finished labels in .*, they were interrupted"):
        find_labels(manifest, tmp_path / "cut")
    assert segment_manifest(manifest, network, tmp_path / "cut") == whole
    for name in ("confidence.csv", "masks.jsonl", "camaudit-export.json", "11.png"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_images_that_cannot_be_read_cost_themselves_only(learnt: Path, tmp_path: Path) -> None:
    manifest = draw(tmp_path)
    (tmp_path / "images/0.png").write_bytes(b"")
    done = distill(manifest, tmp_path / "labels", asked(epochs=1), tmp_path / "a.pt")
    assert (done["samples"], done["unreadable"]) == (11, 1)
    assert measure(load_segmenter(learnt / "student.pt"), list(manifest), manifest).counts.sum() == 11 * SIDE * (
        SIDE + 8
    )
    summary = segment_manifest(manifest, load_segmenter(learnt / "student.pt"), tmp_path / "out")
    assert (summary["masks"], summary["failed"]) == (11, 1)
    assert summary["failures"][0]["id"] == "0"


def test_a_folder_of_something_else_is_not_written_into(learnt: Path, tmp_path: Path) -> None:
    manifest, network = draw(learnt), load_segmenter(learnt / "student.pt")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"Expected --out to be new, got .*, which holds other files"):
        segment_manifest(manifest, network, tmp_path)
    segment_manifest(manifest, network, tmp_path / "out")
    with pytest.raises(RunError, match="Expected --out to be new or of the same network and manifest"):
        segment_manifest(manifest, network, tmp_path / "out", 0.5)


def test_the_most_confident_are_kept_in_their_order(tmp_path: Path) -> None:
    found = find_labels(draw(tmp_path, 5), tmp_path / "labels")
    rows = {"id": list("001234"), "confidence": [0.2, 0.4, 0.9, 0.1, 0.5, 0.3]}
    pd.DataFrame(rows).to_csv(tmp_path / "c.csv", index=False)
    sure = with_confidence(found, tmp_path / "c.csv")
    assert [item.confidence for item in sure] == pytest.approx([0.3, 0.9, 0.1, 0.5, 0.3])
    assert [item.sample.id for item in most_confident(sure, 0.6)] == ["0", "1", "3"]
    assert [item.sample.id for item in most_confident(sure, 0.01)] == ["1"]


def test_a_confidence_weighs_what_is_learnt(tmp_path: Path) -> None:
    manifest = draw(tmp_path, 4)
    rows = {"id": list("0123"), "confidence": [1.0, 0.0, 1.0, 0.0]}
    pd.DataFrame(rows).to_csv(tmp_path / "c.csv", index=False)
    told = {"confidence": tmp_path / "c.csv"}
    distill(manifest, tmp_path / "labels", asked(weighted=True), tmp_path / "a.pt", **told)
    for place in (1, 3):  # what counts for nothing may say anything
        write_index_png(tmp_path / f"labels/{place}.png", np.full((SIDE, SIDE + 8), 1, np.uint8))
    distill(manifest, tmp_path / "labels", asked(weighted=True), tmp_path / "b.pt", **told)
    assert fingerprint(tmp_path / "a.pt") == fingerprint(tmp_path / "b.pt")


def test_samples_without_labels_and_labels_of_nothing_are_left_out(tmp_path: Path) -> None:
    manifest = draw(tmp_path, 5)
    (tmp_path / "labels/0.png").unlink()
    write_index_png(tmp_path / "labels/1.png", np.full((SIDE, SIDE + 8), 255, np.uint8))
    seen = survey(find_labels(manifest, tmp_path / "labels"), 2)
    assert [item.sample.id for item in seen.samples] == ["2", "3", "4"]
    assert (seen.empty, seen.unreadable) == (1, 0)
    masks = [np.asarray(Image.open(tmp_path / f"labels/{place}.png")) for place in (2, 3, 4)]
    assert seen.pixels.tolist() == [sum(int((mask == value).sum()) for mask in masks) for value in (0, 1, 2, 255)]


def overwrite(index: NDArray[np.uint8]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for place in range(4):
            write_index_png(folder / f"labels/{place}.png", index)

    return write


def without_images(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.write_bytes(b"")


def without_labels(folder: Path) -> None:
    for path in (folder / "labels").iterdir():
        path.unlink()


FAULTS: dict[str, tuple[Callable[[Path], None], type[AuditError], str]] = {
    "no label": (without_labels, ManifestError, r"found none for any of 4 samples; that of '0' would be 0\.png"),
    "another size": (overwrite(np.ones((9, 9), np.uint8)), MaskError, r"Expected a mask of .*, got .* in .*0\.png"),
    "another class": (
        overwrite(np.full((SIDE, SIDE + 8), 7, np.uint8)),
        MaskError,
        r"Expected indices 0 to 2 or 255 \(void\), got 7 in .*0\.png",
    ),
    "only background": (
        overwrite(np.zeros((SIDE, SIDE + 8), np.uint8)),
        MaskError,
        "Expected objects to learn, found nothing but background and 255 in 4 label images",
    ),
    "other classes": (
        lambda folder: write_json(folder / "labels/camaudit-export.json", {"classes": ["blue", "red"]}),
        ManifestError,
        r"classes of the labels in .* to be the manifest's, red, blue, got blue, red",
    ),
    "an export of other classes": (
        lambda folder: write_json(folder / "labels/camaudit-export.json", {"of": {"classes": ["blue", "red"]}}),
        ManifestError,
        r"classes of the labels in .* to be the manifest's, red, blue, got blue, red",
    ),
    "no image": (without_images, ImageError, "Expected readable images, found none of 4, the first:"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_labels_are_refused_in_one_line_before_the_training(fault: str, tmp_path: Path) -> None:
    manifest = draw(tmp_path, 4)
    spoil, kind, message = FAULTS[fault]
    spoil(tmp_path)
    with pytest.raises(kind, match=message) as caught:
        distill(manifest, tmp_path / "labels", asked(), tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,trust\n0,1\n", "Expected a CSV file with the columns id and confidence"),
        ("id,confidence\n0,high\n", "Expected a CSV file with the columns id and confidence"),
        ("id,confidence\n0,1\n1,2\n", "Expected a confidence from 0 to 1 for every labelled sample .* 3 have none"),
    ],
)
def test_a_table_of_confidence_that_is_none_is_refused(content: str, message: str, tmp_path: Path) -> None:
    found = find_labels(draw(tmp_path, 4), tmp_path / "labels")
    (tmp_path / "c.csv").write_text(content)
    with pytest.raises(ManifestError, match=message):
        with_confidence(found, tmp_path / "c.csv")


def test_to_validate_there_must_be_masks_of_the_same_classes(tmp_path: Path) -> None:
    manifest = draw(tmp_path, 4)
    with pytest.raises(ManifestError, match="Expected masks to validate on, found none"):
        distill(manifest, tmp_path / "labels", asked(), tmp_path / "a.pt", validation=draw(tmp_path, 4, masks=False))
    turned = draw(tmp_path, 4, classes=("blue", "red"))
    with pytest.raises(ManifestError, match="classes to validate on to be the manifest's, red, blue, got blue, red"):
        distill(manifest, tmp_path / "labels", asked(), tmp_path / "a.pt", validation=turned)


def test_a_student_on_another_device_learns_and_sees_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, learnt = draw(tmp_path, 4), []
    for device in ("cpu", str(THERE)):
        student, seen = tmp_path / f"{device}.pt", tmp_path / f"seen-{device}"
        with on_second_device(monkeypatch):
            distill(manifest, tmp_path / "labels", asked(device=device, epochs=1), student)
            network = load_segmenter(student)
            network.module.to(device)
            summary = segment_manifest(manifest, network, seen, 0.0)
        learnt.append((fingerprint(student), summary))
    assert learnt[0] == learnt[1]
