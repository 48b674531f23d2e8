"""The dashboard in every state of a run, page by page: a plain line that says what is so, and nothing that is not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from forked import dashboard
from playwright.sync_api import Page
from run_states import SPOILED, STATES
from screenshot import CHROMIUM, settle
from small_run import FAILURE, make_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package chromium")

START, REVIEW, BROWSE, MAP, COMPARE, ABOUT = "", "review", "browse", "map", "compare", "about"
FIRST, LAST, NOBODY = "review?at=0:0", "review?at=5:0", "review?at=99:0"
PAGES = (START, REVIEW, BROWSE, MAP, COMPARE, ABOUT)
BEGUN = "No sample was audited yet: all 6 samples are pending, and findings are made when the run ends"
GOES_ON = "The run is not finished: 4 of 6 samples are pending, and findings are made when the run ends"
UNSCORED = (
    "The run was begun without scores: no map was compared with an object, so there are no findings. Score it with"
)
NO_MASKS = "No map could be compared with its object (no mask: 5), so no image and no class was judged"
FAILED = "All 6 samples failed, so there is nothing to judge. The first: Expected an image: f.png is empty (0 bytes)"
UNREACHED = "This sample is pending: the run has not reached it yet."
MOVED = "The map is drawn on grey. If the images have moved, name their folder with --root."
LINES: dict[str, dict[str, tuple[str, ...]]] = {
    "no shard yet": dict.fromkeys(PAGES, (BEGUN,))
    | {START: (BEGUN, "Nothing was judged yet"), LAST: (BEGUN, UNREACHED)},
    "running": dict.fromkeys(PAGES, (GOES_ON, "camaudit flag"))
    | {REVIEW: (GOES_ON, "1 of 2", "the run was not flagged yet"), BROWSE: (GOES_ON, "2 targets"), LAST: (UNREACHED,)},
    "finished": {
        START: ("No claim stands; single images look off the object", "6 of 6 images have masks"),
        REVIEW: ("1 of 3, 0 by",),
        BROWSE: ("5 targets",),
        MAP: ("There is no map yet", "camaudit embed"),
        COMPARE: ("There is no other run",),
        ABOUT: ("Can the maps be trusted?", "Images that failed"),
        LAST: (FAILURE,),
        NOBODY: ("No such sample: the run has 6, numbered from 0.",),
    },
    "no scores": dict.fromkeys(PAGES, (UNSCORED, "camaudit score")) | {REVIEW: (UNSCORED, "1 of 5")},
    "no masks": dict.fromkeys(PAGES, (NO_MASKS, "index the collection with them"))
    | {START: (NO_MASKS, "ranked by what needs no mask", "0 of 6 images have masks"), REVIEW: ("1 of 5", "no mask")},
    "all failed": dict.fromkeys(PAGES, (FAILED, "camaudit status")),
    "images moved": dict.fromkeys(PAGES, ()) | {REVIEW: (MOVED,), BROWSE: (MOVED,)},
    "damaged part": dict.fromkeys(PAGES, ()) | {FIRST: ("Damaged", "camaudit repair")},
    "older format": dict.fromkeys(PAGES, ("has run format 2, expected", "audit again into another directory")),
    "deleted": dict.fromkeys(PAGES, ("No run at", "it was moved or deleted; start camaudit dashboard where it is now")),
}
"""What each page says in each state; every state has all of `PAGES`."""
RAW = re.compile(r"Traceback|Exception|\b\w*Error\b|\bNone\b|\bnan\b|Errno|(duckdb|pyarrow)\.[a-z]")
"""What no page shows."""
UNTRUE = re.compile(r"damaged|No readable|Nothing was found|threshold 0\.000|0\.0 %$")
"""What no page says of a run in which nothing is damaged and nothing was judged."""
UNJUDGED = ("no shard yet", "running", "no scores", "no masks", "all failed")


@pytest.mark.parametrize("state", STATES)
def test_every_page_says_what_is_so_and_nothing_else(state: str, tmp_path: Path, page: Page) -> None:
    with dashboard(STATES[state](tmp_path)) as address:
        for where, lines in LINES[state].items():
            text = shown(page, f"{address}/{where}")
            assert not [line for line in lines if line not in text], (where, text)
            assert state not in UNJUDGED or not UNTRUE.search(text), (where, text)


def test_a_run_that_is_spoiled_while_it_is_open_is_told_on_every_page(tmp_path: Path, page: Page) -> None:
    run = make_run(tmp_path)
    shutil.copytree(run, tmp_path / "copy")
    with dashboard(run) as address:
        shown(page, f"{address}/{REVIEW}")
        shutil.rmtree(run)
        page.get_by_role("button", name="On").click()
        assert all(line in read(page) for line in LINES["deleted"][REVIEW])
        for state in SPOILED:
            shutil.copytree(tmp_path / "copy", run, dirs_exist_ok=True)
            SPOILED[state](run)
            for where, lines in LINES[state].items():
                text = shown(page, f"{address}/{where}")
                assert not [line for line in lines if line not in text], (where, text)


def test_images_that_have_moved_are_shown_where_the_user_says_that_they_are(tmp_path: Path, page: Page) -> None:
    run = STATES["images moved"](tmp_path)
    with dashboard(run, "--root", str(tmp_path / "moved")) as address:
        for where in (BROWSE, REVIEW):
            text = shown(page, f"{address}/{where}")
            assert "grey" not in text
            assert page.get_by_test_id("stAlert").count() == 0


def shown(page: Page, address: str) -> str:
    """The text of a page, once it is drawn; nothing raw is in it."""
    page.goto(address)
    return read(page)


def read(page: Page) -> str:
    settle(page)
    text = page.get_by_test_id("stApp").inner_text()
    assert page.get_by_test_id("stException").count() == 0, text
    assert not RAW.search(text), text
    return text
