"""Layout on the screens that people have: nothing sticks out, what one needs is in view, pictures say what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from claimed_run import make_claimed_run
from forked import dashboard
from playwright.sync_api import Page
from screenshot import CHROMIUM, settle

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package chromium")

PAGES = ("", "review", "browse", "map", "compare", "about")
SCREENS = ((1440, 900), (1366, 768), (1024, 768), (390, 844))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run: Path = make_claimed_run(tmp_path_factory.mktemp("claimed"))
    with dashboard(run, "--reviewer", "Ana") as address:
        yield address


@pytest.mark.parametrize("where", PAGES, ids=lambda where: where or "start")
def test_nothing_sticks_out_on_any_screen_and_every_picture_has_words(where: str, address: str, page: Page) -> None:
    page.goto(f"{address}/{where}")
    settle(page)
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (where, width)
        main = page.get_by_test_id("stMain")
        assert main.evaluate("(main) => main.scrollWidth - main.clientWidth") <= 0, (where, width)
    unsaid = page.evaluate("[...document.images].filter((image) => !image.alt.trim()).length")
    assert unsaid == 0


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_keys_of_a_verdict_are_in_view_without_scrolling(width: int, height: int, address: str, page: Page) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{address}/review")
    settle(page)
    for name in ("Agree", "Disagree", "Unsure", "Undo"):
        box = page.get_by_role("button", name=name, exact=False).first.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height


def test_the_first_claims_can_be_reviewed_without_scrolling(address: str, page: Page) -> None:
    page.set_viewport_size({"width": 1366, "height": 768})
    page.goto(address)
    settle(page)
    for button in page.get_by_role("button", name="Review these").all()[:6]:
        box = button.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 768


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_the_system(dark: bool, address: str, page: Page) -> None:
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.goto(address)
    settle(page)
    ground = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    red = int(ground.removeprefix("rgb(").partition(",")[0])
    assert (red < 60) == dark
