"""Logging in through an OpenID provider, as a team that shares one dashboard would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from screenshot import CHROMIUM, dashboard, settle
from small_run import make_run
from test_reviewing import decide, drawn, log_of

pytest.importorskip(
    "authlib.integrations.starlette_client",
    reason="Streamlit's login needs authlib and httpx: pip install 'streamlit[auth]'",
    exc_type=ImportError,
)
from oidc_provider import CLIENT, SECRET, Provider, served

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package chromium")

WHO = "ana@example.org"


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """A provider, and a working directory whose secrets name it; nobody's own secrets are read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with served(email=WHO) as provider:
        configure(provider)
        yield provider


def configure(provider: Provider, without: str = "") -> None:
    """Write secrets as the guide tells, here without one of the lines."""
    said = {
        "redirect_uri": "http://127.0.0.1:{port}/oauth2callback",
        "cookie_secret": "0123456789abcdef0123456789abcdef",
        "client_id": CLIENT,
        "client_secret": SECRET,
        "server_metadata_url": provider.discovery,
    }
    lines = ["[auth]", *(f'{name} = "{value}"' for name, value in said.items() if name != without)]
    Path(".streamlit").mkdir(exist_ok=True)
    Path(".streamlit/secrets.toml").write_text("\n".join(lines))


def test_nobody_decides_before_logging_in_and_then_under_the_e_mail(
    tmp_path: Path, page: Page, provider: Provider
) -> None:
    run = make_run(tmp_path)
    with dashboard(run, "--reviewer", "Eve") as address:
        page.goto(f"{address}/review?reviewer=Mallory")
        first = drawn(page)
        settle(page)
        page.keyboard.press("1")
        expect(page.get_by_text("Verdicts are stored under the name of who is logged in.")).to_be_visible()
        expect(page.get_by_label("Name")).to_have_count(0)
        assert log_of(run).standing() == {}
        page.get_by_role("dialog").get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{address}/")
        settle(page)
        expect(page.get_by_role("button", name=WHO)).to_be_visible()
        assert provider.tokens == 1
        page.go_back()
        assert drawn(page) == first
        settle(page)
        decide(page, "1", first)
        page.get_by_role("button", name=WHO).click()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{address}/")
        settle(page)
        expect(page.get_by_role("button", name="Who reviews?")).to_be_visible()
        page.goto(f"{address}/review?at={first}&reviewer={WHO}")
        drawn(page)
        settle(page)
        page.keyboard.press("2")
        expect(page.get_by_text("Verdicts are stored under the name of who is logged in.")).to_be_visible()
    (given,) = log_of(run).standing().values()
    assert {reviewer: verdict.decision for reviewer, verdict in given.items()} == {WHO: "agree"}


def test_a_login_that_is_half_configured_says_what_is_missing(tmp_path: Path, page: Page, provider: Provider) -> None:
    configure(provider, without="cookie_secret")
    with dashboard(make_run(tmp_path)) as address:
        page.goto(address)
        settle(page)
        page.get_by_role("button", name="Who reviews?").click()
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("cookie_secret")).to_be_visible()
        page.keyboard.press("Escape")
        page.goto(f"{address}/review")
        drawn(page)
        settle(page)
        page.keyboard.press("1")
        page.get_by_role("dialog").get_by_role("button", name="Log in").click()
        expect(page.get_by_text("cookie_secret")).to_be_visible()
