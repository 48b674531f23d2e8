"""Exports: pseudo-masks as VOC files, findings as CSV and Parquet, names and texts that could do harm."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rewritten import put_findings

from audit.datasets import Manifest
from audit.datasets.manifest import Sample
from audit.errors import RunError
from audit.export import PseudoMasks, export_run, export_table
from audit.findings import ClassFinding, Finding, Findings
from audit.findings.writing import FindingsWriter
from audit.images.masks import voc_palette
from audit.images.views import View, upsample
from audit.store import Run, layout
from audit.store.storage.files import file_stem

CLASSES = ("cat", "dog", "bird")
VIEW = View(2.0, 0.0, 14.0, 12.0)
HEIGHT, WIDTH = 12, 16
IDS = ("a/1", "broken", "a/2", "a_3")


def target(sample: int, slot: int, class_id: int, role: str, status: str = "ok") -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(layout.TARGETS.names, 0)
    return values | {
        "sample": sample,
        "slot": slot,
        "class_id": class_id,
        "class": CLASSES[class_id],
        "role": role,
        "status": status,
    }


TARGETS = [
    target(0, 0, 2, "label"),
    target(0, 1, 0, "label"),
    target(0, 2, 1, "predicted"),
    target(2, 0, 1, "label", "no_evidence"),
    target(3, 0, 0, "predicted"),
]


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def a_run(path: Path, classes: tuple[str, ...] = CLASSES) -> Run:
    """A run over four samples in two shards, the second of them unreadable, with maps of its targets."""
    manifest = Manifest.from_samples([Sample(name, f"{name}.jpg") for name in IDS], classes)
    run = Run.create(
        path,
        manifest,
        {"config": {}, "model": {}, "encoding": "float16"} | {"grid": [4, 4], "slots": 3, "shard_size": 2},
    )
    maps = np.random.default_rng(3).random((4, 3, 4, 4)).astype(np.float16)
    maps[1] = np.nan
    for shard in run.shards:
        rows = range(shard.start, shard.stop)
        samples = [sample_row(row) for row in rows]
        targets = [row for row in TARGETS if row["sample"] in rows]
        counts = {"processed": sum(row["status"] == "processed" for row in samples), "failed": 0, "transient": 0}
        tables = {"samples": columns(samples), "targets": columns(targets)}
        run.commit(shard, maps[shard.start : shard.stop], tables, counts | {"seconds": 0.0})
    return run


def sample_row(row: int) -> dict[str, Any]:
    place = {"height": HEIGHT, "width": WIDTH, "x0": VIEW.x0, "y0": VIEW.y0, "x1": VIEW.x1, "y1": VIEW.y1}
    status = "failed" if IDS[row] == "broken" else "processed"
    return {
        "sample": row,
        "id": IDS[row],
        "status": status,
        "reason": None,
        "transient": False,
        "digest": "",
        "look": 0,
    } | place


def finding(name: str, suspicion: float, **texts: str) -> dict[str, Any]:
    values: dict[str, Any] = {field.name: "text" if str(field.type) == "string" else 0 for field in Finding.schema()}
    return values | {"finding_id": name, "suspicion": suspicion} | texts


def with_findings(run: Run, *parts: list[dict[str, Any]]) -> Run:
    put_findings(run, layout.CLASS_FINDINGS, {name: [] for name in ClassFinding.schema().names}, ClassFinding.schema())
    for shard, rows in enumerate(parts):
        put_findings(run, layout.part_name(shard), columns(rows), Finding.schema())
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return a_run(tmp_path / "run")


def read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.getpalette() == voc_palette().ravel().tolist()
        return np.asarray(image)


def test_each_processed_sample_has_a_voc_file_of_its_labels_pseudo_mask(run: Run, tmp_path: Path) -> None:
    said = export_run(run, "voc-png", tmp_path / "out", PseudoMasks(0.6))
    assert said == f"{tmp_path / 'out'}: 3 pseudo-masks at threshold 0.600"
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a__1.png", "a__2.png", "a_3.png"}
    heat = upsample(run.maps(0, 1)[0, :2], VIEW, HEIGHT, WIDTH)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[:, 2:14] = oracles.segment(heat, [2, 0], 0.6)
    np.testing.assert_array_equal(read_png(tmp_path / "out/a__1.png"), expected)
    assert set(np.unique(expected)) == {0, 1, 3}


def test_a_map_without_evidence_and_a_role_not_asked_for_leave_background(run: Run, tmp_path: Path) -> None:
    export_run(run, "voc-png", tmp_path / "out", PseudoMasks(0.0))
    assert not read_png(tmp_path / "out/a__2.png").any()
    assert not read_png(tmp_path / "out/a_3.png").any()


def test_predicted_targets_take_part_when_asked_for(run: Run, tmp_path: Path) -> None:
    export_run(run, "voc-png", tmp_path / "out", PseudoMasks(0.0, ("predicted",)))
    assert (read_png(tmp_path / "out/a__1.png")[:, 2:14] == 2).all()
    assert (read_png(tmp_path / "out/a_3.png")[:, 2:14] == 1).all()


ids = st.text(st.sampled_from("ab/_.% -ß\n\\:") | st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(ids | ids.map(lambda text: text * 400))
def test_a_samples_file_stays_in_its_folder_whatever_its_id(sample_id: str) -> None:
    name = f"{file_stem(sample_id)}.png"
    assert "/" not in name
    assert "\x00" not in name
    assert not name.startswith(".")
    assert ".." not in name.removesuffix(".png")
    assert len(name.encode()) <= 255


@given(ids, ids)
def test_no_two_samples_share_a_file(one: str, other: str) -> None:
    assert (file_stem(one) == file_stem(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [("a/b", "a__b"), ("a_/b", "a/_b"), ("a b", "a%20b"), ("x" * 300, "x" * 301), ("a//b", "a____b")]
)
def test_ids_that_look_alike_have_files_of_their_own(one: str, other: str) -> None:
    assert file_stem(one) != file_stem(other)


def test_findings_of_all_shards_come_most_suspicious_first(run: Run) -> None:
    with_findings(run, [finding("0:0:avoids", 0.2), finding("0:1:avoids", 0.9)], [finding("2:0:avoids", 0.5)])
    assert Findings(run).targets()["finding_id"].to_pylist() == ["0:1:avoids", "2:0:avoids", "0:0:avoids"]


def test_a_flagged_run_without_findings_exports_an_empty_table_and_one_that_was_not_none(
    run: Run, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="camaudit score"):
        export_table(run, tmp_path / "findings.parquet")
    assert export_table(with_findings(run), tmp_path / "findings.parquet") == 0
    assert pq.read_table(tmp_path / "findings.parquet").schema.names == [
        *Finding.schema().names,
        "verdict",
        "reviewers",
    ]


@pytest.mark.parametrize("summary", [{}, {"mean_iou": 3, "threshold": "x"}])
def test_masks_by_the_threshold_of_a_damaged_summary_are_refused(
    summary: dict[str, Any], run: Run, tmp_path: Path
) -> None:
    FindingsWriter.beside(Findings(run)).write_summary(summary)
    with pytest.raises(RunError, match="camaudit flag"):
        export_run(run, "voc-png", tmp_path / "masks", PseudoMasks())
    assert not (tmp_path / "masks").exists()


HOSTILE = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'say "hi", twice', "two\nlines", "<script>alert(1)</script>")


def test_texts_in_csv_are_quoted_and_never_begin_a_formula(run: Run, tmp_path: Path) -> None:
    with_findings(run, [finding(f"{place}:0:avoids", 1 - place / 100, id=text) for place, text in enumerate(HOSTILE)])
    assert export_table(run, tmp_path / "findings.csv") == len(HOSTILE)
    with (tmp_path / "findings.csv").open(newline="") as file:
        found = [row["id"] for row in csv.DictReader(file)]
    assert found == ["'" + text if text[0] in "=+-@\t\r" else text for text in HOSTILE]


def test_texts_in_parquet_are_as_they_were(run: Run, tmp_path: Path) -> None:
    with_findings(run, [finding(f"{place}:0:avoids", 1 - place / 100, id=text) for place, text in enumerate(HOSTILE)])
    export_table(run, tmp_path / "findings.parquet")
    assert tuple(pq.read_table(tmp_path / "findings.parquet")["id"].to_pylist()) == HOSTILE
