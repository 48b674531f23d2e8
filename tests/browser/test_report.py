"""The report in a real Chromium: it loads nothing, fits a narrow screen, and shows others' names as text."""

from __future__ import annotations

import pytest
from claimed_run import make_claimed_run
from playwright.sync_api import Page, expect
from screenshot import CHROMIUM

from audit.report.page import write_report
from audit.store import Run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package chromium")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(Run.open(make_claimed_run(tmp_path_factory.mktemp("claimed")))).as_uri()


def test_the_report_asks_for_nothing_and_breaks_nothing(page: Page, address: str) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert not said
    expect(page).to_have_title("Audit of images")
    expect(page.get_by_text("<script>document.title='taken'</script>").first).to_be_visible()


def test_every_picture_of_the_report_is_drawn(page: Page, address: str) -> None:
    page.goto(address)
    widths = page.eval_on_selector_all("img", "pictures => pictures.map(picture => picture.naturalWidth)")
    assert len(widths) > 8
    assert min(widths) > 0


@pytest.mark.parametrize("width", [380, 1400])
def test_the_report_is_never_wider_than_the_screen(width: int, page: Page, address: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_by_day_and_by_night(scheme: str, page: Page, address: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(address)
    for where in ("body", ".card .says", ".tags", ".badge.confirmed"):
        colours = page.locator(where).first.evaluate(_COLOURS)
        assert _contrast(*colours) >= 4.5, where


_COLOURS = """element => {
  const text = getComputedStyle(element).color;
  let ground = element;
  while (ground && getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const read = colour => colour.match(/\\d+/g).slice(0, 3).map(Number);
  return [read(text), read(getComputedStyle(ground).backgroundColor)];
}"""


def _contrast(one: list[int], other: list[int]) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(rgb: list[int]) -> float:
    parts = [value / 255 for value in rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
