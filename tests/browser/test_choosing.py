"""Browse and Map as people meet them: choose many, decide once, take it back; filters that stand in the address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn_run import draw_run
from forked import dashboard
from playwright.sync_api import Page, expect
from screenshot import CHROMIUM, settle
from small_run import make_run

from audit.findings import Rules
from audit.findings.judge import flag
from audit.findings.pages.embedding import embed
from audit.store import Run
from audit.store.verdicts.log import VerdictLog

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 400)
    flag(run, Rules())
    embed(run)
    return run


@pytest.fixture(scope="module")
def address(run: Run) -> Iterator[str]:
    with dashboard(run.path, "--reviewer", "Ana") as address:
        yield address


def drawn(page: Page) -> None:
    settle(page)
    page.locator(".targets[data-drawn]").wait_for()


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_some_are_chosen_and_decided_in_one_act_that_undo_takes_back(run: Run, address: str, page: Page) -> None:
    log = VerdictLog.of(run)
    page.goto(f"{address}/browse?kind=any")
    drawn(page)
    cards = page.locator(".card")
    expect(cards).to_have_count(24)
    cards.nth(0).locator("input").click()
    cards.nth(2).locator("input").click(modifiers=["Shift"])
    expect(page.locator("[data-name=count]")).to_have_text("3 chosen")
    page.locator(".actions button", has_text="Disagree").click()
    expect(page.get_by_role("dialog")).to_contain_text("Disagree: 3 targets.")
    assert log.last() == 0
    page.get_by_role("button", name="Disagree with 3 targets").click()
    expect(page.locator(".tag.disagree")).to_have_count(3)
    verdicts = log.standing()
    assert len(verdicts) == 3
    assert len({of["Ana"].batch for of in verdicts.values()}) == 1
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".tag")).to_have_count(0)
    assert log.standing() == {}


def test_all_that_a_filter_leaves_are_decided_after_a_question_that_says_how_many(
    run: Run, address: str, page: Page
) -> None:
    page.goto(f"{address}/browse?class=class+05&text=2")
    drawn(page)
    count = int(page.get_by_text("of 400 targets").inner_text().split()[0])
    page.get_by_role("button", name=f"All {count}").click()
    page.get_by_text("Unsure with all").click()
    page.get_by_role("button", name=f"Unsure about {count} targets").click()
    expect(page.locator(".tag.unsure")).to_have_count(min(count, 24))
    assert len(VerdictLog.of(run).standing()) == count
    VerdictLog.of(run).undo("Ana")


def test_filters_follow_the_address_through_reload_and_back(address: str, page: Page) -> None:
    page.goto(f"{address}/browse?class=class+03&sort=-energy")
    drawn(page)
    everything = page.get_by_text("20 of 400 targets")
    expect(everything).to_be_visible()
    expect(page.locator(".card").first).to_contain_text("class 03")
    page.get_by_label("Text in id or attributes").fill("0000003")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 400 targets")).to_be_visible()
    expect(page).to_have_url(re.compile("text=0000003"))
    page.reload()
    drawn(page)
    expect(page.get_by_text("1 of 400 targets")).to_be_visible()
    page.get_by_role("button", name="Clear all filters").click()
    expect(page.get_by_text("400 targets", exact=True)).to_be_visible()
    expect(page).not_to_have_url(re.compile("class="))


def test_a_view_that_was_given_a_name_opens_again(address: str, page: Page) -> None:
    page.goto(f"{address}/browse?class=class+03&as=table")
    settle(page)
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name this view").fill("spots")
    page.get_by_role("button", name="Save").click()
    settle(page)
    page.goto(f"{address}/browse")
    drawn(page)
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="spots").click()
    expect(page.get_by_text("20 of 400 targets")).to_be_visible()
    expect(page).to_have_url(re.compile("as=table"))


def test_a_click_opens_the_target_in_review_and_alike_ones_are_found(address: str, page: Page) -> None:
    page.goto(f"{address}/browse?class=class+03")
    drawn(page)
    page.locator(".card input").first.click()
    page.locator(".actions button", has_text="More like this").click()
    expect(page.get_by_text("Most like class 03")).to_be_visible()
    drawn(page)
    expect(page.locator(".card")).to_have_count(48)
    first = page.locator(".card").first.get_attribute("data-subject")
    page.locator(".card button").first.click()
    page.wait_for_url("**/review?*")
    expect(page).to_have_url(re.compile(f"at={first}".replace(":", "%3A")))


def test_a_line_around_points_chooses_them(address: str, page: Page) -> None:
    page.goto(f"{address}/map")
    settle(page)
    page.locator(".scatter[data-drawn]").wait_for()
    box = page.locator(".scatter canvas").bounding_box()
    assert box is not None
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    x, y = (box["x"] + box["width"] * corners[0][0], box["y"] + box["height"] * corners[0][1])
    page.mouse.move(x, y)
    page.mouse.down()
    for across, along in corners[1:]:
        page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * along, steps=3)
    page.mouse.up()
    expect(page.get_by_text("400 chosen")).to_be_visible()
    drawn(page)
    expect(page.locator(".card")).to_have_count(24)
    page.get_by_text("severity", exact=True).click()
    settle(page)
    expect(page).to_have_url(re.compile("colour=severity"))
    expect(page.get_by_text("400 chosen")).to_be_visible()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1366, 768), (1024, 768), (390, 844)])
@pytest.mark.parametrize("where", ["browse", "browse?as=table", "map"])
def test_nothing_is_wider_than_the_screen(address: str, where: str, width: int, height: int, page: Page) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{address}/{where}")
    settle(page)
    assert overflow(page) <= 0
    if where == "browse":
        bar = page.locator(".bar").bounding_box()
        assert bar is not None
        assert bar["y"] + bar["height"] <= height + 1


def test_a_run_without_masks_or_findings_is_browsed_with_its_pictures(tmp_path: Path, page: Page) -> None:
    path = make_run(tmp_path, scored=False)
    with dashboard(path, "--reviewer", "Ana") as address:
        page.goto(f"{address}/browse")
        drawn(page)
        expect(page.locator(".card")).to_have_count(5)
        assert page.evaluate("[...document.querySelectorAll('*')].length") > 0
        page.goto(f"{address}/map")
        settle(page)
        expect(page.get_by_text("There is no map yet")).to_be_visible()
