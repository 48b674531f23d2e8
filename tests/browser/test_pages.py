"""The dashboard as people meet it: a real server, a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from faults.collection import audit_here
from forked import dashboard
from playwright.sync_api import Page, expect
from screenshot import CHROMIUM, settle
from small_run import HOSTILE, make_run

from audit.datasets import read_voc
from audit.datasets.manifest import Manifest
from audit.models import ModelSpec
from audit.report import write_report
from audit.store import Run, layout
from audit.store.verdicts.log import VerdictLog
from pipelines.run.config import RunConfig
from pipelines.run.plan import prepare

SHARED = Path(__file__).resolve().parents[3] / "shared"
VOC = SHARED / "voc2012" / "VOCdevkit" / "VOC2012"
MODEL = SHARED / "models" / "voc_squeezenet.py"
IMAGES = 36
PAGES = ("review", "browse", "map", "compare", "about")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package chromium")


@pytest.fixture(scope="module")
def voc_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first images of VOC with a trained network."""
    if not VOC.is_dir() or not MODEL.is_file():
        pytest.skip(f"no VOC images and trained network beside the project, in {SHARED}")
    folder = tmp_path_factory.mktemp("voc")
    listed = read_voc(VOC, split="trainval")
    first = Manifest.from_samples(list(listed)[:IMAGES], listed.classes, listed.root, listed.mask_kind)
    first.save(folder / "voc.parquet")
    spec = ModelSpec(f"{MODEL}:build", layer="features", size=320, mode="squash", activation="sigmoid")
    config = RunConfig(roles=("label",), shard_size=64)
    plan = prepare(str(folder / "voc.parquet"), str(folder / "run"), spec, config)
    audit_here(plan)
    return plan.run.path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the dashboard of a drawn run."""
    with dashboard(make_run(tmp_path_factory.mktemp("drawn"))) as address:
        yield address


def has_traceback(page: Page) -> bool:
    return page.locator("[data-testid=stException]").count() > 0 or "Traceback" in page.inner_text("body")


def test_from_the_first_page_to_verdicts_that_the_report_tells(voc_run: Path, page: Page) -> None:
    with dashboard(voc_run, "--reviewer", "Ana") as address:
        page.goto(address)
        settle(page)
        page.get_by_role("button", name="Browse all targets").click()
        settle(page)
        page.goto(f"{address}/review?class=chair&kind=any")
        agree = page.get_by_role("button", name=re.compile("^Agree"))
        agree.wait_for()
        settle(page)
        note = "the heat lies on the <table>, *not* on the chair"
        page.get_by_label("Note").fill(note)
        page.get_by_label("Note").press("Enter")
        settle(page)
        agree.click()
        settle(page)
        page.get_by_role("button", name="Back").click()
        settle(page)
        page.get_by_text("Verdicts", exact=True).click()
        settle(page)
        expect(page.get_by_text(re.compile("^agree: Ana"))).to_be_visible()
        expect(page.get_by_text(note)).to_be_visible()
        assert not has_traceback(page)
    assert VerdictLog(voc_run / layout.VERDICTS).standing()
    assert "Ana" in write_report(Run.open(voc_run)).read_text()


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
    for where in ("", *PAGES, "review?at=1:0"):
        page.goto(f"{drawn}/{where}")
        settle(page)
        assert not has_traceback(page)
    assert asked - {None} == {"127.0.0.1"}  # data: and blob: addresses have no host


def test_a_hostile_name_is_text_and_runs_nothing(drawn: str, page: Page) -> None:
    for where in ("review?at=1:0", "browse", ""):
        page.goto(f"{drawn}/{where}")
        settle(page)
        main = page.get_by_test_id("stMain")
        assert main.locator("script, a[href=b]").count() == 0
        assert page.title() != "taken"
    page.goto(f"{drawn}/review?at=1:0")
    settle(page)
    expect(page.get_by_text(HOSTILE[:30]).first).to_be_visible()


def test_a_partial_damaged_run_shows_what_there_is_with_a_notice(tmp_path: Path, page: Page) -> None:
    path = make_run(tmp_path, shards=2)
    (path / layout.SUMMARY).unlink()
    index = path / layout.FINDINGS / layout.INDEX
    index.write_bytes(index.read_bytes()[:100])
    with dashboard(path) as address:
        for where in ("", "browse"):
            page.goto(f"{address}/{where}")
            settle(page)
            expect(page.get_by_text("2 of 6 samples are pending")).to_be_visible()
            expect(page.get_by_text("No readable summary.json")).to_be_visible()
            assert not has_traceback(page)
