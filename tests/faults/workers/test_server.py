"""The process that serves the dashboard: it answers within its time, and ends with the command that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_run import make_run

from audit.errors import AuditError
from faults.collection import camaudit, launch, no_process_is_left_of
from pipelines.cli.dashboard import _stop, _wait_until_served, free_port

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


@pytest.fixture
def silent() -> Iterator[subprocess.Popen[bytes]]:
    """A process that never listens to a port, nor to SIGTERM."""
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_server_that_never_answers_is_told_in_a_line(
    silent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cli.dashboard._ANSWERS_WITHIN_S", 0.3)
    with pytest.raises(AuditError, match=r"does not answer on port \d+ within 0 s; try again with --port 0"):
        _wait_until_served(silent, free_port(0))


def test_a_server_that_does_not_end_when_asked_is_killed(
    silent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cli.dashboard._ENDS_WITHIN_S", 0.3)
    _stop(silent)
    assert silent.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_server_starts_leaves_no_server(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def start_and_be_interrupted(*_arguments: object, **_options: object) -> subprocess.Popen[bytes]:
        started.append(start([sys.executable, "-c", "import time; time.sleep(60)"]))
        os.kill(os.getpid(), number)
        return started[0]

    monkeypatch.setattr("pipelines.cli.dashboard.subprocess.Popen", start_and_be_interrupted)
    code = camaudit(["dashboard", str(make_run(tmp_path)), "--port", "0"], monkeypatch)
    ended = started[0].poll()
    started[0].kill()
    assert (code, ended) == (0, -signal.SIGTERM)


def test_sigterm_to_the_command_alone_ends_its_server(tmp_path: Path) -> None:
    process = launch(["dashboard", str(make_run(tmp_path)), "--port", "0"])
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    no_process_is_left_of(process.pid)
