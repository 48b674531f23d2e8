"""Pages over a million targets in Chromium: seconds from a click to the drawn page, those of the server, its memory.

The tables are drawn (`tests.drawn_run`), so no picture can be read: of each card the grey ground is made. What a reader
waits for is timed from the click or key until what comes next stands. The server's own seconds stand beside, for
Chromium and whatever else the machine does take the same cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil
from playwright.sync_api import Page

from audit.findings import Rules
from audit.findings.judge import flag
from audit.store import Run
from tests.benchmarks.timing import Row, apart
from tests.support.drawn_run import CLASSES, draw_run

sys.path.append(str(Path(__file__).parents[2] / "browser"))
from screenshot import browser_page, dashboard, settle

TARGETS = 1_000_000
_DRAWN = ".targets[data-drawn]"
_VIEWER = ".viewer[data-drawn]"
_GLANCE_MS = 250
_PATIENCE_MS = 120_000

Seconds = tuple[float, float]
"""Until the words of other targets stand, and until their pictures do too."""
Act = Callable[[Page, str, int], Seconds]
"""Does something on a page at an address, the round's number given."""


def measure(rounds: int) -> list[Row]:
    """A row for each act."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        apart(_draw, path)
        return measure_run(path, rounds)


def measure_run(path: Path, rounds: int) -> list[Row]:
    """The same of a run that was flagged."""
    with _server(path) as (address, server), browser_page(1366, 768) as page:
        page.set_default_timeout(_PATIENCE_MS)
        rows = [_timed("Start, cold", open_start, page, address, server, 1)]
        rows += [_timed(name, act, page, address, server, rounds) for name, act in ACTS.items()]
        memory = round(server.memory_info().rss / 2**20)
        return [*rows, {"candidate": "the server after that", "memory_mb": memory}]


def open_start(page: Page, address: str, turn: int) -> Seconds:
    """Load the first page: its numbers, then the last card's buttons."""
    began = time.perf_counter()
    page.goto(address)
    page.locator(".figures").wait_for()
    words = time.perf_counter() - began
    page.get_by_role("button", name="Browse all targets").wait_for()
    return words, time.perf_counter() - began


def open_review(page: Page, address: str, turn: int) -> Seconds:
    """Load the findings to review, with the first one's picture."""
    began = time.perf_counter()
    page.goto(f"{address}/review")
    page.locator(_VIEWER).wait_for()
    return (time.perf_counter() - began,) * 2


def _decide(page: Page, address: str, turn: int) -> Seconds:
    """Give a verdict by its key, and wait for the picture of the next finding."""
    page.wait_for_timeout(_GLANCE_MS)
    before = page.locator(_VIEWER).get_attribute("data-drawn")
    began = time.perf_counter()
    page.keyboard.press("123"[turn % 3])
    page.locator(f'{_VIEWER}:not([data-drawn="{before}"])').wait_for()
    return (time.perf_counter() - began,) * 2


def open_browse(page: Page, address: str, turn: int) -> Seconds:
    """Load the page of all targets."""
    began = time.perf_counter()
    page.goto(f"{address}/browse")
    return _until_drawn(page, _DRAWN, began)


def _choose_class(page: Page, address: str, turn: int) -> Seconds:
    """Open the list of classes and take another one."""
    page.get_by_role("combobox", name="Class", exact=True).click()
    option = page.get_by_role("option", name=CLASSES[turn % len(CLASSES)], exact=True)
    return _change(page, option.click)


def _choose_finding(page: Page, address: str, turn: int) -> Seconds:
    """Take the targets with a finding, or those without."""
    page.get_by_role("combobox", name="Finding").click()
    option = page.get_by_role("option", name=("no finding", "any finding")[turn % 2], exact=True)
    return _change(page, option.click)


def _type_text(page: Page, address: str, turn: int) -> Seconds:
    """Look for a text in ids."""
    field = page.get_by_label("Text in id or attributes")
    field.fill(f"{turn + 11}0")
    return _change(page, lambda: field.press("Enter"))


def _turn_page(page: Page, address: str, turn: int) -> Seconds:
    """Go to the next page."""
    return _change(page, page.get_by_role("button", name="Next page").click)


def _sort(page: Page, address: str, turn: int) -> Seconds:
    """Turn the order round."""
    return _change(page, page.get_by_text("Reversed").click)


ACTS: dict[str, Act] = {
    "Start, warm": open_start,
    "Review": open_review,
    "next finding after a verdict": _decide,
    "Browse": open_browse,
    "next page": _turn_page,
    "order reversed": _sort,
    "filter by class": _choose_class,
    "filter by finding": _choose_finding,
    "filter by text": _type_text,
}
"""In this order, each on what the one before left."""


def _change(page: Page, act: Callable[[], object]) -> Seconds:
    """Act, and wait until another page of targets is drawn."""
    before = page.locator(_DRAWN).get_attribute("data-drawn")
    began = time.perf_counter()
    act()
    return _until_drawn(page, f'{_DRAWN}:not([data-drawn="{before}"])', began)


def _until_drawn(page: Page, grid: str, began: float) -> Seconds:
    page.locator(grid).first.wait_for()
    words = time.perf_counter() - began
    page.locator(f"{grid}[data-pictures=true]").wait_for()
    return words, time.perf_counter() - began


def _timed(name: str, act: Act, page: Page, address: str, server: psutil.Process, rounds: int) -> Row:
    seconds, worked = [], []
    for turn in range(rounds):
        cpu = _cpu(server)
        seconds.append(act(page, address, turn))
        settle(page)  # pictures of the next page are begun meanwhile; they are its own to pay for
        worked.append(_cpu(server) - cpu)
    words, pictures = zip(*seconds, strict=True)
    told = {"median_s": round(median(words), 2), "with_pictures_s": round(median(pictures), 2)}
    return {
        "candidate": name,
        "seconds": [round(each, 2) for each in words],
        **told,
        "server_cpu_s": round(median(worked), 2),
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _server(path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of a dashboard."""
    with dashboard(path, "--reviewer", "Ana") as address:
        port = int(address.rsplit(":", 1)[1])
        yield address, _listening(port)


def _listening(port: int) -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        if any(at.laddr.port == port and at.status == psutil.CONN_LISTEN for at in process.net_connections("tcp")):
            return process
    raise RuntimeError(f"No process of this one listens on port {port}")


def _draw(path: Path) -> None:
    draw_run(path, TARGETS)
    flag(Run.open(path), Rules())
