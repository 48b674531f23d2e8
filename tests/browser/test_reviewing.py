"""Reviewing as people do it: keys, the picture in the browser, several reviewers at once."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_run import draw_run
from forked import dashboard
from PIL import Image
from playwright.sync_api import Page, TimeoutError, expect
from screenshot import CHROMIUM, settle
from small_run import make_run

from audit.drawing.targets import jpeg_bytes, read_target
from audit.findings import Rules
from audit.findings.judge import flag
from audit.store import Run, layout
from audit.store.verdicts.log import VerdictLog
from dashboards.tables import RunTables

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package chromium")

MANY = 12
REVIEWERS = 8
_DRAWN = """() => {
    const found = [];
    const walk = (root) => root.querySelectorAll("*").forEach((element) => {
        if (element.dataset?.drawn) found.push(element.dataset.drawn);
        if (element.shadowRoot) walk(element.shadowRoot);
    });
    walk(document);
    return found.join();
}"""
_CANVAS = """() => {
    const found = [];
    const walk = (root) => root.querySelectorAll("*").forEach((element) => {
        if (element.tagName === "CANVAS" && element.closest(".viewer")) found.push(element.toDataURL());
        if (element.shadowRoot) walk(element.shadowRoot);
    });
    walk(document);
    return found[0];
}"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_run(tmp_path)


def drawn(page: Page, other_than: str = "", patience_ms: float = 30_000) -> str:
    """The target whose picture is on the screen."""
    changed = f"(before) => {{ const now = ({_DRAWN})(); return now && now !== before; }}"
    page.wait_for_function(changed, arg=other_than, timeout=patience_ms)
    return str(page.evaluate(_DRAWN))


def decide(page: Page, key: str, subject: str) -> str:
    """Press a key until the next target comes, as people do: one that falls into a redrawing may be lost."""
    for _ in range(3):
        page.keyboard.press(key)
        with suppress(TimeoutError):
            return drawn(page, subject, 3000)
    raise AssertionError(f"{key} did nothing, three times, on {subject}")


def picture(page: Page) -> Any:
    """The pixels of the viewer [H, W, 3]."""
    data = str(page.evaluate(_CANVAS)).partition(",")[2]
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"), np.int16)


def log_of(path: Path) -> VerdictLog:
    return VerdictLog(path / layout.VERDICTS)


def test_findings_are_reviewed_by_keyboard_alone_each_about_what_was_on_the_screen(tmp_path: Path, page: Page) -> None:
    run = draw_run(tmp_path / "run", 400)
    flag(run, Rules())
    expected = {}
    with dashboard(run.path, "--reviewer", "Ana") as address:
        page.goto(f"{address}/review")
        subject = drawn(page)
        for place in range(MANY):
            page.wait_for_timeout(220)  # a glance
            key = "123"[place % 3]
            expected[subject] = ("agree", "disagree", "unsure")[place % 3]
            subject = decide(page, key, subject)
        page.wait_for_timeout(220)
        page.keyboard.press("u")
        assert drawn(page, subject) == list(expected)[-1]
    expected.popitem()
    standing = log_of(run.path).standing()
    assert {name: given["Ana"].decision for name, given in standing.items()} == expected
    assert list(expected) == RunTables(Run.open(run.path)).subjects()[: MANY - 1]


def test_a_note_is_typed_without_deciding_and_survives_going_away(small: Path, page: Page) -> None:
    with dashboard(small, "--reviewer", "Ana") as address:
        page.goto(f"{address}/review")
        first = drawn(page)
        settle(page)
        page.keyboard.press("n")
        page.keyboard.type("1 is not 2, and Z is a letter")
        page.keyboard.press("Enter")
        settle(page)
        assert drawn(page) == first
        assert log_of(small).live() == []
        page.get_by_role("link", name="Start").click()
        settle(page)
        page.go_back()
        settle(page)
        assert drawn(page) == first
        expect(page.get_by_label("Note")).to_have_value("1 is not 2, and Z is a letter")
        page.get_by_label("Note").blur()
        page.keyboard.press("2")
        drawn(page, first)
    (verdict,) = log_of(small).history(first)
    assert (verdict.decision, verdict.note) == ("disagree", "1 is not 2, and Z is a letter")


