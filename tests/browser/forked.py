"""Dashboards in processes that were forked from one that has loaded what they need: each is there at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forks import FORKS

from pipelines.cli.dashboard import _command, _listens, free_port

_ANSWERS_WITHIN_S = 60.0
_free: list[int] = []
"""Ports of dashboards that have ended. A browser that meets an address again knows its scripts already."""


@contextmanager
def dashboard(run: Path, *arguments: str) -> Iterator[str]:
    """Serve a run's dashboard as `camaudit dashboard` does, and yield its address."""
    port = _free.pop() if _free else free_port(0)
    server = FORKS.Process(target=_serve, args=(_command(str(run), port, list(arguments)),))
    server.start()
    try:
        _wait(server.pid or 0, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.join()
    _free.append(port)


def _serve(command: list[str]) -> None:
    """What `python -m streamlit run ...` does, saying nothing."""
    from streamlit.web.cli import main

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    main(command[command.index("streamlit") + 1 :])


def _wait(process: int, port: int) -> None:
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while not _listens(process, port):
        assert time.monotonic() < deadline, f"no dashboard on port {port}"
        time.sleep(0.02)
