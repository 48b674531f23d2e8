"""Manifests on the disk: row groups, batches, streams of samples and of JSON."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.datasets import Box, Listing, Manifest, ManifestFile, Sample
from audit.datasets.manifest_file import rebatched
from audit.datasets.readers.json_stream import JsonStream
from audit.errors import ManifestError
from audit.store import Run, layout

CLASSES = ("cat", "dog", "emu")


def samples(count: int) -> Iterator[Sample]:
    for row in range(count):
        yield Sample(
            id=f"image {row:05d}",
            image=f"{row}.jpg",
            labels=tuple(range(row % 4)),
            mask=None if row % 3 else f"{row}.png",
            boxes=(Box(row % 3, 0, 1, row, 2.5),) * (row % 5),
            regions=None if row % 7 else "[]",
            attributes={"camera": "north" if row % 2 else None},
        )


def whole_fingerprint(listed: list[Sample], head: list[Any], schema: pa.Schema) -> str:
    """By the definition: an Arrow stream of batches, each made from the samples themselves."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, len(listed), 4096):
            table = Manifest.from_samples(listed[start : start + 4096], CLASSES).table
            columns = [pa.array(table[field.name].to_pylist(), field.type) for field in schema]
            writer.write_table(pa.table(columns, schema=schema))
    return hashlib.sha256(json.dumps([*head, schema.names]).encode() + sink.getvalue()).hexdigest()[:16]


@pytest.mark.parametrize("rows", [1, 7, 4096, 5000])
def test_a_fingerprint_is_of_the_rows_whatever_the_row_groups(tmp_path: Path, rows: int) -> None:
    count = 9001 if rows > 1 else 40
    manifest = Manifest.from_samples(samples(count), CLASSES)
    assert manifest.fingerprint == whole_fingerprint(list(samples(count)), [CLASSES, "index"], manifest.table.schema)
    manifest.save(tmp_path / "manifest.parquet", rows)
    file = ManifestFile.open(tmp_path / "manifest.parquet")
    assert pq.read_metadata(file.path).num_row_groups == -(-count // rows)
    renamed = file.named(("a", "b", "c"))
    assert renamed.fingerprint == manifest.named(("a", "b", "c")).fingerprint != manifest.fingerprint
    assert renamed.named(CLASSES).fingerprint == manifest.fingerprint == file.fingerprint


def test_a_listing_that_is_written_as_it_comes_is_the_manifest_that_is_held(tmp_path: Path) -> None:
    whole = Manifest.from_samples(samples(9001), CLASSES, root=tmp_path)
    file = Listing(samples(9001), CLASSES, str(tmp_path), attributes=("camera",)).save(tmp_path / "manifest.parquet")
    assert (file.head.root, file.fingerprint) == (whole.root, whole.fingerprint)
    opened = Manifest.open(file.path)
    assert opened.table.equals(whole.table)
    assert list(opened)[8999:] == list(whole)[8999:]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "at least one sample"),
        ([Sample("a", "a.jpg"), Sample("b", "b.jpg"), Sample("a", "c.jpg")], r"got 'a' twice \(rows 0 and 2\)"),
        ([Sample("a", "a.jpg", (3,))], "labels of 'a' below 3"),
    ],
)
def test_a_listing_that_cannot_be_a_manifest_leaves_no_file(tmp_path: Path, listed: list[Sample], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Listing(listed, CLASSES, "").save(tmp_path / "manifest.parquet")
    assert not list(tmp_path.iterdir())


def test_rows_of_a_manifest_are_the_same_wherever_they_begin(tmp_path: Path) -> None:
    manifest = Manifest.from_samples(samples(100), CLASSES)
    path = manifest.save(tmp_path / "manifest.parquet", 16)
    for start, stop in [(0, 100), (16, 32), (15, 33), (99, 100), (5, 5), (0, 0), (90, 200)]:
        assert Manifest.open(path, start, stop).table.equals(manifest.table.slice(start, max(stop - start, 0)))


def test_a_shard_of_a_run_reads_its_own_row_group_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Manifest.from_samples(samples(100), CLASSES).save(tmp_path / "manifest.parquet")
    record = {"config": {}, "model": {}, "grid": [2, 2], "slots": 1, "encoding": "float16", "shard_size": 16}
    run = Run.create(tmp_path / "run", ManifestFile.open(path), record)
    read: list[list[int]] = []

    def noted(file: Any, groups: list[int], **options: Any) -> pa.Table:
        read.append(groups)
        return original(file, groups, **options)

    original = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", noted)
    for shard in run.shards:
        assert run.manifest(shard.start, shard.stop).table["id"].to_pylist()[0] == f"image {shard.start:05d}"
    assert read == [[index] for index in range(7)]
    assert ManifestFile.open(run.path / layout.MANIFEST).fingerprint == run.record["manifest"]["fingerprint"]


def test_a_manifest_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    for count in (3, 8):
        Manifest.from_samples(samples(count), CLASSES).save(path)
        assert len(ManifestFile.open(path)) == len(Manifest.open(path)) == count


def test_batches_hold_all_rows_in_order() -> None:
    rng = np.random.default_rng(0)
    ends = np.cumsum([0, *rng.integers(0, 9, 30)])
    tables = [pa.table({"row": np.arange(start, stop)}) for start, stop in pairwise(ends)]
    batches = [table["row"].to_pylist() for table in rebatched(tables, 10)]
    assert [row for batch in batches for row in batch] == list(range(ends[-1]))
    assert {len(batch) for batch in batches[:-1]} == {10}


def drawn(rng: np.random.Generator, depth: int = 0) -> Any:
    kind = rng.integers(0, 8 if depth < 3 else 5)
    if kind < 5:
        return [int(rng.integers(-9, 10**6)), float(rng.normal()), 'a "b"\\ é\n}]', None, True][kind]
    if kind < 7:
        return [drawn(rng, depth + 1) for _ in range(rng.integers(0, 5))]
    return {f"k{place}": drawn(rng, depth + 1) for place in range(rng.integers(0, 4))}


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_a_stream_of_json_is_what_the_decoder_reads_at_once(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("audit.datasets.readers.json_stream._CHUNK", chunk)
    rng = np.random.default_rng(chunk)
    for _ in range(60):
        record = {f"member {place}": drawn(rng) for place in range(rng.integers(0, 6))}
        text = json.dumps(record, indent=None if rng.random() < 0.5 else 2)
        stream = JsonStream(io.StringIO(text))
        elements = list(stream)
        arrays = {name: value for name, value in json.loads(text).items() if isinstance(value, list)}
        assert stream.arrays == list(arrays)
        assert elements == [(name, element) for name, values in arrays.items() for element in values]


REFUSED = (
    "",
    "{",
    '{"a": [1',
    '{"a": [1 2]}',
    '{"a": [1,]}',
    '{"a": 1} x',
    '{"a" [1]}',
    '{"a": [1], }',
    "{1: 2}",
    "[1",
)


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_decoder_refuses_a_stream_refuses(text: str) -> None:
    for read in (json.loads, lambda text: list(JsonStream(io.StringIO(text)))):
        with pytest.raises(json.JSONDecodeError):
            read(text)
