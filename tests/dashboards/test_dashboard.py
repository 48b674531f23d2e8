"""The dashboard without a browser: its queries against pandas, its pictures against pixels, its pages in AppTest."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from claimed_run import make_claimed_run
from pages import page, said
from PIL import Image
from rewritten import map_files_of, part_of, put_findings, put_manifest
from small_run import CLASSES, FAILURE, HEIGHT, HOSTILE, OBJECT, WIDTH, make_run
from streamlit.testing.v1 import AppTest

from audit.datasets.manifest import Box, Manifest
from audit.drawing.targets import CHANGED, read_picture, thumbnail_jpeg
from audit.errors import RunError
from audit.findings import Finding, Findings
from audit.scores import iou_curve
from audit.store import Run, layout
from audit.store.verdicts import VerdictLog
from dashboards.state import open_context
from dashboards.tables import PAGE, SORTS, Filters, RunTables, stamp

CROWD = 70
FIRST = "0:0:indifferent"


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def fresh_path(tmp_path: Path) -> Path:
    """A run of a test's own, to be damaged."""
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunTables, pd.DataFrame]:
    """A run with many findings, and the findings."""
    run = Run.open(make_run(tmp_path_factory.mktemp("crowd")))
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({name: rng.random(CROWD).astype(np.float32) for name in Finding.schema().names})
    frame = frame.assign(sample=np.arange(CROWD), slot=0, class_id=0, id=[f"s{n}" for n in range(CROWD)])
    for name, values in {"class": CLASSES, "role": ("label", "predicted"), "kind": ("avoids", "indifferent")}.items():
        frame[name] = rng.choice(np.array(values, object), CROWD)
    frame["energy"] = frame["energy"].round(1)  # ties
    frame = frame.assign(rests_on="mask", family="drawn", says="in a sentence")
    frame["finding_id"] = frame["sample"].astype(str) + ":0:" + frame["kind"]
    put_findings(run, layout.part_name(0), {name: frame[name] for name in frame}, Finding.schema())
    for shard in (1, 2):
        put_findings(run, layout.part_name(shard), {name: [] for name in Finding.schema().names}, Finding.schema())
    return RunTables(run), frame


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


