"""Contact sheets: a picture for each claim, of targets with their heat and the object's contour, to see it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.manifest import Track
from audit.export.voc_png import file_stem
from audit.findings.cards import SHEET
from audit.pictures import CHANGED, read_target
from audit.render import contact_sheet, thumbnail
from audit.store import Run, layout
from audit.store.files import write_atomically
from audit.store.tables import read_parts, read_table

THUMBNAIL = (120, 160)
"""Height and width, pixels."""


def draw_sheets(run: Run, claims: Iterable[Mapping[str, Any]], track: Track = iter) -> dict[str, Path]:
    """Draw a contact sheet for each claim that was found, under RUN/report/sheets; earlier ones are deleted.

    A claim's `details` name its targets as `sheet`; for one that names none the most severe findings about its class
    are drawn. Images that cannot be read, or are not what the run read, are left out.

    Args:
        claims: rows of `audit.store.layout.CLAIM`.

    Returns:
        The pictures (JPEG), by finding; claims of which nothing can be shown have none.

    Raises:
        RunError: the run's own tables or maps are damaged.
    """
    folder = run.path / layout.REPORT / layout.SHEETS
    for old in folder.glob("*.jpg"):
        old.unlink()
    severe = _most_severe(run)
    drawn: dict[str, Path] = {}
    for claim in track([claim for claim in claims if claim["found"]]):
        targets = json.loads(claim["details"]).get("sheet") or severe.get(claim["class_id"], [])
        pictures = [picture for target in targets[:SHEET] if (picture := _picture(run, *target)) is not None]
        if pictures:
            path = folder / f"{file_stem(claim['finding'])}.jpg"
            write_atomically(path, partial(_save, contact_sheet(pictures)))
            drawn[claim["finding"]] = path
    return drawn


def draw_cluster_sheets(run: Run, track: Track = iter) -> list[Path]:
    """Contact sheets of the clusters that were found, in the order of the claims."""
    path = run.path / layout.FINDINGS / layout.CLAIMS
    claims = read_table(path).to_pylist() if path.exists() else []
    return list(draw_sheets(run, [claim for claim in claims if claim["kind"] == "cluster"], track).values())


def _save(sheet: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(sheet).save(path, "JPEG", quality=88)


def _most_severe(run: Run) -> dict[int, list[tuple[int, int]]]:
    """Samples and slots of the most severe findings about targets, by class."""
    columns = ["class_id", "severity", "sample", "slot"]
    best: list[pd.DataFrame] = []
    shards = [shard.index for shard in run.done() if (_findings(run) / layout.part_name(shard.index)).exists()]
    for part in read_parts(_findings(run), shards, layout.part_name, columns):
        rows = pd.concat([*best, part.to_pandas()]).sort_values(columns, ascending=[True, False, True, True])
        best = [rows.groupby("class_id").head(SHEET)]
    targets: dict[int, list[tuple[int, int]]] = {}
    for class_id, sample, slot in (row for rows in best for row in rows[["class_id", "sample", "slot"]].to_numpy()):
        targets.setdefault(int(class_id), []).append((int(sample), int(slot)))
    return targets


def _findings(run: Run) -> Path:
    return run.path / layout.FINDINGS


def _picture(run: Run, sample: int, slot: int) -> NDArray[np.uint8] | None:
    """A target's thumbnail, or None where its image cannot be read or has changed since the run."""
    seen, _ = read_target(run, sample, slot, 2 * max(THUMBNAIL))
    if seen.image is None or CHANGED in seen.notices:
        return None
    return thumbnail(seen.image, seen.heat, seen.view, seen.target, THUMBNAIL)
