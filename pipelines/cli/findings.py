"""Verbs that show what was found: findings, report, dashboard, export."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Json, RunPath, Threshold, Wide, names, right_use
from pipelines.cli.printing import line, print_findings, print_json
from pipelines.terminal import TerminalProgress

_DASHBOARD = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.showEmailPrompt": "false",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "theme.base": "light",
    "theme.primaryColor": "#3b6ea5",
}


def findings(
    run_path: RunPath,
    most: Annotated[int, typer.Option(min=0, help="Claims, and findings about targets, to print.")] = 20,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Print the classes and targets that look off the object.

    Example: camaudit findings runs/val --most 50
    """
    from audit.export import findings_record
    from audit.findings import Findings
    from audit.store import Run

    opened = Run.open(run_path)
    print_json(findings_record(opened)) if as_json else print_findings(Findings(opened), most, wide)


def report(
    run_path: RunPath,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", dir_okay=False, help="Page to write. [default: RUN/report/index.html]")
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Claims, and images, to show with pictures.")] = 12,
) -> None:
    """Write what was found as one HTML page that works offline.

    With its pictures and its limits. Contact sheets of the clusters found go into RUN/report/sheets.

    Example: camaudit report runs/val -o val.html
    """
    from audit.report import draw_sheets, write_report
    from audit.store import Run

    opened, progress = Run.open(run_path), TerminalProgress()
    line(str(write_report(opened, out, most, progress)))
    for sheet in draw_sheets(opened, progress):
        line(str(sheet))


def dashboard(
    run_path: RunPath,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8501,
    reviewer: Annotated[
        str | None, typer.Option(help="Name that verdicts are stored under. [default: the user's]")
    ] = None,
) -> None:
    """Browse a run's findings and give verdicts, in a browser.

    At http://127.0.0.1:8501, on this machine alone.

    Example: camaudit dashboard runs/val
    """
    from audit.store import Run

    Run.open(run_path)
    typer.echo(f"http://127.0.0.1:{port}  (Ctrl-C to stop)")
    try:
        raise SystemExit(subprocess.run(_server(run_path, port, reviewer), check=False).returncode)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _server(run_path: Path, port: int, reviewer: str | None) -> list[str]:
    """The command that serves the dashboard."""
    package = importlib.util.find_spec("dashboards")
    assert package is not None
    assert package.origin is not None
    page = Path(package.origin).with_name("app.py")
    flags = [f"--{name}={value}" for name, value in (_DASHBOARD | {"server.port": port}).items()]
    arguments = [str(run_path), *([reviewer] if reviewer else [])]
    return [sys.executable, "-m", "streamlit", "run", str(page), *flags, "--", *arguments]


def export(
    run_path: RunPath,
    kind: Annotated[str, typer.Option("--format", help="voc-png (pseudo-masks), csv or parquet (findings).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of masks, or file of findings.")],
    threshold: Threshold = None,
    roles: Annotated[str, typer.Option(help="Targets that make pseudo-masks.")] = "label",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over an earlier export.")] = False,
) -> None:
    """Write pseudo-masks or findings for other tools.

    Example: camaudit export runs/val --format voc-png -o masks
    """
    from audit.export import PseudoMasks, export_run
    from audit.store import Run
    from pipelines.run.config import known_roles

    with right_use():
        chosen = known_roles(names(roles))
    run, masks = Run.open(run_path), PseudoMasks(threshold, chosen)
    line(export_run(run, kind, out, masks, TerminalProgress(), overwrite))
