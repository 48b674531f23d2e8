"""One bad sample never costs another: each ends with its reason, all others complete."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rewritten import read_listed

from audit.datasets import read_folder
from audit.datasets.manifest import Manifest, Sample
from audit.errors import ManifestError, TransientError
from audit.images.reading import read_bytes
from audit.store import Run
from faults.collection import (
    BAD,
    BLANK,
    CLASSES,
    CONFIG,
    GLOW,
    NUMBERS,
    account,
    audit_here,
    camaudit,
    contents,
    draw_collection,
    finished,
    paint,
    planned,
    resumed,
    statuses,
    write_model,
)
from pipelines.run.plan import prepare
from pipelines.run.shards.shard import Finished, rescore_shard
from pipelines.run.workers.schedule import pending

Writer = Callable[[Path], object]
NOISE = np.random.default_rng(5).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def encoded(array: np.ndarray, mode: str, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(NOISE, "RGB", "JPEG", exif=exif)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0"))]
    body = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


PNG = encoded(NOISE, "RGB", "PNG")
DEEP = BytesIO()
Image.fromarray(NOISE[..., 0].astype(np.uint16) << 8).save(DEEP, "PNG")

BROKEN = {
    "empty": (b"", "empty (0 bytes)"),
    "page": (b"<!DOCTYPE html><html>404</html>", "looks like HTML"),
    "cut": (PNG[: len(PNG) // 2], "Cannot decode"),
    "bomb144": (bomb(12000, 12000), "at most 100000000 pixels"),
    "bomb2500": (bomb(50000, 50000), "at most 100000000 pixels"),
}
ODD = {
    "png-named.jpg": PNG,
    "cmyk.jpg": encoded(NOISE, "CMYK", "JPEG"),
    "palette.png": encoded(NOISE, "P", "PNG", transparency=0),
    "deep.png": DEEP.getvalue(),
    "animated.gif": encoded(NOISE, "P", "GIF", save_all=True, append_images=[Image.fromarray(NOISE[::-1])]),
    "grey.png": encoded(NOISE, "L", "PNG"),
    "dot.png": encoded(NOISE[:1, :1], "RGB", "PNG"),
    "thread.png": encoded(np.zeros((1, 10000, 3), np.uint8), "RGB", "PNG"),
    "black.png": encoded(np.zeros((40, 48, 3), np.uint8), "RGB", "PNG"),
    **{f"turned{turn}.jpg": turned(turn) for turn in range(1, 9)},
}


def test_broken_images_fail_with_their_reason_and_every_odd_but_sound_one_is_processed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name, data in {**{f"{name}.png": data for name, (data, _) in BROKEN.items()}, **ODD}.items():
        (images / name).write_bytes(data)
    (images / "loop.png").symlink_to(images / "loop.png")
    (images / "folder.png").mkdir()
    names = [*(f"{name}.png" for name in BROKEN), *ODD, "loop.png", "folder.png", "gone.png"]
    samples = [Sample(name, f"images/{name}") for name in names]
    manifest = Manifest.from_samples(samples, CLASSES, tmp_path).save(tmp_path / "manifest.parquet")
    plan = prepare(str(manifest), str(tmp_path / "run"), write_model(tmp_path), CONFIG)
    audit_here(plan)

    reasons = statuses(plan.run)
    assert {name for name, reason in reasons.items() if reason is None} == set(ODD)
    expected = {f"{name}.png": part for name, (_, part) in BROKEN.items()}
    expected |= {"loop.png": "loop", "folder.png": "got a folder", "gone.png": "No such file"}
    for name, part in expected.items():
        assert part in str(reasons[name])
    assert pending(plan.run) == []  # none of these passes, so none is tried again
    record = account(plan.run.path, monkeypatch, capsys)
    assert (record["processed"], record["failed"]) == (len(ODD), len(expected))
    maps = plan.run.maps(0, len(names))
    failed = [names.index(name) for name in expected]
    assert np.isnan(maps[failed]).all()


def test_a_run_in_which_every_image_is_broken_ends_with_all_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = draw_collection(tmp_path, 5)
    for path in tmp_path.glob("???.png"):
        path.write_bytes(b"")
    plan = prepare(str(manifest), str(tmp_path / "run"), write_model(tmp_path), CONFIG)
    audit_here(plan)
    assert account(plan.run.path, monkeypatch, capsys)["failed"] == 5
    for verb in (["findings"], ["flag"], ["status", "--check"]):
        assert camaudit([verb[0], str(plan.run.path), *verb[1:]], monkeypatch) == 0


def test_images_changed_or_gone_after_indexing_fail_alone(tmp_path: Path) -> None:
    manifest = draw_collection(tmp_path, 6)
    (tmp_path / "001.png").unlink()
    (tmp_path / "002.png").write_text("now a text")
    paint(tmp_path / "003.png", (10, 20, 30))
    plan = prepare(str(manifest), str(tmp_path / "run"), write_model(tmp_path), CONFIG)
    audit_here(plan)
    assert [name for name, reason in statuses(plan.run).items() if reason] == ["001", "002"]


MASKS: dict[str, tuple[Writer, str]] = {
    "gone": (lambda path: path.unlink(), "No such file"),
    "of another size": (lambda path: Image.new("P", (7, 5)).save(path), "the size of the upright image"),
    "in RGB": (lambda path: Image.new("RGB", (48, 40)).save(path), "class-index mask"),
    "all void": (lambda path: Image.new("L", (48, 40), 255).save(path), "only void"),
    "of an unknown class": (lambda path: Image.new("L", (48, 40), 77).save(path), "77"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:60]), "Cannot decode"),
}


def test_bad_masks_are_error_rows_that_name_the_file_and_all_others_are_scored(tmp_path: Path) -> None:
    manifest = draw_collection(tmp_path, 9)
    for index, (spoil, _) in enumerate(MASKS.values()):
        spoil(tmp_path / f"{index:03d}-mask.png")
    plan = prepare(str(manifest), str(tmp_path / "run"), write_model(tmp_path), CONFIG)
    audit_here(plan)
    rows = [row for shard in plan.run.done() for row in plan.run.read("scores", shard).to_pylist()]
    for index, (_, part) in enumerate(MASKS.values()):
        bad = [row for row in rows if row["sample"] == index]
        assert {row["status"] for row in bad} == {"bad_mask"}
        assert all(part in row["reason"] and f"{index:03d}-mask.png" in row["reason"] for row in bad)
    assert {row["sample"] for row in rows if row["status"] == "scored"} == {6, 7, 8}
    assert plan.run.account().processed == 9


BOXES: dict[str, tuple[dict[str, float], str]] = {
    "nan": ({"x0": float("nan")}, "corners that are numbers of pixels"),
    "infinite": ({"y1": float("inf")}, "corners that are numbers of pixels"),
    "overturned": ({"x0": 40}, "corners x0, y0 up to x1, y1"),
    "of an unknown class": ({"class_id": 3}, "a class below 3, got 3"),
    "of a class beyond 16 bits": ({"class_id": 2**31 - 1}, "a class below 3"),
}
REGIONS = {
    "that overflow": '[{"class_id":0,"segmentation":[[0,0,1e400,9,9,9]],"iscrowd":0,"height":40,"width":48}]',
    "that nest too deeply": "[" * 200_000,
}


def with_bad_rows(manifest: Path) -> int:
    """Put bad boxes and regions into the first rows of a manifest, as a reader that checks nothing wrote them."""
    table = read_listed(manifest)
    columns = {name: table[name].to_pylist() for name in ("mask", "boxes", "regions")}
    whole = {"class_id": 0, "x0": 1, "y0": 1, "x1": 9, "y1": 9}
    columns["boxes"][: len(BOXES)] = [[whole | wrong] for wrong, _ in BOXES.values()]
    columns["regions"][len(BOXES) : len(BOXES) + len(REGIONS)] = REGIONS.values()
    count = len(BOXES) + len(REGIONS)
    columns["mask"][:count] = [None] * count
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table, manifest)
    return count


def test_bad_boxes_and_regions_are_bad_masks_with_their_reason_and_all_others_are_scored(tmp_path: Path) -> None:
    manifest = draw_collection(tmp_path, 10)
    bad = with_bad_rows(manifest)
    plan = prepare(str(manifest), str(tmp_path / "run"), write_model(tmp_path), CONFIG)
    assert all(isinstance(end, Finished) for end in audit_here(plan))
    rows = [row for shard in plan.run.done() for row in plan.run.read("scores", shard).to_pylist()]
    assert {row["status"] for row in rows if row["sample"] < bad} == {"bad_mask"}
    reasons = {row["sample"]: row["reason"] for row in rows}
    for index, (_, part) in enumerate(BOXES.values()):
        assert reasons[index].startswith(f"Boxes of sample '{index:03d}': Expected box 0 to have {part}")
    for index in range(len(BOXES), bad):
        assert reasons[index].startswith(f"Cannot draw the regions of sample '{index:03d}': ")
    assert {row["sample"] for row in rows if row["status"] == "scored"} == set(range(bad, 10))
    assert plan.run.account().processed == 10


def test_models_that_give_nan_inf_or_no_evidence_have_their_status_and_are_left_out_of_mean_iou(
    tmp_path: Path,
) -> None:
    manifest = draw_collection(tmp_path, 9)
    for index, colour in ((1, BAD), (2, GLOW), (5, BLANK)):
        paint(tmp_path / f"{index:03d}.png", colour)
    plan = prepare(str(manifest), str(tmp_path / "run"), write_model(tmp_path, NUMBERS), CONFIG)
    audit_here(plan)
    targets = [row for shard in plan.run.done() for row in plan.run.read("targets", shard).to_pylist()]
    found = {index: {row["status"] for row in targets if row["sample"] == index} for index in range(9)}
    odd = {1: {"not_finite"}, 2: {"not_finite"}, 5: {"no_evidence"}}
    assert found == {index: odd.get(index, {"ok"}) for index in range(9)}
    assert np.isnan(plan.run.maps(1, 3)).all()
    assert np.isnan(plan.run.maps(5, 6)).all()

    summary = json.loads((plan.run.path / "summary.json").read_text())
    assert summary["targets"]["no_evidence"] == sum(row["status"] == "no_evidence" for row in targets)
    assert summary["targets"]["not_finite"] == sum(row["status"] == "not_finite" for row in targets)
    without = {index for index in range(9) if index not in (1, 2, 5)}
    samples = [sample for index, sample in enumerate(Manifest.open(manifest)) if index in without]
    clean = Manifest.from_samples(samples, CLASSES).save(tmp_path / "clean/manifest.parquet")
    other = prepare(str(clean), str(tmp_path / "clean/run"), plan.task.spec, CONFIG)
    audit_here(other)
    expected = json.loads((other.run.path / "summary.json").read_text())
    assert summary["mean_iou_curve"] == expected["mean_iou_curve"]
    assert summary["means"] == expected["means"]


def failing_once(path: str, **_options: object) -> bytes:
    raise TransientError(f"Cannot read {path}, tried 3 times: {os.strerror(errno.EIO)}; resume to try again")


@pytest.mark.parametrize("part", ["datasets.decoding", "images.masks"])
def test_a_passing_read_error_is_recorded_and_tried_again_by_the_same_command(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = contents(finished(tmp_path / "whole").run)
    plan = planned(tmp_path / "flaky")

    def flaky(path: str) -> bytes:
        return failing_once(path) if path.endswith(("002.png", "002-mask.png")) else read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(f"audit.{part}.read_bytes", flaky)
        audit_here(plan)
    record = account(plan.run.path, monkeypatch, capsys)
    assert (record["failed"], record["transient"]) == ((1, 1) if part == "datasets.decoding" else (0, 1))
    assert [shard.index for shard in pending(plan.run)] == [0]
    audit_here(resumed(plan))
    assert account(plan.run.path, monkeypatch, capsys)["transient"] == 0
    assert contents(plan.run) == whole


def test_urls_without_their_package_and_urls_of_other_kinds_cost_their_own_samples_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_package(url: str) -> None:
        raise ImportError(f"Install what reads {url.partition(':')[0]}")

    monkeypatch.setattr("fsspec.core.url_to_fs", without_package)
    samples = list(Manifest.open(draw_collection(tmp_path, 6)))
    samples[0] = replace(samples[0], image="http://host/a.jpg")
    samples[1] = replace(samples[1], mask="https://host/a.png")
    samples[2] = replace(samples[2], image=f"local://{tmp_path}/002.png")
    samples[3] = replace(samples[3], mask=f"simplecache::file://{tmp_path}/003-mask.png")
    manifest = Manifest.from_samples(samples, CLASSES).save(tmp_path / "manifest.parquet")
    plan = prepare(str(manifest), str(tmp_path / "run"), write_model(tmp_path), CONFIG)
    assert all(isinstance(end, Finished) for end in audit_here(plan))

    rows = [row for shard in plan.run.done() for row in plan.run.read("samples", shard).to_pylist()]
    assert [row["transient"] for row in rows] == [True, True, False, False, False, False]
    assert [row["status"] == "failed" for row in rows] == [True, False, True, False, False, False]
    assert "pip install 'camaudit[http]'" in rows[0]["reason"]
    assert "Expected a path, or one URL of" in rows[2]["reason"]
    scores = [row for shard in plan.run.done() for row in plan.run.read("scores", shard).to_pylist()]
    reasons = {row["sample"]: row["reason"] for row in scores}
    assert "pip install 'camaudit[http]'" in reasons[1]
    assert "Expected a path, or one URL of" in reasons[3]
    assert {row["sample"] for row in scores if row["status"] == "scored"} == {4, 5}
    assert [shard.index for shard in pending(plan.run)] == [0]  # tried again once the packages are there


def test_scoring_again_reads_a_mask_that_could_not_be_read_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("audit.images.masks.read_bytes", failing_once)
        audit_here(plan)
    assert plan.run.account().transient == 10
    plan.run.begin_scoring()
    for shard in plan.run.shards:
        assert isinstance(rescore_shard(str(plan.run.path), shard), Finished)
    assert plan.run.account().transient == 0
    assert pending(Run.open(plan.run.path)) == []


def test_an_empty_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="found none"):
        read_folder(tmp_path)
