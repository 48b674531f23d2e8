"""Take a picture of a page of the dashboard: python tests/browser/screenshot.py RUN OUT.png [PAGE].

PAGE is overview, findings, sample or any address below the dashboard's, as `sample?finding=27:0:indifferent`.
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

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


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
def browser_page(width: int = 1400, height: int = 900) -> Iterator[Page]:
    """A page of a Chromium without a screen."""
    if CHROMIUM is None:
        raise FileNotFoundError("Expected a Chromium on the PATH; install the system's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def settle(page: Page) -> None:
    """Wait until the page was drawn and nothing runs any more."""
    page.locator("[data-testid=stAppViewContainer]").wait_for()
    page.wait_for_timeout(300)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=20_000)
    page.wait_for_function("document.querySelectorAll('[data-testid=stSkeleton]').length == 0")
    page.wait_for_timeout(500)


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


def main(run: str, out: str, where: str = "overview") -> None:
    """Save one picture, 1400 x 900 pixels in 256 colours."""
    with dashboard(Path(run), "--reviewer", "Ana") as address, browser_page() as page:
        page.goto(f"{address}/{'' if where == 'overview' else where}")
        settle(page)
        picture = Image.open(BytesIO(page.screenshot()))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
