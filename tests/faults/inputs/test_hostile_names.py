"""Hostile ids, paths and labels: shown as text, neutral in CSV, and nothing is written outside RUN and the export."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from audit.datasets.manifest import Manifest, Sample, storable_path
from audit.errors import ManifestError
from audit.store.storage.files import file_stem
from faults.collection import CONFIG, account, audit_here, camaudit, draw_sample, save, write_model
from pipelines.run.plan import Plan, prepare

LABELS = ("<script>alert(1)</script>", "=cmd|' /C calc'!A0", "L" * 4096)
IDS = (
    "../../evil",
    "/etc/evil",
    "a/b",
    "a__b",
    "a_/b",
    "..",
    ".hidden",
    "with space",
    "100%",
    "100%25",
    "new\nline",
    "\x1b[2Jclear",
    "=HYPERLINK(1)",
    "@sum",
    "[/red]markup",
    "语言 🐟",
    "x" * 4096,
    "x" * 4095 + "y",
)


def hostile(folder: Path) -> Plan:
    """A finished run over samples with hostile ids and labels, off-object so that all become findings."""
    rng = np.random.default_rng(3)
    samples = []
    for index, name in enumerate(IDS):
        drawn = draw_sample(folder, f"{index:02d} file", rng, elsewhere=True)
        samples.append(Sample(name, drawn.image, drawn.labels, drawn.mask))
    manifest = Manifest.from_samples(samples, LABELS, folder).save(folder / "manifest.parquet")
    plan = prepare(str(manifest), str(folder / "run"), write_model(folder), CONFIG)
    audit_here(plan)
    return plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return hostile(tmp_path_factory.mktemp("hostile"))


def test_every_hostile_sample_is_processed_and_the_run_can_be_read(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert account(plan.run.path, monkeypatch, capsys)["processed"] == len(IDS)
    assert camaudit(["findings", str(plan.run.path)], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "[/red]markup" in shown
    assert "<script>" in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) < 400


def test_masks_of_hostile_ids_are_written_in_the_export_folder_alone_and_one_each(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "er" / "masks"
    arguments = ["export", str(plan.run.path), "--format", "voc-png", "-o", str(out), "--threshold", "0.5"]
    assert camaudit(arguments, monkeypatch) == 0
    own = {out / "camaudit-export.json", out / "confidence.csv", *(out / ".camaudit").iterdir()}
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path not in own]
    assert len(written) == len(IDS)
    assert {path.parent for path in written} == {out}
    assert {np.asarray(Image.open(path)).shape for path in written} == {(40, 48)}


def test_no_two_ids_share_a_file_name() -> None:
    pieces = ["a", "_", "/", ".", "%", "%2F", "A", " "]
    ids = {x + y + z for x in pieces for y in pieces for z in pieces}
    stems = {file_stem(name) for name in ids}
    assert len(stems) == len(ids)
    assert not any(os.sep in stem or stem.startswith(".") or ".." in stem for stem in stems)
    assert all(len(file_stem(name).encode()) < 250 for name in IDS)


def test_csv_neutralises_formulas_and_parquet_keeps_texts(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("csv", "parquet"):
        arguments = ["export", str(plan.run.path), "--format", kind, "-o", str(tmp_path / f"findings.{kind}")]
        assert camaudit(arguments, monkeypatch) == 0
    with (tmp_path / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = pq.read_table(tmp_path / "findings.parquet").to_pylist()
    assert len(rows) == len(kept) >= len(IDS)
    assert {row["id"] for row in kept} == set(IDS)
    for row, true in zip(rows, kept, strict=True):
        for name in ("id", "class"):
            dangerous = true[name][0] in "=+-@\t\r"
            assert row[name] == ("'" if dangerous else "") + true[name]


def test_duplicate_ids_are_refused() -> None:
    twice = [Sample("a", "1.png"), Sample("a", "2.png")]
    with pytest.raises(ManifestError, match="unique ids"):
        Manifest.from_samples(twice, ("x",))


def test_names_that_are_not_utf8_or_leave_the_root_are_read_and_never_written(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    picture = np.full((40, 48, 3), 100, np.uint8)
    save(folder / "plain.png", picture)
    data = (folder / "plain.png").read_bytes()
    raw = os.path.join(os.fsencode(folder), b"caf\xe9.png")
    with open(raw, "wb") as file:
        file.write(data)
    (tmp_path / "outside.png").write_bytes(data)
    samples = [
        Sample("not utf-8", storable_path(os.fsdecode(raw))),
        Sample("outside", "../outside.png"),
        Sample("plain", "plain.png"),
    ]
    manifest = Manifest.from_samples(samples, ("x", "y", "z"), folder).save(tmp_path / "manifest.parquet")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    spec = write_model(tmp_path)
    plan = prepare(str(manifest), str(tmp_path / "run"), spec, CONFIG)
    audit_here(plan)
    assert plan.run.account().processed == 3
    new = {path for path in tmp_path.rglob("*") if path not in before} - {tmp_path / "model.py"}
    assert all((tmp_path / "run") in (path, *path.parents) for path in new)
    assert {path: path.stat().st_mtime_ns for path in before if path != tmp_path} == {
        path: time for path, time in before.items() if path != tmp_path
    }


def test_json_of_hostile_findings_parses_back_to_the_very_texts(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert camaudit(["findings", str(plan.run.path), "--json"], monkeypatch) == 0
    record = json.loads(capsys.readouterr().out)
    assert {row["id"] for row in record["targets"]} == set(IDS)
    assert {row["class"] for row in record["classes"]} <= set(LABELS)
