"""Where an export goes: a place that is free, or, if that was asked, over an earlier export of the same collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audit.errors import RunError
from audit.store import Run, layout
from audit.store.storage.files import read_json, write_json
from audit.store.storage.objects import Location

RECORD = "camaudit-export.json"
"""File in a folder of exports that says what they are of."""


def check_place(run: Run, out: Location, overwrite: bool, of: Mapping[str, Any] | None = None) -> None:
    """See that `out` may be written.

    Args:
        of: what is to be written there, as `sign` notes it; one of the same that was interrupted is gone on with.

    Raises:
        RunError: there is something already and `overwrite` was not asked; or it is a run, a folder of other files, or
            of another collection.
    """
    inside = next((place for place in (out, *out.absolute().parents) if (place / layout.RUN_JSON).exists()), None)
    if inside is not None:
        raise RunError(f"Expected --out to be a place for exports, got {out} of the run {inside}; choose another")
    if not _taken(out):
        return
    if out.is_file() and of is not None:
        raise RunError(f"Expected --out to be a folder, got {out}, a file; choose another")
    interrupted = out.is_dir() and of is not None and _is_rest_of(out, of)
    if not (overwrite or interrupted):
        raise RunError(f"Expected --out to be new, got {out}, {_holds(out)}; choose another, or --overwrite")
    if out.is_dir() and export_record(out).get("manifest") != run.record["manifest"]["fingerprint"]:
        raise RunError(f"Expected --out for this collection, got {out}, {_holds(out)}; choose another")


def sign(run: Run, out: Location, finished: bool, of: Mapping[str, Any]) -> None:
    """Say in a folder of exports what they are of, before the first and after the last.

    Args:
        of: what decides what is written, as JSON: format, labels, classes ...
    """
    where = {"run": str(run.path.absolute()), "manifest": run.record["manifest"]["fingerprint"]}
    write_json(out / RECORD, {"ledger": run.ledger.digest(), "finished": finished, **where, "of": dict(of)})


def export_record(out: Location) -> dict[str, Any]:
    """What a folder of exports says that it is of; empty where it says nothing."""
    path = out / RECORD
    return read_json(path, "choose another --out") if path.exists() else {}


def _is_rest_of(out: Location, of: Mapping[str, Any]) -> bool:
    record = export_record(out)
    return record.get("finished") is False and record.get("of") == of


def _taken(out: Location) -> bool:
    return out.is_file() or (out.is_dir() and any(out.iterdir()))


def _holds(out: Location) -> str:
    record = export_record(out)
    if record:
        return f"which holds an export of {record.get('run', 'another run')}"
    return "a folder with other files" if out.is_dir() else "a file"
