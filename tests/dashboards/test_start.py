"""The first page: what was found in a sentence and as cards, in every state of a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from claimed_run import make_claimed_run
from pages import page, press, said
from small_run import make_run
from streamlit.testing.v1 import AppTest

from audit.findings import Findings
from audit.store import Run, layout
from dashboards.cards import cards_of
from dashboards.state import open_context


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


def test_the_images_of_a_claim_are_a_press_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("dashboards.views.start.go", lambda *where: asked.append(where))
    app = page("start", make_claimed_run(tmp_path))
    label = next(button.label for button in app.button if button.label.startswith("Review these"))
    press(app, label)
    ((where, query),) = asked
    assert where == "review"
    assert query["queue"].startswith("claim:")


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