def test_a_queue_is_the_same_after_a_reload_and_the_arrows_go_through_it(small: Path, page: Page) -> None:
    with dashboard(small, "--reviewer", "Ana") as address:
        page.goto(f"{address}/review?kind=any&verdict=none")
        first = drawn(page)
        page.wait_for_timeout(250)
        page.keyboard.press("1")
        second = drawn(page, first)
        page.reload()
        assert drawn(page) == second
        expect(page.get_by_text("2 of 3, 1 by you")).to_be_visible()
        page.keyboard.press("ArrowLeft")
        assert drawn(page, second) == first


def test_the_picture_in_the_browser_is_the_one_that_python_draws(small: Path, page: Page) -> None:
    read, _ = read_target(Run.open(small), 0, 0)
    assert read.image is not None
    sent = np.asarray(Image.open(BytesIO(jpeg_bytes(read.image))))
    expected = replace(read, image=sent)
    overlay = expected.overlay(0.5)
    assert overlay is not None
    with dashboard(small) as address:
        page.goto(f"{address}/review?at=0:0")
        drawn(page)
        page.get_by_label("Outline of the object").uncheck()
        assert np.abs(picture(page) - overlay).max() <= 2
        page.get_by_label("Outline of the object").check()
        outlined = expected.target
        assert outlined is not None
        edge = (picture(page) == (0, 255, 200)).all(axis=-1)
        assert edge.any()
        assert not edge[~outlined].any()
        page.keyboard.press("z")
        assert np.abs(picture(page) - sent).max() <= 2


def test_opacity_and_threshold_ask_the_server_nothing(small: Path, page: Page) -> None:
    sent: list[Any] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    with dashboard(small) as address:
        page.goto(f"{address}/review?at=3:0")
        drawn(page)
        settle(page)
        before, so_far = picture(page), len(sent)
        for name, kind in (("Opacity", "Heat"), ("Threshold", "Mask")):
            page.get_by_role("button", name=kind, exact=True).click()
            slider = page.get_by_role("slider", name=name)
            slider.fill("0.75")
        expect(page.get_by_text(re.compile(r"^IoU 0\.\d{3} at threshold 0\.750; best"))).to_be_visible()
        assert (picture(page) != before).any()
        assert len(sent) == so_far


def test_where_no_mask_is_known_the_object_can_be_boxed(tmp_path: Path, page: Page) -> None:
    path = make_run(tmp_path, masks=False)
    with dashboard(path, "--reviewer", "Ana") as address:
        page.goto(f"{address}/review?at=0:0")
        subject = drawn(page)
        settle(page)
        page.get_by_role("button", name="Box the object").click()
        shown = page.locator(".viewer canvas").bounding_box()
        assert shown is not None
        page.mouse.move(shown["x"] + shown["width"] * 0.25, shown["y"] + shown["height"] * 0.25)
        page.mouse.down()
        page.mouse.move(shown["x"] + shown["width"] * 0.75, shown["y"] + shown["height"] * 0.5, steps=4)
        page.mouse.up()
        settle(page)
    (box,) = log_of(path).boxes()[subject]
    height, width = Run.open(path).read("samples", Run.open(path).shards[0]).to_pylist()[0]["height"], 64
    assert box == pytest.approx((0.25 * width, 0.25 * height, 0.75 * width, 0.5 * height), abs=1.5)


def test_a_reviewer_is_asked_for_a_name_once(small: Path, page: Page) -> None:
    with dashboard(small) as address:
        page.goto(f"{address}/review")
        first = drawn(page)
        page.wait_for_timeout(250)
        page.keyboard.press("1")
        page.get_by_label("Name").fill("Cleo")
        page.keyboard.press("Tab")
        settle(page)
        page.get_by_role("button", name="Go on").click()
        expect(page).to_have_url(re.compile("reviewer=Cleo"))
        page.wait_for_timeout(250)
        page.keyboard.press("1")
        drawn(page, first)
        page.reload()
        settle(page)
        expect(page.get_by_role("button", name="Cleo")).to_be_visible()
    assert log_of(small).standing()[first].keys() == {"Cleo"}


def test_eight_reviewers_at_once_lose_no_verdict(small: Path, page: Page) -> None:
    with dashboard(small) as address:
        open_pages = [page.context.new_page() for _ in range(REVIEWERS)]
        for number, page in enumerate(open_pages):
            page.goto(f"{address}/review?at=0:0&reviewer=r{number}")
        for page in open_pages:
            drawn(page)
            settle(page)
        for page in open_pages:
            page.keyboard.press("1")
        for page in open_pages:
            settle(page)
            page.close()
    (given,) = log_of(small).standing().values()
    assert given.keys() == {f"r{number}" for number in range(REVIEWERS)}
