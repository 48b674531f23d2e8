"""Every format that a run is exported to, by its name; those of label images are in `audit.export.labels.registry`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from audit.errors import RunError
from audit.export.labels import LABEL_FORMATS, Spread, export_labels, one_by_one
from audit.export.place import check_place
from audit.export.pseudo_masks import PseudoMasks
from audit.export.tables import export_table
from audit.export.verdicts import export_coco, export_fiftyone, export_verdicts
from audit.progress import Progress, silent
from audit.store import Run
from audit.store.storage.objects import Location


class Format(Protocol):
    """Writes a run to `out` and says in one line what was written."""

    def __call__(self, run: Run, out: Location, progress: Progress) -> str:
        """Write it."""


def export_run(
    run: Run,
    name: str,
    out: Location,
    masks: PseudoMasks,
    progress: Progress = silent,
    overwrite: bool = False,
    spread: Spread = one_by_one,
) -> str:
    """Write an export and say in one line what was written.

    Args:
        overwrite: whether an earlier export of the same collection may be written over.
        spread: who writes the shards of label images.

    Raises:
        RunError: unknown format, a place that is taken, or it cannot be written so.
    """
    if name in LABEL_FORMATS:
        return export_labels(masks.of(run, progress), name, out, progress, overwrite, spread)
    if name not in FORMATS:
        raise RunError(f"Expected --format to be one of {', '.join((*LABEL_FORMATS, *FORMATS))}, got {name!r}")
    check_place(run, out, overwrite)
    return FORMATS[name](run, out, progress)


def _table(suffix: str) -> Format:
    def write(run: Run, out: Location, progress: Progress) -> str:
        if out.suffix != suffix:
            raise RunError(f"Expected --out to end in {suffix}, got {out}")
        return f"{out}: {export_table(run, out)} findings"

    return write


def _verdicts(write: Callable[[Run, Location], int], what: str, *suffixes: str) -> Format:
    def write_to(run: Run, out: Location, progress: Progress) -> str:
        if out.suffix not in suffixes:
            raise RunError(f"Expected --out to end in {' or '.join(suffixes)}, got {out}")
        return f"{out}: {write(run, out)} {what}"

    return write_to


FORMATS: dict[str, Format] = {
    "csv": _table(".csv"),
    "parquet": _table(".parquet"),
    "verdicts": _verdicts(export_verdicts, "verdicts", ".csv", ".json"),
    "verdicts-coco": _verdicts(export_coco, "annotations", ".json"),
    "verdicts-fiftyone": _verdicts(export_fiftyone, "images with tags", ".json"),
}
"""Name -> what writes it, of formats that hold no label images."""
