"""Exports of a run by the name of their format."""

from __future__ import annotations

from pathlib import Path

from audit.errors import RunError
from audit.export import export_table, export_voc_png
from audit.findings import Findings
from audit.progress import Progress, silent
from audit.store import Run

FORMATS = ("voc-png", "csv", "parquet")


def export_run(
    path: Path, kind: str, out: Path, threshold: float | None, roles: tuple[str, ...], progress: Progress = silent
) -> str:
    """Write an export and say in one line what was written.

    Raises:
        RunError: unknown format, or no threshold is known yet.
    """
    run = Run.open(path)
    if kind == "voc-png":
        used = _threshold(run) if threshold is None else threshold
        count = export_voc_png(run, out, used, roles, progress)
        return f"{out}: {count} pseudo-masks at threshold {used:.3f}"
    if kind in ("csv", "parquet"):
        if out.suffix != f".{kind}":
            raise RunError(f"Expected --out to end in .{kind}, got {out}")
        return f"{out}: {export_table(run, out)} findings"
    raise RunError(f"Expected --format to be one of {', '.join(FORMATS)}, got {kind!r}")


def _threshold(run: Run) -> float:
    """The threshold that the run's summary holds."""
    summary = Findings(run).summary()
    if summary is None:
        raise RunError(f"{run.path} was not flagged yet, so no threshold is known; pass --threshold")
    if summary["mean_iou"] is None:
        raise RunError(f"{run.path} has no masks to choose a threshold by; pass --threshold")
    return float(summary["threshold"])
