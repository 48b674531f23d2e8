"""Manifests, exports and pages at URLs: what a bucket holds is what a folder would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bucket import Bucket, put_of
from drawn_labels import DrawnLabels, drawn_labels

from audit.datasets import Manifest, ManifestFile, Sample
from audit.errors import ImageError, ManifestError, RunError, TransientError
from audit.export import LABEL_FORMATS, export_labels
from audit.findings import Findings
from audit.images import read_bytes
from audit.progress import Advanced, Began, Event
from audit.segmentation import LabelImage
from audit.store import Shard
from audit.store.storage.objects import ObjectPath
from faults.collection import CONFIG, audit_here, camaudit, draw_collection, finished, refusals, write_model
from pipelines.run.plan import prepare

ON_DISK = tuple(name for name, kind in LABEL_FORMATS.items() if kind.needs_disk)
ANYWHERE = tuple(name for name in LABEL_FORMATS if name not in ON_DISK)
ROWS, A_GROUP = 4000, 500


@pytest.fixture
def source(tmp_path: Path) -> DrawnLabels:
    return drawn_labels(tmp_path / "drawn")


def place(bucket: Bucket, key: str) -> ObjectPath:
    return ObjectPath.parse(f"{bucket.url}/{key}")


def contents(out: Path | ObjectPath) -> dict[str, bytes]:
    """Of all files, but for the lock and what says of which run they are."""
    files = out.below() if isinstance(out, ObjectPath) else (path for path in out.rglob("*") if path.is_file())
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in files}  # type: ignore[arg-type]
    return {name: content for name, content in found.items() if not name.endswith(("lock", "camaudit-export.json"))}


class Dying(DrawnLabels):
    """A source that is interrupted in its second shard."""

    def images(self, shard: Shard) -> Iterator[LabelImage]:
        for image in super().images(shard):
            if shard.index:
                raise KeyboardInterrupt
            yield image


@pytest.mark.parametrize("name", ANYWHERE)
def test_an_export_into_a_bucket_is_that_into_a_folder(
    name: str, source: DrawnLabels, bucket: Bucket, tmp_path: Path
) -> None:
    out = place(bucket, f"exports/{name}")
    said = export_labels(source, name, tmp_path / "out")
    assert export_labels(source, name, out) == said.replace(str(tmp_path / "out"), str(out))
    assert contents(out) == contents(tmp_path / "out")


def test_an_export_into_a_bucket_that_was_interrupted_is_gone_on_with(source: DrawnLabels, bucket: Bucket) -> None:
    out, whole = place(bucket, "out"), place(bucket, "whole")
    export_labels(source, "voc-png", whole)
    with pytest.raises(KeyboardInterrupt):
        export_labels(Dying(source.run), "voc-png", out)
    events: list[Event] = []
    export_labels(source, "voc-png", out, events.append)
    assert events[0] == Began("exporting", 7, 3)
    assert [event for event in events if isinstance(event, Advanced)] == [Advanced(3, 1), Advanced(1, 0)]
    assert contents(out) == contents(whole)
    with pytest.raises(RunError, match="Expected --out to be new"):
        export_labels(source, "voc-png", out)


def test_another_export_over_it_leaves_nothing_of_the_earlier(source: DrawnLabels, bucket: Bucket) -> None:
    out, fresh = place(bucket, "out"), place(bucket, "fresh")
    export_labels(source, "npz", out)
    export_labels(source, "coco", out, overwrite=True)
    export_labels(source, "coco", fresh)
    assert contents(out) == contents(fresh)


def test_a_file_that_the_bucket_lost_is_written_again(source: DrawnLabels, bucket: Bucket) -> None:
    out = place(bucket, "out")
    export_labels(source, "voc-png", out)
    whole = contents(out)
    lost = next(path for path in sorted(out.below()) if path.suffix == ".png")
    lost.unlink()
    export_labels(source, "voc-png", out, overwrite=True)
    assert contents(out) == whole


def test_a_put_that_fails_leaves_its_shard_to_be_written(source: DrawnLabels, bucket: Bucket) -> None:
    out = place(bucket, "out")
    bucket.faults.refuse(put_of("sub"), 403, times=99)
    bucket.faults.refuse(put_of(".png"), 403, times=1)
    with pytest.raises(PermissionError, match="credentials"):
        export_labels(source, "voc-png", out)
    assert not list((out / ".camaudit").glob("part-*.json"))
    bucket.faults.forget()
    export_labels(source, "voc-png", out)
    assert len([name for name in contents(out) if name.endswith(".png")]) == 6


@pytest.mark.parametrize("name", ON_DISK)
def test_what_no_bucket_can_hold_is_refused_before_anything_is_written(
    name: str, source: DrawnLabels, bucket: Bucket
) -> None:
    with pytest.raises(RunError, match="no bucket can; write it to a folder, or export voc-png"):
        export_labels(source, name, place(bucket, "out"))
    assert not place(bucket, "").below()


def long_manifest(bucket: Bucket, tmp_path: Path) -> tuple[Manifest, ObjectPath]:
    """One of several row groups, whose images differ from row to row."""
    rng = np.random.default_rng(0)
    names = [rng.bytes(20).hex() for _ in range(ROWS)]
    listed = Manifest.from_samples((Sample(f"{row}", name, (row % 3,)) for row, name in enumerate(names)), "abc")
    path = place(bucket, "lists/all.parquet")
    path.put(listed.save(tmp_path / "all.parquet", A_GROUP))
    return listed, path


def test_of_a_manifest_in_a_bucket_the_row_groups_that_are_asked_for_are_read(bucket: Bucket, tmp_path: Path) -> None:
    listed, path = long_manifest(bucket, tmp_path)
    assert Manifest.open(path).table.equals(listed.table)
    assert ManifestFile.open(path).fingerprint == listed.fingerprint
    read = list[int]()
    ask = ObjectPath.read_range
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectPath, "read_range", lambda *asked: read.append(asked[2] - asked[1]) or ask(*asked))
        few = Manifest.open(path, 700, 720)
    assert few.table.equals(listed.table.slice(700, 20))
    assert len(read) <= 2
    assert sum(read) < path.size() / 4


def test_a_manifest_that_is_written_over_is_not_read_half_and_half(bucket: Bucket, tmp_path: Path) -> None:
    _, path = long_manifest(bucket, tmp_path)
    opened = ManifestFile.open(path)
    source = path.open()
    path.put(Manifest.from_samples([Sample("a", "a.png", (0,))], "abc").save(tmp_path / "other.parquet"))
    with pytest.raises(OSError, match="Another version was written meanwhile"):
        source.read(10)
    assert len(ManifestFile.open(path)) == 1
    with pytest.raises(ManifestError):
        opened.rows(0, 10)


def test_a_manifest_at_a_url_is_audited_as_the_file_is(bucket: Bucket, tmp_path: Path) -> None:
    local, spec = draw_collection(tmp_path, 8), write_model(tmp_path)
    place(bucket, "lists/val.parquet").put(local)
    here = prepare(local, tmp_path / "here", spec, CONFIG)
    there = prepare(f"{bucket.url}/lists/val.parquet", tmp_path / "there", spec, CONFIG)
    assert there.run.manifest().table.equals(here.run.manifest().table)
    assert there.run.record["artefacts"] == here.run.record["artefacts"]
    assert prepare(f"{bucket.url}/lists/val.parquet", tmp_path / "here", spec, CONFIG).resumed


def test_images_and_masks_in_a_bucket_are_audited_as_those_on_the_disk(bucket: Bucket, tmp_path: Path) -> None:
    here = finished(tmp_path)
    samples = list(here.run.manifest())
    for path in tmp_path.glob("*.png"):
        place(bucket, f"photos/größe 1/{path.name}").put(path)
    root = f"{bucket.url}/photos/größe 1"
    moved = [
        replace(sample, image=Path(sample.image).name, mask=Path(str(sample.mask)).name, boxes=()) for sample in samples
    ]
    manifest = Manifest.from_samples(moved, here.run.classes, root).save(tmp_path / "there.parquet")
    there = prepare(manifest, tmp_path / "there", here.task.spec, CONFIG)
    audit_here(there)
    np.testing.assert_array_equal(there.run.maps(0, 10), here.run.maps(0, 10))
    assert Findings(there.run).targets().equals(Findings(here.run).targets())


def test_an_image_that_a_bucket_does_not_give_is_told_of_in_a_line(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(bucket, "a.png").put(b"content")
    assert read_bytes(f"{bucket.url}/a.png") == b"content"
    with pytest.raises(ImageError, match=r"No such file: s3://.*/b.png; check the path$"):
        read_bytes(f"{bucket.url}/b.png")
    with pytest.raises(ImageError, match=r"Cannot read s3://.*//b.png"):
        read_bytes(f"{bucket.url}/a//b.png")
    bucket.faults.refuse(lambda method, path: path.endswith("a.png"), 403)
    with pytest.raises(ImageError, match=r"Permission denied: s3://.*; Access denied; check the credentials"):
        read_bytes(f"{bucket.url}/a.png")
    bucket.faults.refuse(lambda method, path: path.endswith("a.png"), 503, times=2)
    assert read_bytes(f"{bucket.url}/a.png") == b"content"
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(TransientError, match=r"Cannot use az://nobody: .*; resume to try again"):
        read_bytes("az://nobody/a.png")


def test_an_index_is_written_to_a_url(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = draw_collection(tmp_path / "photos", 6).parent
    here, there = tmp_path / "here.parquet", f"{bucket.url}/lists/there.parquet"
    for out in (str(here), there):
        assert camaudit(["index", "folder", str(images), "-o", out], monkeypatch) == 0, capsys.readouterr().err
    assert ObjectPath.parse(there).read_bytes() == here.read_bytes()
    assert [path.name for path in place(bucket, "lists").iterdir()] == ["there.parquet"]


def test_a_place_that_cannot_be_is_refused_in_a_line(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path, 6)
    spec, run = write_model(tmp_path), str(tmp_path / "run")
    place(bucket, "photos/a.png").put(b"")
    model = ["--model", spec.model, "-o", run]
    for arguments, told in (
        (["run", f"{bucket.url}/none.parquet", *model], "No manifest at s3://"),
        (["run", f"{bucket.url}-none/val.parquet", *model], "No such bucket"),
        (["run", f"{bucket.url}/photos", *model], "got a folder; list its images in a table"),
        (["run", f"{bucket.url}/photos/a.png", *model], "Expected a manifest in Parquet"),
        (["run", "ftp://host/val.parquet", *model], "Expected a URL as s3://BUCKET/FOLDER"),
        (
            ["train", str(tmp_path / "manifest.parquet"), "--model", "x:y", "-o", "s3://b/m.pt"],
            "got s3://b/m.pt; write",
        ),
        (["index", "folder", "s3://b/photos", "-o", str(tmp_path / "x.parquet")], "got s3://b/photos; copy it here"),
        (["index", "folder", str(tmp_path), "-o", f"{bucket.url}-none/x.parquet"], "No such bucket"),
        (["scenes", "s3://b/scenes"], "got s3://b/scenes; write it here"),
    ):
        assert camaudit(arguments, monkeypatch) != 0
        (line,) = refusals(capsys.readouterr().err)
        assert told in line, line
    assert not Path("s3:").exists()
