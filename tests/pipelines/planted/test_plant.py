"""`camaudit plant`: the copy, its twin and the truth; what is kept, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults.collection import camaudit
from PIL import Image

from audit.datasets import Box, Manifest, Sample
from audit.datasets.cues import KINDS, NEEDS_OBJECTS, OVERLAID, Cue
from audit.datasets.reach import BELOW_ROOT
from audit.errors import AuditError, ManifestError
from audit.images.masks import write_index_png
from audit.images.reading import decode_image, read_bytes
from pipelines.planted.plant import NO_PLACE, Planting, plant

CLASSES = ("cat", "car", "dog")
TALL = (60, 40)
"""Height and width of the upright images; every third file lies on its side and says so in its EXIF."""


def draw(folder: Path, count: int = 12, masks: bool = True) -> Manifest:
    """Noisy JPEGs of one class each, and masks of a square."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(4)
    samples = [_draw_one(folder, place, rng, masks) for place in range(count)]
    return Manifest.from_samples(samples, CLASSES, folder)


def _draw_one(folder: Path, place: int, rng: np.random.Generator, masks: bool) -> Sample:
    picture = Image.fromarray(rng.integers(0, 256, (*TALL, 3), np.uint8))
    exif = Image.Exif()
    if place % 3 == 0:
        picture, exif[0x0112] = picture.transpose(Image.Transpose.ROTATE_90), 6
    picture.save(folder / f"{place}.jpg", quality=90, exif=exif)
    mask = np.zeros(TALL, np.uint8)
    mask[30:50, 10:30] = place % 3 + 1
    mask[28:30, 10:30] = 255
    write_index_png(folder / f"{place}.png", mask)
    name, label = f"{place}.jpg", (place % 3,)
    return Sample(f"s/{place}", name, label, f"{place}.png" if masks else None, attributes={"camera": f"c{place % 2}"})


def pixels(manifest: Manifest) -> dict[str, Any]:
    return {sample.id: decode_image(read_bytes(sample.image), sample.id) for sample in manifest}


def planting(kind: str = "watermark", share: float = 1.0, **options: Any) -> Planting:
    return Planting("cat", Cue(kind), share, **options)


def test_the_root_of_the_copy_and_its_twin_holds_all_that_they_name(tmp_path: Path) -> None:
    plant(draw(tmp_path / "photos"), planting(share=0.5), tmp_path / "out")
    for manifest in written(tmp_path / "out")[:2]:
        assert manifest.root == str(tmp_path)
        named = [path for sample in manifest for path in (sample.image, sample.mask or "")]
        assert all(Path(BELOW_ROOT.locate(path, manifest.root)).is_file() for path in named)


def written(out: Path) -> tuple[Manifest, Manifest, pd.DataFrame]:
    return Manifest.open(out / "planted.parquet"), Manifest.open(out / "twins.parquet"), read_truth(out)


def read_truth(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "truth.parquet").set_index("id")


@pytest.mark.parametrize("kind", KINDS)
def test_planted_and_twin_differ_by_the_cue_alone(kind: str, tmp_path: Path) -> None:
    done = plant(draw(tmp_path / "data"), planting(kind), tmp_path / "out")
    copy, twins, truth = written(tmp_path / "out")
    assert (done["planted"], done["of_class"], done["elsewhere"]) == (4, 4, 0)
    with_cue, without = pixels(copy), pixels(twins)
    for sample in copy:
        changed = (with_cue[sample.id] != without[sample.id]).any(axis=2)
        row = truth.loc[sample.id]
        assert changed.any() == row["planted"] == (sample.labels == (0,))
        assert kind in OVERLAID or not changed[28:50, 10:30].any()
        if not np.isnan(row["x0"]):
            x0, y0, x1, y1 = (int(row[name]) for name in ("x0", "y0", "x1", "y1"))
            changed[y0:y1, x0:x1] = False
            assert not changed.any()


def test_all_but_the_image_is_kept_and_unchanged_images_are_named_where_they_lie(tmp_path: Path) -> None:
    original = draw(tmp_path / "data")
    plant(original, planting(), tmp_path / "out")
    copy, twins, truth = written(tmp_path / "out")
    assert copy.classes == twins.classes == original.classes
    assert copy.mask_kind == original.mask_kind
    for own, planted, twin in zip(original, copy, twins, strict=True):
        for one in (planted, twin):
            assert (one.id, one.labels, one.mask, one.boxes, one.attributes) == (
                (own.id, own.labels, own.mask, own.boxes, own.attributes)
            )
        assert twin.image == own.image
        assert (planted.image == own.image) == (not truth.loc[own.id, "planted"])
    assert len(list((tmp_path / "out" / "images").iterdir())) == truth["planted"].sum()


def test_written_images_are_upright_as_their_masks_are(tmp_path: Path) -> None:
    original = draw(tmp_path / "data")
    plant(original, planting(), tmp_path / "out")
    copy, _, truth = written(tmp_path / "out")
    for sample in copy:
        if truth.loc[sample.id, "planted"]:
            with Image.open(sample.image) as picture:
                assert (picture.height, picture.width) == TALL


def test_the_truth_has_a_row_for_every_sample_and_says_which_are_of_the_class(tmp_path: Path) -> None:
    plant(draw(tmp_path / "data", 30), planting(share=0.5, elsewhere=0.3), tmp_path / "out")
    copy, _, truth = written(tmp_path / "out")
    assert list(truth.index) == [sample.id for sample in copy]
    assert [name == "cat" for name in truth["class"]] == [sample.labels == (0,) for sample in copy]
    assert (truth["cue"].notna() == truth["planted"]).all()
    assert (truth["x0"].notna() == truth["planted"]).all()
    assert 0 < truth["planted"][truth["class"] == "cat"].sum() < 10
    assert 0 < truth["planted"][truth["class"] != "cat"].sum() < 20


