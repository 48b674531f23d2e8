"""The first page: what was found in a sentence and as cards, in every state of a run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from claimed_run import make_claimed_run
from drawn_concepts import keep_drawn
from pages import address, page, press, said
from small_run import make_run
from streamlit.testing.v1 import AppTest

import dashboards
from audit.concepts.kept import STALE, UNTRIED, About
from audit.findings import Findings
from audit.store import Run, layout
from audit.store.storage.files import read_json, write_json
from dashboards.app import VIEWS
from dashboards.cards import cards_of
from dashboards.state import open_context
from dashboards.tables import RunTables

_ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


def test_the_dashboard_imports_neither_torch_nor_dask() -> None:
    views = ", ".join(f"dashboards.views.{name}" for name in VIEWS)
    assert imported(f"import {views}", "torch", "torchvision", "dask", "distributed", "pipelines") == []


def test_start_is_drawn_without_what_only_judging_and_other_pages_need(tmp_path: Path) -> None:
    run = str(make_claimed_run(tmp_path))
    draw = f"import dashboards.app; from pages import page; assert not page('start', {run!r}).exception"
    assert imported(draw, "sklearn", "scipy.stats", "altair", "matplotlib", "torch") == []


def test_nothing_stands_alone_in_the_script_that_streamlit_would_write_onto_every_page() -> None:
    body = ast.parse(Path(dashboards.__file__).with_name("app.py").read_text()).body
    assert [type(part.value) for part in body if isinstance(part, ast.Expr)] == [ast.Constant]  # its docstring


def imported(code: str, *modules: str) -> list[str]:
    """Which of some modules an interpreter of its own has imported after some code."""
    told = f"{code}; import sys; print(*(set({modules}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=_ENVIRONMENT)
    return found.stdout.split()


def test_claims_of_one_class_over_the_same_images_stand_as_one_card(tmp_path: Path) -> None:
    path = make_claimed_run(tmp_path)
    context = open_context(path, "Ana")
    cards = cards_of(context)
    told = [claim.claim_id for card in cards for claim in (card.claim, *card.also)]
    assert sorted(told) == sorted(claim.claim_id for claim in Findings(Run.open(path)).standing_claims())
    for card in cards:
        own = set(context.tables.claim_subjects(card.claim.claim_id))
        assert card.targets == len(own)
        for other in card.also:
            assert other.class_id == card.claim.class_id
            shared = set(context.tables.claim_subjects(other.claim_id))
            assert len(own & shared) >= 0.8 * len(own | shared)


def test_a_card_says_what_is_claimed_how_sure_it_is_and_what_interventions_made_of_it(tmp_path: Path) -> None:
    app = page("start", make_claimed_run(tmp_path))
    assert not app.exception
    text = said(app)
    assert "The heat of square lies on x 88-100 %." in text
    assert "● confirmed" in text
    assert "very unlikely to be chance (q 0.004)" in text
    assert text.count("the heat over the image") >= 4
    assert "Mean heat by part of the frame" in text
    assert "Channel 3 carries 60 % of the heat off the object: where it carries most." in text


def test_a_card_shows_its_concepts_or_the_command_that_finds_them_or_that_they_hold_no_more(tmp_path: Path) -> None:
    path, spot = make_claimed_run(tmp_path), About("square", "spot:square:x 88-100 %")
    assert f"{UNTRIED} camaudit units {path} --concepts 4" in said(page("start", path))
    keep_drawn(Run.open(path), spot)
    text = said(page("start", path))
    assert "Without concept 1 the logit falls by 4.00 of 6.50. Cosine over draws: 0.98 or more" in text
    assert "<summary>1 more concept</summary>" in text
    assert UNTRIED not in text
    (kept,) = (path / layout.CONCEPTS).glob("*.json")
    record = read_json(kept, "")
    write_json(kept, record | {"made_from": {}})
    text = said(page("start", path))
    assert f"{STALE} camaudit units" in text
    assert "--concepts 2" in text
    kept.unlink()
    kept.write_text("{")
    app = page("start", path)
    assert not app.exception
    assert f"Cannot read {kept}" in said(app)


def test_the_images_of_a_claim_are_a_press_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("dashboards.views.start.go", lambda *where: asked.append(where))
    app = page("start", make_claimed_run(tmp_path))
    label = next(button.label for button in app.button if button.label.startswith("Review these"))
    press(app, label)
    ((where, query),) = asked
    assert where == "review"
    assert query["queue"].startswith("claim:")


def test_without_masks_the_first_page_counts_what_is_ranked_and_leads_to_the_oddest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(tmp_path, masks=False)
    asked: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr("dashboards.views.start.go", lambda where, query=None: asked.append((where, query)))
    start = page("start", path)
    figures = "".join(str(html.proto.body) for html in start.get("html"))
    assert "<dt>images ranked, none flagged</dt><dd>5 <small>by what needs no mask</small>" in figures
    assert "images to look at" not in figures
    press(start, "Review the oddest first")
    press(start, "Browse all targets")
    (where, query), (browse, sorted_so) = asked
    assert (where, query["sort"]) == ("review", "oddness")
    assert (browse, sorted_so) == ("browse", {"sort": "oddness"})
    rows = RunTables(Run.open(path)).page(sort="oddness")
    assert [row["oddness"] for row in rows] == sorted((row["oddness"] for row in rows), reverse=True)
    review = page("review", path, **query)
    assert not review.exception
    assert address(review)["at"] == rows[0]["subject"]


def test_where_objects_are_known_the_first_page_counts_findings(tmp_path: Path) -> None:
    text = said(page("start", make_run(tmp_path)))
    assert "images to look at" in text
    assert "images ranked" not in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scored": False}, "camaudit score"),
        ({"masks": False}, "no image and no class was judged"),
        ({"shards": 1, "flagged": False}, "4 of 6 samples are pending"),
        ({"shards": 0, "flagged": False}, "No sample was audited yet"),
        ({"readable": 0}, "All 6 samples failed"),
        ({}, "No claim stands; single images look off the object"),
    ],
)
def test_every_state_of_a_run_is_told_and_what_to_do_about_it(
    options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    app = page("start", make_run(tmp_path, **options))
    assert not app.exception
    assert text in said(app)


@pytest.mark.parametrize("name", [layout.SUMMARY, f"{layout.FINDINGS}/{layout.CLASS_FINDINGS}", "ledger/00000.json"])
@pytest.mark.parametrize("content", [None, b"{", b"[]"])
def test_a_missing_or_damaged_file_is_a_notice_and_no_traceback(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    path = make_run(tmp_path)
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    for view in ("start", "review"):
        assert not page(view, path).exception


def test_a_run_that_went_on_is_read_again(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    before = open_context(path, "me")
    assert open_context(path, "me").tables is before.tables
    Run.open(path).withdraw(before.run.shards[0])
    after = open_context(path, "me")
    assert after.tables is not before.tables


def test_the_app_without_a_run_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = str(Path(__file__).parents[2] / "dashboards" / "app.py")
    for arguments, message in (([], "camaudit dashboard RUN"), ([str(tmp_path)], "No run at")):
        monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
        shown = AppTest.from_file(app).run(timeout=60)
        assert not shown.exception
        assert message in shown.error[0].value.replace("\\", "")
