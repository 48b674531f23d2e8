"""Take a picture of a page of the dashboard: python tests/browser/screenshot.py RUN OUT.png [PAGE].

PAGE is overview, findings, sample or any address below the dashboard's, as `sample?finding=27:0:indifferent`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket
from urllib.error import URLError
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
_START_S = 40


@contextmanager
def dashboard(run: Path, *arguments: str) -> Iterator[str]:
    """Serve a run's dashboard and yield its address."""
    with socket(AF_INET, SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "dashboard", str(run)]
    server = subprocess.Popen(
        [*command, "--port", str(port), *arguments], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address)
        yield address
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


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            with urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(f"The dashboard did not answer at {address} within {_START_S} s")


def _stop(server: subprocess.Popen[bytes]) -> None:
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