def test_the_dashboard_imports_neither_torch_nor_dask() -> None:
    code = (
        "import sys, dashboards.app; "
        "print(sorted({'torch', 'torchvision', 'dask', 'distributed', 'pipelines'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("filters", "keep"),
    [
        (Filters(), lambda f: f["severity"] >= 0),
        (Filters(class_name=HOSTILE), lambda f: f["class"] == HOSTILE),
        (Filters(role="label", kind="avoids"), lambda f: (f["role"] == "label") & (f["kind"] == "avoids")),
        (Filters(q_low=0.3), lambda f: f["q_low"] <= 0.3),
        (Filters(chance=0.6), lambda f: f["chance"] >= 0.6),
        (Filters(probability=0.5), lambda f: f["probability"] >= 0.5),
        (Filters(class_name="' OR 1 = 1 --"), lambda f: f["class"] == "none of these"),
    ],
)
@pytest.mark.parametrize("sort", SORTS)
def test_filtered_sorted_pages_are_those_of_pandas(
    crowd: tuple[RunTables, pd.DataFrame], filters: Filters, keep: Callable[[pd.DataFrame], Any], sort: str
) -> None:
    tables, frame = crowd
    rising = sort in ("energy", "q_low")
    expected = frame[keep(frame)].sort_values([sort, "finding_id"], ascending=[rising, True])["finding_id"].tolist()
    pages = [tables.findings(filters, sort, number) for number in range(-(-CROWD // PAGE) + 1)]
    assert [len(rows) for rows in pages if rows][:-1] == [PAGE] * ((len(expected) - 1) // PAGE)
    assert [row["finding_id"] for rows in pages for row in rows] == expected
    assert tables.count(filters) == len(expected)


def test_findings_can_be_kept_or_left_out_by_name(crowd: tuple[RunTables, pd.DataFrame]) -> None:
    tables, frame = crowd
    some = tuple(frame["finding_id"][:5])
    assert {row["finding_id"] for row in tables.findings(Filters(only=some))} == set(some)
    assert tables.count(Filters(only=())) == 0
    assert tables.count(Filters(without=some)) == CROWD - 5


def test_a_finding_knows_its_place_and_neighbours(crowd: tuple[RunTables, pd.DataFrame]) -> None:
    tables, frame = crowd
    filters = Filters(role="label")
    order = frame[frame["role"] == "label"].sort_values(["energy", "finding_id"])["finding_id"].tolist()
    for number, finding in enumerate(order):
        place = tables.place(filters, "energy", finding)
        assert place is not None
        assert (place.number, place.total) == (number + 1, len(order))
        assert place.previous == (order[number - 1] if number else None)
        assert place.next == (order[number + 1] if number + 1 < len(order) else None)
    assert tables.place(filters, "energy", "no such finding") is None


def test_counts_and_means_are_those_of_the_parts(run_path: Path) -> None:
    run = Run.open(run_path)
    tables = RunTables(run)
    scores = pd.concat([run.read("scores", shard).to_pandas() for shard in run.shards])
    assert tables.statuses("samples") == {"processed": 5, "failed": 1}
    assert tables.statuses("targets") == {"ok": 5}
    assert tables.statuses("scores") == {"scored": len(scores)}
    for name in ("energy", "lift", "hit", "centre_hit_15px"):
        assert tables.means()[name] == pytest.approx(scores[name].astype(float).mean())
    assert tables.failures() == [{"sample": 5, "id": "f", "reason": FAILURE}]
    assert tables.notices == []


def test_a_sample_has_its_targets_scores_and_findings(run_path: Path) -> None:
    tables = RunTables(Run.open(run_path))
    (first,), (fourth,) = tables.targets(0), tables.targets(3)
    assert (first["class"], first["status"], first["score"]) == ("square", "ok", "scored")
    assert first["finding"]["finding_id"] == FIRST
    assert first["energy"] < 0.01
    assert fourth["finding"] is None
    assert fourth["hit"]
    assert tables.sample(4)["id"] == "e"  # type: ignore[index]
    assert tables.sample_number("e") == 4
    assert tables.sample_number("nobody") is None
    assert tables.sample(-1) is None
    assert tables.sample(10**12) is None


def test_a_run_that_went_on_is_read_again(fresh_path: Path) -> None:
    before = open_context(fresh_path, "me")
    assert open_context(fresh_path, "me").tables is before.tables
    Run.open(fresh_path).withdraw(before.run.shards[0])
    after = open_context(fresh_path, "me")
    assert after.tables is not before.tables
    assert after.tables.statuses("samples") == {"processed": 3, "failed": 1}


@pytest.mark.parametrize(
    ("view", "text"),
    [("overview", "camaudit score"), ("findings", "There are none to show"), ("sample", "not scored")],
)
def test_a_run_without_scores_opens_and_says_what_is_missing(view: str, text: str, tmp_path: Path) -> None:
    app = page(view, make_run(tmp_path, scored=False))
    assert not app.exception
    assert text in said(app)


def test_parts_that_the_ledger_does_not_vouch_for_are_not_read(fresh_path: Path) -> None:
    run = Run.open(fresh_path)
    before = stamp(run)
    run.withdraw(run.shards[0])
    tables = RunTables(Run.open(fresh_path))
    assert stamp(run) != before
    assert [row["sample"] for row in tables.findings(Filters())] == [2]
    assert tables.statuses("samples") == {"processed": 3, "failed": 1}
    assert tables.sample(0) is None


@pytest.mark.parametrize("table", ["samples", "targets", "scores", "findings"])
def test_a_truncated_part_is_named_and_the_others_are_shown(fresh_path: Path, table: str) -> None:
    part = part_of(Run.open(fresh_path), table, 0)
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    tables = RunTables(Run.open(fresh_path))
    assert any(f"1 of 3 parts of the table {table} are missing or damaged" in line for line in tables.notices)
    assert tables.count(Filters()) == (1 if table == "findings" else 3)
    for view in ("overview", "findings", "sample"):
        app = page(view, fresh_path)
        assert not app.exception
        assert any("1 of 3 parts" in str(warning.value) for warning in app.warning)


def test_a_part_with_one_flipped_bit_is_left_out_with_a_notice(fresh_path: Path) -> None:
    part = part_of(Run.open(fresh_path), "scores", 0)
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    tables = RunTables(Run.open(fresh_path))
    assert any("1 of 3 parts of the table scores" in line for line in tables.notices)
    assert tables.statuses("scores") == {"scored": 3}


def test_a_part_that_goes_while_it_is_open_is_an_error_in_words(fresh_path: Path) -> None:
    tables = RunTables(Run.open(fresh_path))
    part_of(Run.open(fresh_path), "findings", 0).unlink()
    with pytest.raises(RunError, match=r"Cannot read the tables of .*run: .*camaudit repair"):
        tables.findings(Filters())


@pytest.mark.parametrize("name", [layout.SUMMARY, f"{layout.FINDINGS}/{layout.CLASS_FINDINGS}", "ledger/00000.json"])
@pytest.mark.parametrize("content", [None, b"{", b"[]"])
def test_a_missing_or_damaged_file_is_a_notice_and_no_traceback(
    fresh_path: Path, name: str, content: bytes | None
) -> None:
    (fresh_path / name).unlink()
    if content is not None:
        (fresh_path / name).write_bytes(content)
    for view in ("overview", "findings", "sample"):
        app = page(view, fresh_path)
        assert not app.exception
        if view == "overview":
            assert app.warning or app.info


def test_a_running_run_shows_what_there_is(tmp_path: Path) -> None:
    path = make_run(tmp_path, shards=1, flagged=False)
    overview = page("overview", path)
    assert not overview.exception
    assert "4 of 6 samples are pending" in said(overview)
    assert "camaudit flag" in said(overview)
    findings, sample = page("findings", path), page("sample", path)
    assert not findings.exception
    assert "There are none to show" in said(findings)
    assert not sample.exception
    assert "square in a" in said(sample)


def test_the_overview_counts_every_sample(run_path: Path) -> None:
    app = page("overview", run_path)
    assert not app.exception
    metrics = {(metric.label, metric.value) for metric in app.metric}
    assert {("processed", "5"), ("failed", "1"), ("pending", "0"), ("Pointing hit", "40.0 %")} <= metrics


def test_hostile_names_are_escaped_wherever_markdown_would_read_them(run_path: Path) -> None:
    for view, query in (("overview", {}), ("findings", {}), ("sample", {"finding": "1:0:indifferent"})):
        app = page(view, run_path, **query)
        assert not app.exception
        for block in [*app.markdown, *app.caption, *app.subheader, *app.title, *app.warning, *app.info]:
            assert "<script" not in str(block.value).replace("\\<", "")
            assert "**bold" not in str(block.value)


def test_the_filters_choose_findings_and_the_page_says_how_many(run_path: Path) -> None:
    app = page("findings", run_path)
    assert "1 to 3 of 3" in said(app)
    app.selectbox[0].select(HOSTILE).run()
    assert "1 to 1 of 1" in said(app)
    app.selectbox[0].select("square").run()
    assert "1 to 2 of 2" in said(app)


def test_a_verdict_is_logged_and_filters_the_findings(fresh_path: Path) -> None:
    app = page("sample", fresh_path, finding=FIRST)
    assert "1 of 3" in said(app)
    note = next(field for field in app.text_input if field.label == "Note")
    note.set_value("looks at the **corner**")
    next(button for button in app.button if button.label == "Agree: off the object").click()
    app.run()
    assert not app.exception
    assert "agree: Ana" in said(app)
    (verdict,) = VerdictLog(fresh_path / layout.VERDICTS).history(FIRST)
    assert (verdict.decision, verdict.reviewer, verdict.note) == ("agree", "Ana", "looks at the **corner**")
    findings = page("findings", fresh_path)
    findings.selectbox[3].select("none").run()
    assert "1 to 2 of 2" in said(findings)
    findings.selectbox[3].select("agree").run()
    assert "1 to 1 of 1" in said(findings)


def test_without_a_reviewer_nothing_is_decided(fresh_path: Path) -> None:
    app = page("sample", fresh_path, finding=FIRST)
    next(field for field in app.text_input if field.label == "Reviewer").set_value(" ")
    next(button for button in app.button if button.label == "Disagree").click()
    app.run()
    assert "fill in the reviewer" in said(app)
    assert not (fresh_path / layout.VERDICTS).exists()


def test_looking_at_a_run_writes_nothing_into_it(fresh_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in fresh_path.rglob("*")}
    for view in ("overview", "findings", "sample"):
        page(view, fresh_path)
    assert {path: path.stat().st_mtime_ns for path in fresh_path.rglob("*")} == before


def test_the_threshold_slider_changes_the_iou(run_path: Path) -> None:
    app = page("sample", run_path, sample="3")
    slider = next(slider for slider in app.slider if slider.label == "Threshold of the pseudo-mask")
    (target,) = RunTables(Run.open(run_path)).targets(3)
    curve = iou_curve(np.array(target["inside"]), np.array(target["outside"]))
    for level in (0, 64, 200):
        slider.set_value(level / 256).run()
        assert f"IoU {curve[level]:.3f} at threshold {level / 256:.3f}" in said(app)


@pytest.mark.parametrize("asked", ["finding=x", "finding=9999:0:avoids", "sample=-1", f"sample={'9' * 50}"])
def test_an_address_of_nothing_says_so(run_path: Path, asked: str) -> None:
    name, value = asked.split("=")
    app = page("sample", run_path, **{name: value})
    assert not app.exception
    assert "No such sample" in said(app)


def test_a_failed_sample_says_why(run_path: Path) -> None:
    assert FAILURE in said(page("sample", run_path, sample="5"))


def test_the_app_without_a_run_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = str(Path(__file__).parents[2] / "dashboards" / "app.py")
    for arguments, message in (([], "camaudit dashboard RUN"), ([str(tmp_path)], "No run at")):
        monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
        shown = AppTest.from_file(app).run(timeout=60)
        assert not shown.exception
        assert message in shown.error[0].value.replace("\\", "")


@pytest.mark.parametrize("number", [0, 3])
def test_the_iou_of_the_counts_is_that_of_the_pixels_shown(run_path: Path, number: int) -> None:
    run = Run.open(run_path)
    tables = RunTables(run)
    (target,) = tables.targets(number)
    seen = read_picture(run, tables.sample(number) or {}, 0, target["class_id"])
    curve = iou_curve(np.array(target["inside"]), np.array(target["outside"]))
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[OBJECT] = True
    assert (seen.target == truth).all()
    for level in (0, 1, 14, 100, 255):
        mask = seen.mask_at(level / 256)
        assert mask is not None
        assert curve[level] == pytest.approx((mask & truth).sum() / (mask | truth).sum())


def test_where_there_are_boxes_alone_they_are_the_object(fresh_path: Path) -> None:
    listed = Manifest.open(fresh_path / layout.MANIFEST)
    boxes = (Box(0, 8, 4, 30, 20), Box(1, 0, 0, 64, 3))
    boxed = [replace(sample, mask=None, boxes=boxes) for sample in listed]
    run = put_manifest(Run.open(fresh_path), Manifest.from_samples(boxed, listed.classes, listed.root))
    seen = read_picture(run, RunTables(run).sample(0) or {}, 0, 0)
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[4:20, 8:30] = True
    assert seen.notices == []
    assert seen.image is not None
    assert (seen.target == truth).all()
    assert (seen.with_contour(seen.image) != seen.with_contour(seen.image, wanted=False)).any()


def test_a_changed_image_is_shown_without_its_map(fresh_path: Path) -> None:
    run = Run.open(fresh_path)
    sample = RunTables(run).sample(0) or {}
    Image.new("RGB", (30, 20), "red").save(fresh_path.parent / "images" / "0.png")
    seen = read_picture(run, sample, 0, 0)
    assert seen.notices == [CHANGED]
    assert seen.image is not None
    assert seen.image.shape == (20, 30, 3)
    assert seen.overlay(0.5) is None
    assert seen.mask_at(0.5) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("0.png", None, "No such file"),
        ("0.mask.png", None, "No such file"),
        ("0.mask.png", b"<html>", "looks like HTML"),
    ],
)
def test_a_lost_or_damaged_file_is_a_notice(fresh_path: Path, name: str, content: bytes | None, message: str) -> None:
    file = fresh_path.parent / "images" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    run = Run.open(fresh_path)
    sample = RunTables(run).sample(0) or {}
    data, notices = thumbnail_jpeg(run, sample, 0, 0)
    assert data.startswith(b"\xff\xd8")
    assert len(notices) == 1
    assert message in notices[0]
    app = page("sample", fresh_path, finding=FIRST)
    assert not app.exception
    assert message in said(app)
    assert not page("findings", fresh_path).exception


def test_damaged_maps_leave_the_image_and_a_notice(fresh_path: Path) -> None:
    run = Run.open(fresh_path)
    sample = RunTables(run).sample(0) or {}
    (stored,) = map_files_of(run, 0)
    stored.write_bytes(b"\0" * stored.stat().st_size)
    seen = read_picture(run, sample, 0, 0)
    assert seen.image is not None
    assert seen.heat is None
    assert "Damaged maps" in seen.notices[0]


def test_filters_are_values_that_can_be_compared() -> None:
    assert replace(Filters(), only=("a",)) == Filters(only=("a",))
    assert Filters(only=("a",)) != Filters()


def test_claims_that_were_found_are_listed_with_what_interventions_made_of_them(tmp_path: Path) -> None:
    path = make_claimed_run(tmp_path)
    tables = RunTables(Run.open(path))
    assert tables.claims()
    assert all(claim.found for claim in tables.claims())
    app = page("overview", path)
    assert not app.exception
    told = [str(caption.value) for caption in app.caption if "interventions" in str(caption.value)]
    assert len(told) == len(tables.claims())
    assert any("confirmed" in line for line in told)


def test_a_finding_of_a_detector_is_listed_and_told_without_chance(fresh_path: Path) -> None:
    run = Run.open(fresh_path)
    rows = Findings(run).of_shard(run.shards[0]).to_pydict()
    count = len(rows["finding_id"])
    rows |= {"kind": ["detected"] * count, "rests_on": ["detector"] * count, "says": ["It has no mask."] * count}
    rows |= {name: [None] * count for name in ("chance", "q_low", "energy", "area")}
    put_findings(run, layout.part_name(0), rows, Finding.schema())
    listed = RunTables(run).findings(Filters())
    assert sum(row["kind"] == "detected" for row in listed) == count
    listing = page("findings", fresh_path)
    assert not listing.exception
    assert any("no mask" in str(caption.value) for caption in listing.caption)
    app = page("sample", fresh_path, finding=rows["finding_id"][0])
    assert not app.exception
    assert any("has no mask" in str(text.value) for text in app.text)
