"""The page on which verdicts are given: queues, keys, what is stored, and what it says of targets it cannot show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from claimed_run import make_claimed_run
from pages import address, page, press, said
from small_run import FAILURE, HOSTILE, make_run

from audit.findings import Findings
from audit.review import in_turn
from audit.store import Run, layout
from audit.store.verdicts.log import VerdictLog
from audit.wording import plain
from dashboards.browsing.queues import Queue, asked_queue, targets_of
from dashboards.state import open_context
from dashboards.tables import RunTables
from dashboards.views import review

SPOT = "spot:square:x 88-100 %"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_claimed_run(tmp_path)


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests look at a page for less than a glance."""
    monkeypatch.setattr(review, "_GLANCE_S", 0.0)


def log_of(path: Path) -> VerdictLog:
    return VerdictLog(path / layout.VERDICTS)


@pytest.mark.usefixtures("at_leisure")
def test_a_verdict_is_stored_with_its_note_and_the_page_goes_on(path: Path) -> None:
    app = page("review", path)
    first, second = RunTables(Run.open(path)).subjects()[:2]
    assert address(app)["at"] == first
    next(field for field in app.text_input if field.label == "Note").set_value("looks at the **corner**")
    app = press(app, "Agree")
    assert not app.exception
    assert address(app)["at"] == second
    (verdict,) = log_of(path).history(first)
    assert (verdict.decision, verdict.reviewer, verdict.note) == ("agree", "Ana", "looks at the **corner**")


@pytest.mark.usefixtures("at_leisure")
def test_undo_takes_the_last_verdict_back_and_returns_to_it(path: Path) -> None:
    app = press(press(page("review", path), "Disagree"), "Undo")
    first = RunTables(Run.open(path)).subjects()[0]
    assert address(app)["at"] == first
    assert log_of(path).standing() == {}
    assert [row.decision for row in log_of(path).history(first)] == ["disagree", "withdrawn"]


@pytest.mark.usefixtures("at_leisure")
def test_a_queue_outlives_the_verdicts_that_its_filter_goes_by(path: Path) -> None:
    app = press(page("review", path, verdict="none", kind="any"), "Agree")
    again = page("review", path, **address(app))
    assert address(again) == address(app)
    assert "2 of 3, 1 by you" in said(again)
    assert "1 of 2, 0 by you" in said(page("review", path, verdict="none", kind="any"))


def test_a_key_within_a_glance_is_no_verdict(path: Path) -> None:
    app = press(page("review", path), "Agree")
    assert not log_of(path).path.exists()
    assert not app.exception


def test_without_a_name_a_verdict_is_asked_for_it_and_not_stored(path: Path) -> None:
    app = press(page("review", path, reviewer=""), "Agree")
    assert not app.exception
    assert any(field.label == "Name" for field in app.text_input)
    assert not log_of(path).path.exists()


def test_the_images_of_a_claim_come_in_the_order_of_chance(path: Path) -> None:
    context = open_context(path, "Ana")
    queue = asked_queue({"queue": f"claim:{SPOT}"}, 7)
    assert queue == Queue("claim", SPOT, as_of=7)
    assert targets_of(context, queue).subjects == in_turn(context.tables.claim_subjects(SPOT))
    assert asked_queue(queue.query(), 0) == queue


@pytest.mark.usefixtures("at_leisure")
def test_the_claim_itself_is_decided_too_and_its_precision_follows_the_verdicts(path: Path) -> None:
    app = page("review", path, queue=f"claim:{SPOT}")
    assert "none of" in said(app)
    app.button(key="claim agree").click().run()
    assert log_of(path).standing()[SPOT]["Ana"].decision == "agree"
    assert "1 of 1 agreed" in said(app.button(key="decide agree").click().run())


def test_the_most_informative_come_from_standing_claims(path: Path) -> None:
    app = page("review", path, queue="next")
    assert not app.exception
    claims = [claim.claim_id for claim in Findings(Run.open(path)).standing_claims()]
    tables = RunTables(Run.open(path))
    assert any(address(app)["at"] in tables.claim_subjects(claim) for claim in claims)


