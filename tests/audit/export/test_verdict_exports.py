"""What reviewers decided, as other tools read it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO
from small_run import CLASSES, HEIGHT, HOSTILE, WIDTH, make_run

from audit.errors import RunError
from audit.export import PseudoMasks, export_run, findings_record
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.store import Run
from audit.store.verdicts.log import VerdictLog


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two reviewers on three of five targets and a claim; one drew two boxes."""
    run = Run.open(make_run(tmp_path_factory.mktemp("small")))
    log = VerdictLog.of(run)
    log.add("0:0", "disagree", "Ana", "=cmd()", box=(8, 8, 24, 24))
    log.add("0:0", "disagree", "Ana", "two of them", box=(40, 8, 56.5, 24))
    log.add_all(["1:0", "4:0"], "agree", "Ana")
    log.add("1:0", "disagree", "Ben")
    log.add("4:0", "unsure", "Ben")
    log.add("zone:square:corner", "agree", "Ben")
    log.add("2:0", "agree", "Ben")
    log.undo("Ben")
    return run


def exported(run: Run, name: str, out: Path) -> str:
    return export_run(run, name, out, PseudoMasks())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_each_verdict_that_stands_is_a_row_of_the_csv(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "verdicts.csv"
    assert exported(run, "verdicts", out) == f"{out}: 6 verdicts"
    rows = list(csv.DictReader(out.open(newline="")))
    assert [(row["subject"], row["reviewer"], row["decision"], row["together"]) for row in rows] == [
        ("0:0", "Ana", "disagree", "disagree"),
        ("1:0", "Ana", "agree", "conflict"),
        ("4:0", "Ana", "agree", "agree"),
        ("1:0", "Ben", "disagree", "conflict"),
        ("4:0", "Ben", "unsure", "agree"),
        ("zone:square:corner", "Ben", "agree", "agree"),
    ]
    assert (rows[0]["id"], rows[0]["class"], rows[0]["note"]) == ("a", "square", "two of them")
    assert [rows[0][corner] for corner in ("x0", "y0", "x1", "y1")] == ["40", "8", "56.5", "24"]
    assert (rows[5]["sample"], rows[5]["id"], rows[5]["class"]) == ("", "", "")
    assert rows[1]["batch"] == rows[2]["batch"] != ""
    assert {row["key"] for row in rows} < {verdict.key for verdict in VerdictLog.of(run).rows()}


def test_texts_that_a_spreadsheet_would_run_are_quoted(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    VerdictLog.of(run).add("0:0", "agree", "=HYPERLINK()", "+1")
    exported(run, "verdicts", tmp_path / "v.csv")
    (row,) = csv.DictReader((tmp_path / "v.csv").open(newline=""))
    assert (row["reviewer"], row["note"]) == ("'=HYPERLINK()", "'+1")


def test_the_json_says_the_same_and_which_run_it_is_of(run: Run, tmp_path: Path) -> None:
    exported(run, "verdicts", tmp_path / "v.json")
    exported(run, "verdicts", tmp_path / "v.csv")
    record = read_json(tmp_path / "v.json")
    assert record["run"]["manifest"] == run.record["manifest"]["fingerprint"]
    plain = [{name: "" if value is None else value for name, value in row.items()} for row in record["verdicts"]]
    rows = list(csv.DictReader((tmp_path / "v.csv").open(newline="")))
    assert [list(row) for row in rows] == [list(row) for row in plain]
    assert [row["key"] for row in rows] == [row["key"] for row in plain]


def test_cocos_reader_takes_the_annotations_with_what_reviewers_say(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "coco.json"
    assert exported(run, "verdicts-coco", out) == f"{out}: 4 annotations"
    coco = COCO(str(out))
    assert [image["tags"] for image in coco.loadImgs([1, 2, 5])] == [["disagree"], ["conflict"], ["agree"]]
    assert coco.loadImgs(1)[0] | {"tags": 0} == {
        "id": 1, "file_name": "0.png", "height": HEIGHT, "width": WIDTH, "tags": 0,
    }  # fmt: skip
    drawn = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert [annotation["bbox"] for annotation in drawn] == [[8, 8, 16, 16], [40, 8, 16.5, 16]]
    (disputed,) = coco.loadAnns(coco.getAnnIds(imgIds=2))
    assert disputed["bbox"] == [0, 0, WIDTH, HEIGHT]
    said = {"verdict": "conflict", "reviewers": "Ana; Ben", "subject": "1:0", "drawn": False}
    assert disputed["attributes"] == said
    assert {name: disputed[name] for name in said} == said
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert coco.loadCats(disputed["category_id"])[0]["name"] == HOSTILE


def test_each_image_has_its_tags(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "tags.json"
    assert exported(run, "verdicts-fiftyone", out) == f"{out}: 3 images with tags"
    tags = read_json(out)["tags"]
    images = [sample.image for sample in run.manifest()]
    assert tags == {
        images[0]: ["disagree", "disagree square"],
        images[1]: sorted(["conflict", f"conflict {HOSTILE}"]),
        images[4]: ["agree", "agree square"],
    }
    assert all(Path(path).exists() for path in tags)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_findings_say_what_reviewers_decided(run: Run, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"findings{suffix}"
    exported(run, suffix[1:], out)
    rows = list(csv.DictReader(out.open(newline=""))) if suffix == ".csv" else pq.read_table(out).to_pylist()
    said = {int(row["sample"]): (row["verdict"], row["reviewers"]) for row in rows}
    nothing = ("", "") if suffix == ".csv" else (None, None)
    assert said == {0: ("disagree", "Ana"), 1: ("conflict", "Ana; Ben"), 2: nothing}


def test_the_record_has_verdicts_and_lists_what_was_left_out_for_them(run: Run) -> None:
    record = findings_record(run)
    assert {row["sample"]: (row["verdict"], row["reviewers"]) for row in record["targets"]} == {
        0: ("disagree", "Ana"), 1: ("conflict", "Ana; Ben"), 2: (None, None),
    }  # fmt: skip
    assert record["set_aside"] == []
    flag(run, Rules(verdicts=True))
    record = findings_record(run)
    assert [row["sample"] for row in record["set_aside"]] == [0]
    assert sorted(row["sample"] for row in record["targets"]) == [1, 2]
    assert record["rules"]["verdicts"] is True
    assert len(Findings(run).set_aside()) == 1
    flag(run, Rules())


@pytest.mark.parametrize("name", ["verdicts", "verdicts-coco", "verdicts-fiftyone"])
def test_a_run_without_verdicts_and_a_wrong_suffix_are_refused(name: str, tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    with pytest.raises(RunError, match="has no verdict yet; give some with `camaudit dashboard"):
        exported(run, name, tmp_path / "v.json")
    with pytest.raises(RunError, match=r"Expected --out to end in .*\.json, got"):
        exported(run, name, tmp_path / "v.xml")
    assert not (tmp_path / "v.json").exists()
