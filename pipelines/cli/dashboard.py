"""The verb that serves the pages in `dashboards`, on this machine alone."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from audit.drawing.palette import DARK, LIGHT
from audit.errors import AuditError
from pipelines.cli.options.common import ModelAgain, RunPath
from pipelines.cli.options.groups import ReachOptions, spread
from pipelines.interrupts import held

_HOST = "127.0.0.1"
_SETTINGS = {
    "server.address": _HOST,
    "server.headless": "true",
    "server.showEmailPrompt": "false",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "logger.level": "error",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
}
_THEME = {
    "primaryColor": "accent",
    "backgroundColor": "ground",
    "secondaryBackgroundColor": "code",
    "textColor": "ink",
    "borderColor": "line",
    "linkColor": "accent",
}
"""Settings of Streamlit's theme, and the colours of the palette; light or dark as the system is."""
_LOOK_EVERY_S = 0.1
_ANSWERS_WITHIN_S = 60.0
_ENDS_WITHIN_S = 10.0


@spread
def dashboard(
    run_path: RunPath,
    images: ReachOptions,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes one that is free.")] = 8501,
    reviewer: Annotated[
        str | None, typer.Option(help="Name that verdicts are stored under. [default: the user's]")
    ] = None,
    model: ModelAgain = None,
) -> None:
    """Browse a run's findings and give verdicts, in a browser.

    On this machine alone; the address is printed once the pages answer. Images and masks are read below the manifest's
    root alone; of those that cannot be read the map is drawn on grey.

    Example: camaudit dashboard runs/val
    """
    from audit.store import Run

    place = Run.open(run_path).address
    chosen = free_port(port)
    try:
        with _server(_command(place, chosen, _arguments(images, reviewer, model))) as server:
            _wait_until_served(server, chosen)
            typer.echo(f"http://{_HOST}:{chosen}  (Ctrl-C to stop)")
            raise SystemExit(server.wait())
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def free_port(port: int) -> int:
    """The port, or for 0 one that is free.

    Raises:
        AuditError: it is taken, or may not be used.
    """
    with socket.socket() as probe:
        # Connections of a server that has ended hold its port for a minute; only one that listens is in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            advice = "name another with --port, or take a free one with --port 0"
            raise AuditError(f"Cannot listen on port {port} of {_HOST}: {error.strerror}; {advice}") from None
        return int(probe.getsockname()[1])


@contextmanager
def _server(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the context, whichever signal comes when."""
    with ExitStack() as stack:
        with held():
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(_stop, server)
        yield server


def _wait_until_served(server: subprocess.Popen[bytes], port: int) -> None:
    """Wait until this very process listens: someone else may have taken the port meanwhile.

    Raises:
        AuditError: it ended, or does not listen within a minute.
    """
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while not _listens(server.pid, port):
        if server.poll() is not None:
            raise AuditError(f"The dashboard ended before it answered on port {port}; try again with --port 0")
        if time.monotonic() > deadline:
            waited = f"within {_ANSWERS_WITHIN_S:.0f} s"
            raise AuditError(f"The dashboard does not answer on port {port} {waited}; try again with --port 0")
        time.sleep(_LOOK_EVERY_S)


def _listens(process: int, port: int) -> bool:
    import psutil

    try:
        connections = psutil.Process(process).net_connections("inet")
    except psutil.Error:
        return False
    return any(at.status == psutil.CONN_LISTEN and at.laddr.port == port for at in connections)


def _stop(server: subprocess.Popen[bytes]) -> None:
    with held():
        server.terminate()
        try:
            server.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _command(run: str, port: int, arguments: list[str]) -> list[str]:
    """The command that serves the pages."""
    package = importlib.util.find_spec("dashboards")
    assert package is not None
    assert package.origin is not None
    page = Path(package.origin).with_name("app.py")
    settings = [f"--{name}={value}" for name, value in (_SETTINGS | _themes() | {"server.port": port}).items()]
    return [sys.executable, "-m", "streamlit", "run", str(page), *settings, "--", run, *arguments]


def _themes() -> dict[str, str]:
    themes = {"light": LIGHT, "dark": DARK}
    return {
        f"theme.{base}.{setting}": colours[name] for base, colours in themes.items() for setting, name in _THEME.items()
    }


def _arguments(images: ReachOptions, reviewer: str | None, model: str | None) -> list[str]:
    """What the pages are told beside the run, as `dashboards.app` takes it."""
    reach = images.reach()
    named = {"reviewer": reviewer, "model": model, "root": reach.root}
    switches = {"allow-outside": reach.outside, "remote": reach.remote}
    return [
        *(f"--{name}={value}" for name, value in named.items() if value is not None),
        *(f"--{name}" for name, given in switches.items() if given),
    ]