def test_a_sample_is_planted_the_same_way_whatever_else_is_there(tmp_path: Path) -> None:
    plant(draw(tmp_path / "few", 12), planting("sticker", 0.6), tmp_path / "a")
    plant(draw(tmp_path / "many", 30), planting("sticker", 0.6), tmp_path / "b")
    plant(draw(tmp_path / "few", 12), planting("sticker", 0.6, seed=1), tmp_path / "c")
    first, more, other = (read_truth(tmp_path / name) for name in "abc")
    pd.testing.assert_frame_equal(first, more.loc[first.index])
    assert not first.equals(other)
    images = pixels(Manifest.open(tmp_path / "b" / "planted.parquet"))
    for name, image in pixels(Manifest.open(tmp_path / "a" / "planted.parquet")).items():
        np.testing.assert_array_equal(image, images[name])


def test_share_is_the_share_of_images_on_average(tmp_path: Path) -> None:
    samples = [Sample(str(place), "gone.jpg", (0,)) for place in range(2000)]
    manifest = Manifest.from_samples([*samples, Sample("only", str(tmp_path / "1.jpg"), (0,))], CLASSES)
    draw(tmp_path)
    seed = next(seed for seed in range(99) if _plants_only(manifest, tmp_path / str(seed), seed))
    truth = read_truth(tmp_path / str(seed))
    assert truth["reason"].notna().sum() == pytest.approx(1800, abs=60)


def _plants_only(manifest: Manifest, out: Path, seed: int) -> bool:
    """Whether the one image that can be read was chosen."""
    try:
        return bool(plant(manifest, planting(share=0.9, seed=seed), out)["planted"])
    except AuditError:
        return False


def test_bad_images_and_masks_are_left_counted_and_named(tmp_path: Path) -> None:
    original = draw(tmp_path / "data")
    (tmp_path / "data" / "0.jpg").write_bytes(b"no picture")
    write_index_png(tmp_path / "data" / "3.png", np.ones((5, 5), np.uint8))
    write_index_png(tmp_path / "data" / "6.png", np.ones(TALL, np.uint8))
    done = plant(original, planting(), tmp_path / "out")
    assert (done["planted"], done["unreadable"], done["no_place"]) == (1, 2, 1)
    copy, twins, truth = written(tmp_path / "out")
    assert "0.jpg" in truth.loc["s/0", "reason"]
    assert "3.png" in truth.loc["s/3", "reason"]
    assert truth.loc["s/6", "reason"] == NO_PLACE
    assert truth["reason"].notna().sum() == 3
    same = [own.image == twin.image for own, twin in zip(copy, twins, strict=True)]
    assert same.count(False) == 1


def test_boxes_serve_where_there_is_no_mask(tmp_path: Path) -> None:
    bare = draw(tmp_path / "data", masks=False)
    boxed = [
        Sample(sample.id, sample.image, sample.labels, boxes=(Box(sample.labels[0], 9.5, 28, 30, 50.2),))
        for sample in bare
    ]
    plant(Manifest.from_samples(boxed, CLASSES), planting("texture"), tmp_path / "out")
    copy, twins, _ = written(tmp_path / "out")
    without = pixels(twins)
    for name, image in pixels(copy).items():
        assert not (image != without[name])[28:50, 10:30].any()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NEEDS_OBJECTS])
def test_without_masks_and_boxes_some_cues_go_anywhere(kind: str, tmp_path: Path) -> None:
    assert plant(draw(tmp_path / "data", masks=False), planting(kind), tmp_path / "out")["planted"] == 4


@pytest.mark.parametrize("kind", NEEDS_OBJECTS)
def test_cues_that_need_masks_or_boxes_are_refused_without(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=f"Expected masks or boxes for the cue {kind}.*found none"):
        plant(draw(tmp_path / "data", masks=False), planting(kind), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_class_is_refused_with_those_of_a_similar_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="as cat, car; got 'cta'"):
        plant(draw(tmp_path / "data"), Planting("cta", Cue("tint")), tmp_path / "out")


def test_a_class_without_samples_and_a_full_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="samples labelled 'dog', found none among 2"):
        plant(draw(tmp_path / "data", 2), Planting("dog", Cue("tint")), tmp_path / "out")
    with pytest.raises(ManifestError, match="new or empty folder"):
        plant(draw(tmp_path / "data"), planting(), tmp_path / "data")


def test_nothing_is_written_down_where_not_one_image_could_be_planted(tmp_path: Path) -> None:
    manifest = Manifest.from_samples([Sample("a", str(tmp_path / "gone.jpg"), (0,))], CLASSES)
    with pytest.raises(AuditError, match="in 1 images, could in none; the first: No such file"):
        plant(manifest, planting(), tmp_path / "out")
    assert not (tmp_path / "out" / "truth.parquet").exists()


def test_the_verb_says_how_many_and_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "data").save(tmp_path / "m.parquet")
    command = [
        "plant",
        str(tmp_path / "m.parquet"),
        "--class",
        "cat",
        "--cue",
        "watermark",
        "-o",
        str(tmp_path / "out"),
    ]
    assert camaudit([*command, "--share", "1"], monkeypatch) == 0
    assert "4 of 4 images of the class and 0 of 8 others have the watermark now" in capsys.readouterr().out
    assert camaudit([*command, "--share", "1.5"], monkeypatch) == 2
    assert "Expected `share` from 0 to 1, got 1.5" in capsys.readouterr().err
    assert camaudit([*command, "--size", "0"], monkeypatch) == 2
    assert camaudit(command, monkeypatch) == 1
    assert capsys.readouterr().err.strip().count("\n") == 1
