"""One Chromium a module: it is started once, and keeps what it has loaded from one page to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from screenshot import browser_page

expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def first_page() -> Iterator[Page]:
    with browser_page() as opened:
        yield opened


@pytest.fixture
def page(first_page: Page) -> Iterator[Page]:
    """A page of 1366 x 768 pixels, as many laptops have it."""
    opened = first_page.context.new_page()
    opened.set_viewport_size({"width": 1366, "height": 768})
    yield opened
    opened.close()
