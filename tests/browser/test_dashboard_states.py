"""The dashboard in every state of a run, page by page: a plain line that says what is so, and nothing that is not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from run_states import SPOILED, STATES
from screenshot import CHROMIUM, browser_page, dashboard, settle
from small_run import FAILURE, make_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package chromium")

OVERVIEW, FINDINGS, FIRST, LAST, NONE = "", "findings", "sample", "sample?sample=5", "sample?sample=99"
PAGES = (OVERVIEW, FINDINGS, FIRST)
BEGUN = "No sample was audited yet: all 6 samples are pending, and findings are made when the run ends"
GOES_ON = "The run is not finished: 4 of 6 samples are pending, and findings are made when the run ends"
UNSCORED = (
    "The run was begun without scores: no map was compared with an object, so there are no findings. Score it with"
)
NO_MASKS = "No map could be compared with its object (no mask: 5), so no image and no class was judged"
FAILED = "All 6 samples failed, so there is nothing to judge. The first: Expected an image: f.png is empty (0 bytes)"
DAMAGED = "1 of 3 parts of the table scores are missing or damaged; recompute with: camaudit repair"
UNREACHED = "This sample is pending: the run has not reached it yet."
NO_THRESHOLD = "No threshold was chosen for this run"
NOBODY = "No such sample: the run has 6, numbered from 0."
MOVED = "The map is drawn on grey. If the images have moved, name their folder with --root."
LINES: dict[str, dict[str, tuple[str, ...]]] = {
    "no shard yet": dict.fromkeys(PAGES, (BEGUN,)) | dict.fromkeys((FIRST, LAST), (BEGUN, UNREACHED)),
    "running": dict.fromkeys(PAGES, (GOES_ON, "camaudit flag"))
    | {FIRST: (GOES_ON, "not judged yet", NO_THRESHOLD), LAST: (GOES_ON, UNREACHED)},
    "finished": {
        OVERVIEW: ("No class looks off the object",),
        FINDINGS: ("1 to 3 of 3",),
        FIRST: ("1 of 3",),
        LAST: (FAILURE,),
        NONE: (NOBODY,),
    },
    "no scores": dict.fromkeys(PAGES, (UNSCORED, "camaudit score"))
    | {FIRST: (UNSCORED, "not judged yet", "No IoU: not scored", NO_THRESHOLD)},
    "no masks": dict.fromkeys(PAGES, (NO_MASKS, "index the collection with them"))
    | {FIRST: (NO_MASKS, "not judged: no mask", "No IoU: no mask", NO_THRESHOLD)},
    "all failed": dict.fromkeys(PAGES, (FAILED, "camaudit status")),
    "images moved": {
        OVERVIEW: (),
        FINDINGS: ("3 of the 3 images on this page cannot be shown in full.", MOVED),
        FIRST: (MOVED,),
    },
    "damaged part": dict.fromkeys(PAGES, (DAMAGED,)) | {FIRST: (DAMAGED, "No IoU: its scores cannot be read")},
    "older format": dict.fromkeys(PAGES, ("has run format 2, expected", "audit again into another directory")),
    "deleted": dict.fromkeys(PAGES, ("No run at", "it was moved or deleted; start camaudit dashboard where it is now")),
}
"""What each page says in each state; every state has all of `PAGES`."""
RAW = re.compile(r"Traceback|Exception|\b\w*Error\b|\bNone\b|\bnan\b|Errno|duckdb|pyarrow")
"""What no page shows."""
UNTRUE = re.compile(r"damaged|No readable|No class looks off|none with these filters|threshold 0\.000|0\.0 %$")
"""What no page says of a run in which nothing is damaged and nothing was judged."""
UNJUDGED = ("no shard yet", "running", "no scores", "no masks", "all failed")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as opened:
        yield opened


@pytest.mark.parametrize("state", STATES)
def test_every_page_says_what_is_so_and_nothing_else(state: str, tmp_path: Path, page: Page) -> None:
    with dashboard(STATES[state](tmp_path)) as address:
        for where, lines in LINES[state].items():
            text = shown(page, f"{address}/{where}")
            assert not [line for line in lines if line not in text], (where, text)
            assert state not in UNJUDGED or not UNTRUE.search(without_means(text)), (where, text)


def test_a_run_that_is_spoiled_while_it_is_open_is_told_on_every_page(tmp_path: Path, page: Page) -> None:
    run = make_run(tmp_path)
    shutil.copytree(run, tmp_path / "copy")
    with dashboard(run) as address:
        shown(page, f"{address}/sample")
        shutil.rmtree(run)
        search = page.get_by_label("Open a sample by its id")
        search.fill("c")
        search.press("Enter")
        assert all(line in read(page) for line in LINES["deleted"][FIRST])
        for state in SPOILED:
            shutil.copytree(tmp_path / "copy", run, dirs_exist_ok=True)
            SPOILED[state](run)
            for where, lines in LINES[state].items():
                text = shown(page, f"{address}/{where}")
                assert not [line for line in lines if line not in text], (where, text)


def test_images_that_have_moved_are_shown_where_the_user_says_that_they_are(tmp_path: Path, page: Page) -> None:
    run = STATES["images moved"](tmp_path)
    with dashboard(run, "--root", str(tmp_path / "moved")) as address:
        for where in (FINDINGS, FIRST):
            text = shown(page, f"{address}/{where}")
            assert "grey" not in text
            assert page.get_by_test_id("stAlert").count() == 0
        expect(page.get_by_text("IoU 0.000 at threshold")).to_be_visible()


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


def without_means(text: str) -> str:
    """The text without the block of means, which are true where some targets were scored."""
    return re.sub(r"Pointing hit\n.*?Means over [1-9]", "", text, flags=re.DOTALL)
