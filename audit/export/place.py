"""Where an export goes: a place that is free, or, if that was asked, over an earlier export of the same collection."""

from __future__ import annotations

from pathlib import Path

from audit.errors import RunError
from audit.store import Run, layout
from audit.store.files import read_json, write_json

RECORD = "camaudit-export.json"
"""File in a folder of exports that says what they are of."""


def check_place(run: Run, out: Path, overwrite: bool) -> None:
    """See that `out` may be written.

    Raises:
        RunError: there is something already and `overwrite` was not asked; or it is a run, a folder of other files, or
            of another collection.
    """
    inside = next((place for place in (out, *out.absolute().parents) if (place / layout.RUN_JSON).exists()), None)
    if inside is not None:
        raise RunError(f"Expected --out to be a place for exports, got {out} of the run {inside}; choose another")
    if not _taken(out):
        return
    if not overwrite:
        raise RunError(f"Expected --out to be new, got {out}, {_holds(out)}; choose another, or --overwrite")
    if out.is_dir() and _record(out).get("manifest") != run.record["manifest"]["fingerprint"]:
        raise RunError(f"Expected --out for this collection, got {out}, {_holds(out)}; choose another")


def sign(run: Run, out: Path, finished: bool) -> None:
    """Say in a folder of exports what they are of, before the first and after the last."""
    of = {"run": str(run.path.absolute()), "manifest": run.record["manifest"]["fingerprint"]}
    write_json(out / RECORD, {"ledger": run.ledger.digest(), "finished": finished, **of})


def _taken(out: Path) -> bool:
    return out.is_file() or (out.is_dir() and any(out.iterdir()))


def _holds(out: Path) -> str:
    record = _record(out)
    if record:
        return f"which holds an export of {record.get('run', 'another run')}"
    return "a folder with other files" if out.is_dir() else "a file"


def _record(out: Path) -> dict[str, str]:
    path = out / RECORD
    return read_json(path, "choose another --out") if path.exists() else {}
