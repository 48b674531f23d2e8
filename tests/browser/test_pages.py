"""The dashboard as people meet it: a real server, a real Chromium."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Page, expect
from rewritten import part_of
from screenshot import CHROMIUM, browser_page, dashboard, settle
from small_run import HOSTILE, make_run

from audit.datasets import read_voc
from audit.datasets.manifest import Manifest
from audit.store import Run, layout

SHARED = Path(__file__).resolve().parents[3] / "shared"
VOC = SHARED / "voc2012" / "VOCdevkit" / "VOC2012"
MODEL = SHARED / "models" / "voc_squeezenet.py"
IMAGES = 36

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package chromium")


@pytest.fixture
def page() -> Iterator[Page]:
    with browser_page() as opened:
        yield opened


@pytest.fixture(scope="module")
def voc_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first images of VOC with a trained network."""
    if not VOC.is_dir() or not MODEL.is_file():
        pytest.skip(f"no VOC images and trained network beside the project, in {SHARED}")
    folder = tmp_path_factory.mktemp("voc")
    listed = read_voc(VOC, split="trainval")
    first = Manifest.from_samples(list(listed)[:IMAGES], listed.classes, listed.root, listed.mask_kind)
    first.save(folder / "voc.parquet")
    options = "--layer features --size 320 --fit squash --targets label --activation sigmoid --shard-size 64"
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "run", str(folder / "voc.parquet")]
    command += ["--model", f"{MODEL}:build", *options.split(), "--workers", "1", "-o", str(folder / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the dashboard of a drawn run."""
    with dashboard(make_run(tmp_path_factory.mktemp("drawn"))) as address:
        yield address


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=re.compile(label)).click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def has_traceback(page: Page) -> bool:
    return page.locator("[data-testid=stException]").count() > 0 or "Traceback" in page.inner_text("body")


def test_a_reviewer_filters_opens_a_finding_moves_the_slider_and_decides(voc_run: Path, page: Page) -> None:
    with dashboard(voc_run, "--reviewer", "Ana") as address:
        page.goto(f"{address}/findings")
        settle(page)
        choose(page, "Class", "chair")
        cards = page.get_by_test_id("stText").filter(has_text=re.compile(r"^(?!\d).*\d{4}_\d{6}"))
        assert cards.count() > 0
        assert all(text.startswith("chair") for text in cards.all_inner_texts())

        page.get_by_test_id("stMain").get_by_role("button", name="Open").first.click()
        page.get_by_text("Pseudo-mask", exact=True).wait_for()
        settle(page)
        assert "finding=" in page.url
        overlap = page.get_by_text(re.compile(r"^IoU 0\.\d{3} at threshold"))
        before = overlap.inner_text()
        slider = page.get_by_role("slider", name=re.compile("Threshold"))
        slider.focus()
        for _ in range(30):
            slider.press("ArrowRight")
        expect(overlap).not_to_have_text(before)

        note = "the heat lies on the <table>, *not* on the chair"
        page.get_by_label("Note").fill(note)
        page.get_by_role("button", name="Agree: off the object").click()
        page.get_by_text(re.compile("^agree: Ana")).wait_for()
        page.reload()
        settle(page)
        expect(page.get_by_text(re.compile("^agree: Ana"))).to_be_visible()
        expect(page.get_by_text(note)).to_be_visible()
        assert not has_traceback(page)
    assert (voc_run / layout.VERDICTS).exists()


def test_the_server_listens_on_this_machine_alone(drawn: str) -> None:
    port = urlsplit(drawn).port
    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


def test_the_pages_ask_no_other_machine(drawn: str, page: Page) -> None:
    asked: set[str | None] = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
    page.on("websocket", lambda socket: asked.add(urlsplit(socket.url).hostname))
    for where in ("", "findings", "sample?finding=1:0:indifferent"):
        page.goto(f"{drawn}/{where}")
        settle(page)
        assert not has_traceback(page)
    assert asked - {None} == {"127.0.0.1"}  # data: and blob: addresses have no host


def test_a_hostile_name_is_text_and_runs_nothing(drawn: str, page: Page) -> None:
    page.goto(f"{drawn}/sample?finding=1:0:indifferent")
    settle(page)
    heading = page.get_by_role("heading").first
    assert heading.inner_text().startswith(HOSTILE[:30])
    assert heading.locator("script, strong, a[href=b]").count() == 0
    assert page.title() != "taken"


def test_a_partial_damaged_run_shows_what_there_is_with_a_notice(tmp_path: Path, page: Page) -> None:
    path = make_run(tmp_path, shards=2)
    (path / layout.SUMMARY).unlink()
    part = part_of(Run.open(path), "findings", 1)
    part.write_bytes(part.read_bytes()[:100])
    with dashboard(path) as address:
        page.goto(address)
        settle(page)
        expect(page.get_by_text("2 of 6 samples are pending")).to_be_visible()
        expect(page.get_by_text("No readable summary.json")).to_be_visible()
        expect(page.get_by_text("1 of 2 parts of the table findings are missing or damaged")).to_be_visible()
        assert not has_traceback(page)
        page.goto(f"{address}/findings")
        settle(page)
        expect(page.get_by_text("1 to 2 of 2")).to_be_visible()
        assert not has_traceback(page)
