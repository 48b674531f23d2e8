"""The verb that serves the dashboard: its address is right, or there is none."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from browser.screenshot import dashboard
from faults.collection import camaudit
from small_run import make_run

from audit.errors import AuditError
from dashboards.app import argument_parser
from pipelines.cli.dashboard import _arguments, _wait_until_served, free_port
from pipelines.cli.options.groups import ReachOptions


def test_a_port_that_is_taken_is_told_before_any_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert camaudit(["dashboard", str(make_run(tmp_path)), "--port", port], monkeypatch) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"port {port}" in printed.err
    assert "--port 0" in printed.err


def test_port_0_serves_on_a_free_one_and_the_printed_address_answers(tmp_path: Path) -> None:
    with dashboard(make_run(tmp_path)) as address:
        port = urlsplit(address).port
        with urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            assert answer.status == 200
        with pytest.raises(AuditError, match=f"port {port}"):
            free_port(port or 0)


def test_a_port_is_free_again_once_its_server_has_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            pass
    assert free_port(port) == port


def test_a_server_that_ends_before_it_answers_is_told_in_a_line() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "pass"]) as server,
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(AuditError, match="ended before it answered"),
    ):
        _wait_until_served(server, other.getsockname()[1])


def test_the_pages_are_told_what_the_verb_was_asked(tmp_path: Path) -> None:
    images = ReachOptions(root=tmp_path, allow_outside=True, remote=True)
    told = argument_parser().parse_args([str(tmp_path / "run"), *_arguments(images, "--remote", "m.py:build")])
    assert (told.run, told.reviewer, told.root) == (str(tmp_path / "run"), "--remote", str(tmp_path))
    assert told.model == "m.py:build"
    assert (told.allow_outside, told.remote) == (True, True)
    bare = argument_parser().parse_args([str(tmp_path / "run"), *_arguments(ReachOptions(), None, None)])
    assert (bare.model, bare.reviewer, bare.root, bare.allow_outside, bare.remote) == (None, None, None, False, False)
