"""Take a picture of a page of the dashboard: python tests/browser/screenshot.py RUN OUT.png [PAGE].

PAGE is any address below the dashboard's, as `review?at=27:0`; left out, the first page.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

_SETTLED = """() => new Promise((settled, failed) => {
    const began = performance.now();
    let changed = began;
    const note = () => { changed = performance.now(); };
    const everything = { subtree: true, childList: true, attributes: true, characterData: true };
    const observer = new MutationObserver(note);
    observer.observe(document, everything);
    const look = () => {
        const idle = document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]");
        if (!idle || document.querySelector("[data-testid=stSkeleton]")) note();
        if (performance.now() - began > 60_000) failed(new Error("The page does not come to rest within a minute"));
        else if (performance.now() - changed < 250) return setTimeout(look, 25);
        observer.disconnect();
        settled();
    };
    look();
})"""
"""Resolves once no script has run, and nothing of the page has changed, for a quarter of a second."""


@contextmanager
def dashboard(run: Path, *arguments: str) -> Iterator[str]:
    """Serve a run's dashboard and yield its address."""
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "dashboard", str(run), "--port", "0"]
    server = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, start_new_session=True, text=True)
    try:
        yield _printed_address(server)
    finally:
        _stop(server)


@contextmanager
def browser_page(width: int = 1400, height: int = 900, dark: bool = False) -> Iterator[Page]:
    """A page of a Chromium without a screen, in which nothing moves that could stand still."""
    if CHROMIUM is None:
        raise FileNotFoundError("Expected a Chromium on the PATH; install the system's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        scheme: Literal["dark", "light"] = "dark" if dark else "light"
        size: ViewportSize = {"width": width, "height": height}
        yield browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce").new_page()
        browser.close()


def settle(page: Page) -> None:
    """Wait until the page was drawn and nothing runs any more."""
    page.locator("[data-testid=stAppViewContainer]").wait_for()
    page.evaluate(_SETTLED)


def _printed_address(server: subprocess.Popen[str]) -> str:
    """The address, which is printed once the server answers."""
    assert server.stdout is not None
    printed = server.stdout.readline()
    if not printed.startswith("http"):
        raise TimeoutError("The dashboard ended before it answered")
    return printed.split()[0]


def _stop(server: subprocess.Popen[str]) -> None:
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(20)


def main(run: str, out: str, where: str = "") -> None:
    """Save one picture, 1400 x 900 pixels in 256 colours."""
    with dashboard(Path(run), "--reviewer", "Ana") as address, browser_page() as page:
        page.goto(f"{address}/{where}")
        settle(page)
        picture = Image.open(BytesIO(page.screenshot()))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
