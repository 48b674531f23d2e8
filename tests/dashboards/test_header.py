"""The line above every page: who reviews, and how the run stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from pages import said
from small_run import make_run
from streamlit import config
from streamlit.testing.v1 import AppTest

from audit.store import Run
from audit.store.verdicts.log import VerdictLog

APP = str(Path(__file__).parents[2] / "dashboards" / "app.py")


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


def app_of(path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["app.py", str(path), *arguments])
    return AppTest.from_file(APP, default_timeout=60)


def test_it_counts_what_was_reviewed_by_all_and_by_oneself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(tmp_path)
    log = VerdictLog.of(Run.open(path))
    for subject, reviewer in (("0:0", "Ana"), ("1:0", "Bea"), ("claim:x:y", "Bea")):
        log.add(subject, "agree", reviewer)
    app = app_of(path, monkeypatch, "--reviewer", "Ana").run()
    assert not app.exception
    assert "2 reviewed, 1 by Ana; 3 findings" in said(app)


def test_the_name_in_the_address_counts_before_the_one_the_server_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(make_run(tmp_path), monkeypatch, "--reviewer", "Ana")
    app.query_params["reviewer"] = "Bea"
    assert "0 by Bea" in said(app.run())


def test_where_a_login_is_configured_a_name_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(make_run(tmp_path), monkeypatch, "--reviewer", "Ana")
    app.secrets["auth"] = {"client_id": "x"}
    app.run()
    assert not app.exception
    assert "Ana" not in said(app)
    assert any(button.label == "Log in" for button in app.button)
    assert not any(field.label == "Reviewer" for field in app.text_input)


def test_secrets_that_cannot_be_read_open_the_verdicts_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "secrets.toml"
    broken.write_text("[auth\n")
    kept = config.get_option
    for module in (config, st):
        monkeypatch.setattr(module, "get_option", lambda name: [str(broken)] if name == "secrets.files" else kept(name))
    monkeypatch.setattr(st.secrets, "_secrets", None)
    app = app_of(make_run(tmp_path), monkeypatch, "--reviewer", "Ana").run()
    assert "Error parsing secrets file" in said(app)
    assert not app.button
