"""Label images are written shard by shard: gone on with when interrupted, changed only where labels have changed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_labels import DrawnLabels, drawn_labels

from audit.errors import RunError
from audit.export import LABEL_FORMATS, export_labels
from audit.export.labels import write_shard
from audit.export.labels.kind import PARTS, Part
from audit.export.labels.writing import Work, one_by_one
from audit.progress import Advanced, Began, Event, Progress
from audit.segmentation import LabelImage
from audit.store import Shard
from audit.store.storage.files import read_json
from audit.store.storage.objects import ObjectPath


@dataclass(frozen=True)
class Dying(DrawnLabels):
    """A source that ends in the middle of its last shard."""

    def images(self, shard: Shard) -> Iterator[LabelImage]:
        for place, image in enumerate(super().images(shard)):
            if shard.index == 1 and place == 1:
                raise KeyboardInterrupt
            yield image


def files(out: Path, but: tuple[str, ...] = ("camaudit-export.json", ".camaudit/lock")) -> dict[str, str]:
    """Contents of all files of an export, links as where they lead."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file() and name not in but:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def source(tmp_path: Path) -> DrawnLabels:
    return drawn_labels(tmp_path)


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_an_interrupted_export_is_gone_on_with_to_the_same_files(name: str, source: Any, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    said = export_labels(source, name, whole).removeprefix(str(whole))
    with pytest.raises(KeyboardInterrupt):
        export_labels(Dying(source.run), name, out)
    assert not any(out.rglob("*.partial"))
    assert not any((out / joined).exists() for joined in LABEL_FORMATS[name].joined)
    events: list[Event] = []
    assert export_labels(source, name, out, events.append).removeprefix(str(out)) == said
    assert events[0] == Began("exporting", 7, 3)
    assert [event for event in events if isinstance(event, Advanced)] == [Advanced(3, 1), Advanced(1, 0)]
    assert files(out) == files(whole)


SLOWLY = """
import sys, time
from pathlib import Path
from drawn_labels import DrawnLabels
from audit.export import export_labels
from audit.store import Run

class Slow(DrawnLabels):
    def images(self, shard):
        for place, image in enumerate(super().images(shard)):
            time.sleep(60 * (shard.index == 1 and place == 1))
            yield image

export_labels(Slow(Run.open(sys.argv[1])), "voc", Path(sys.argv[2]))
"""


def test_an_export_that_was_killed_is_gone_on_with_to_the_same_files(source: DrawnLabels, tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    export_labels(source, "voc", whole)
    places = os.pathsep.join(map(str, (Path(__file__).parents[3], Path(__file__).parents[2] / "support")))
    command = [sys.executable, "-c", SLOWLY, str(source.run.path), str(out)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": places}) as process:
        deadline = time.monotonic() + 60
        while len(list(out.rglob("SegmentationClass/*.png"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(RunError, match=r"is in use by process .*; wait for it"):
            export_labels(source, "voc", out)
        process.kill()
    assert not read_json(out / "camaudit-export.json", "")["finished"]
    assert files(out) != files(whole)
    export_labels(source, "voc", out)
    assert files(out) == files(whole)


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_an_export_made_again_writes_no_shard_and_changes_nothing(
    name: str, source: DrawnLabels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export_labels(source, name, out)
    before = files(out)
    monkeypatch.setattr(DrawnLabels, "images", lambda *_: pytest.fail("a shard was read again"))
    export_labels(source, name, out, overwrite=True)
    assert files(out) == before


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_labels_that_have_changed_take_the_place_of_the_earlier(name: str, source: Any, tmp_path: Path) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    export_labels(source, name, out)
    changed = replace(source, seed=1, failed=(0, 1))
    export_labels(changed, name, out, overwrite=True)
    export_labels(changed, name, fresh)
    assert files(out) == files(fresh)


@pytest.mark.parametrize("left", [None, b"{"], ids=["lost", "cut"])
def test_a_record_that_cannot_be_read_once_all_is_written_is_one_line(
    left: bytes | None, source: DrawnLabels, tmp_path: Path
) -> None:
    record = tmp_path / "out" / PARTS / "part-00001.json"

    def spoil(shards: list[Shard], work: Work, progress: Progress) -> None:
        one_by_one(shards, work, progress)
        record.unlink() if left is None else record.write_bytes(left)

    with pytest.raises(RunError, match=r"Cannot read .*part-00001.json; run the same command again"):
        export_labels(source, "coco", tmp_path / "out", spread=spoil)
    assert export_labels(source, "coco", tmp_path / "out").endswith(": 6 pseudo-masks")


def test_a_part_goes_into_no_bucket_without_uploads_that_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectPath, "put", lambda *_: pytest.fail("nobody waits for this"))
    with pytest.raises(TypeError, match=r"Expected uploads to write s3://b/out/a.png by, got none"):
        Part(ObjectPath.parse("s3://b/out"), 0).write("a.png", lambda path: path.write_bytes(b"a"))


def test_another_format_leaves_nothing_of_the_earlier(source: DrawnLabels, tmp_path: Path) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    for name in (*LABEL_FORMATS, "coco"):
        export_labels(source, name, out, overwrite=True)
    export_labels(source, "coco", fresh)
    assert files(out) == files(fresh)


def test_a_file_that_was_lost_or_cut_short_is_written_again(source: DrawnLabels, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_labels(source, "voc-png", out)
    before = files(out)
    (out / "a__1.png").write_bytes(b"")
    (out / "gone.png").unlink()
    export_labels(source, "voc-png", out, overwrite=True)
    assert files(out) == before


def test_a_damaged_record_of_a_shard_has_it_written_again(source: DrawnLabels, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_labels(source, "coco", out)
    before = files(out)
    (out / PARTS / "part-00001.json").write_text("{")
    export_labels(source, "coco", out, overwrite=True)
    assert files(out) == before


def test_a_record_that_names_files_outside_is_refused(source: DrawnLabels, tmp_path: Path) -> None:
    from audit.store.storage.files import write_json

    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    mine.write_text("mine")
    export_labels(source, "voc-png", out)
    write_json(out / PARTS / "part-00000.json", {"of": "", "files": {"../mine.txt": 4}, "counts": {}})
    with pytest.raises(RunError, match="do not trust this run"):
        export_labels(source, "voc-png", out, overwrite=True)
    assert mine.read_text() == "mine"


def test_the_record_says_what_the_export_is_of(source: DrawnLabels, tmp_path: Path) -> None:
    export_labels(source, "npz", tmp_path / "out")
    record = read_json(tmp_path / "out/camaudit-export.json", "")
    assert record["finished"]
    assert record["manifest"] == source.run.record["manifest"]["fingerprint"]
    assert record["of"] == {
        "format": "npz",
        "labels": {"labels": "drawn"},
        "classes": list(source.classes),
        "shards": 3,
        "a_folder": 4096,
    }


@pytest.mark.parametrize("shard_size", [1, 3])
def test_two_samples_of_one_image_are_refused_by_cvat_in_one_line(shard_size: int, tmp_path: Path) -> None:
    class Same(DrawnLabels):
        def image(self, row: int, sample: Any) -> LabelImage:
            image = f"{self.run.manifest().root}/a.jpg"
            return replace(super().image(row, sample), sample=replace(sample, image=image))

    with pytest.raises(RunError, match="two samples have 'a'; export voc"):
        export_labels(Same(drawn_labels(tmp_path, shard_size=shard_size).run), "cvat", tmp_path / "out")


@dataclass(frozen=True)
class Large(DrawnLabels):
    """Twelve images of a megapixel in one shard."""

    def images(self, shard: Shard) -> Iterator[LabelImage]:
        sample = next(iter(self.run.manifest(0, 1)))
        for row in range(12):
            mask = np.zeros((1000, 1000), np.int16)
            mask[row * 20 : 700] = 1
            yield LabelImage(row, replace(sample, id=str(row), image=f"{row}.png"), mask, {0: 0.5}, None)


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_a_shard_is_written_one_image_at_a_time(name: str, tmp_path: Path) -> None:
    source = Large(drawn_labels(tmp_path, shard_size=7).run)
    write_shard(source, name, tmp_path / "warm", source.shards[0])
    tracemalloc.start()
    write_shard(source, name, tmp_path / "out", source.shards[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24e6 + 12e6  # twelve masks take 24 MB; Label Studio's bytes as Python numbers are the largest