def test_what_others_decided_is_hidden_from_the_blind_until_they_have(path: Path) -> None:
    first = RunTables(Run.open(path)).subjects()[0]
    log_of(path).add(first, "disagree", "Bea")
    context = open_context(path, "Ana", blind=True)
    verdicts = context.standing[first]
    assert review.others(verdicts, context) == []
    context.log.add(first, "agree", "Ana")
    assert [verdict.reviewer for verdict in review.others(context.standing[first], context)] == ["Bea"]
    assert "Bea: disagree" in said(page("review", path, at=first)).replace("\\", "")


@pytest.mark.parametrize(
    ("at", "text"),
    [("x", "No such sample"), ("9999:0", "No such sample"), (f"{'9' * 50}:0", "No such sample"), ("5:0", FAILURE)],
)
def test_an_address_of_nothing_says_so(path: Path, at: str, text: str) -> None:
    app = page("review", path, at=at)
    assert not app.exception
    assert text in said(app).replace("\\", "")


@pytest.mark.parametrize("query", [{"class": "nobody"}, {"queue": "claim:gone"}, {"queue": "next", "as_of": "x"}])
def test_a_queue_of_nothing_says_so(query: dict[str, str], tmp_path: Path) -> None:
    app = page("review", make_run(tmp_path), **query)
    assert not app.exception
    assert "No target is in this queue" in said(app)


@pytest.mark.parametrize("options", [{"scored": False}, {"masks": False}, {"shards": 1, "flagged": False}])
def test_every_target_can_be_looked_at_whatever_the_state_of_the_run(options: dict[str, bool], tmp_path: Path) -> None:
    app = page("review", make_run(tmp_path, **options), at="0:0")
    assert not app.exception
    assert "square in a" in said(app)
    assert "No finding" in said(app)


@pytest.mark.parametrize(
    "part", ["Targets", "Before and after", "More like this", "Weak labels", "Numbers", "Verdicts"]
)
def test_every_part_of_the_details_can_be_drawn(path: Path, part: str) -> None:
    app = page("review", path)
    app.segmented_control[0].set_value(part).run()
    assert not app.exception


def test_what_verify_tried_stands_as_pictures_with_the_answer_before_and_after(path: Path) -> None:
    app = page("review", path, at="0:0")
    app = app.segmented_control[0].set_value("Before and after").run()
    captions = [block.value for block in app.caption]
    for told in (
        "The image as the network sees it: p 0.90",
        "Without the hot region off the object: p 0.90 → 0.40",
        "Without the object: p 0.90 → 0.80",
        "Without the background: p 0.90 → 0.30",
        "The quick check, the background scattered: p 0.90 → 0.22",
    ):
        assert plain(told) in captions
    assert len(app.get("image")) == 5


def test_where_nothing_was_tried_or_the_image_is_gone_the_details_say_so(path: Path) -> None:
    for at, told in (("2:0", "Nothing was changed in this image yet"), ("0:0", "cannot be drawn")):
        if at == "0:0":
            (path.parent / "images" / "0.png").unlink()
        app = page("review", path, at=at)
        app = app.segmented_control[0].set_value("Before and after").run()
        assert not app.exception
        assert told in said(app)


def test_hostile_names_are_escaped_wherever_markdown_would_read_them(path: Path) -> None:
    for app in (page("review", path, at="1:0"), page("start", path)):
        assert not app.exception
        assert HOSTILE.partition("<")[0][:4] in said(app)
        for block in [*app.markdown, *app.caption, *app.subheader, *app.title, *app.warning, *app.info]:
            assert "<script" not in str(block.value).replace("\\<", "")
            assert "**bold" not in str(block.value)


def test_looking_at_a_run_writes_nothing_into_it(path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    for view in ("start", "review"):
        page(view, path)
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
