"""Contact sheets: for each claim that names targets a picture of them, with their heat and the object's contour."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.reach import BELOW_ROOT, Reach
from audit.drawing.pixels import contact_sheet, thumbnail
from audit.drawing.targets import CHANGED, read_target
from audit.findings import Claim, Findings
from audit.findings.claims.clusters import SHEET
from audit.findings.claims.registry import kind_of
from audit.progress import Progress, silent, tracked
from audit.store import Run, layout
from audit.store.storage.files import file_stem, write_atomically
from audit.store.storage.objects import Location

THUMBNAIL = (120, 160)
"""Height and width, pixels."""


def draw_sheets(run: Run, progress: Progress = silent, reach: Reach = BELOW_ROOT) -> list[Location]:
    """Draw a contact sheet for each claim that stands and names its targets, as clusters do; earlier ones are deleted.

    They lie under RUN/report/sheets. Of images that cannot be read the map is drawn on grey. Images that have changed
    since the run are left out; claims of which nothing can be shown have no sheet.

    Args:
        reach: which images and masks may be read.

    Returns:
        The pictures (JPEG), by the claims' q.

    Raises:
        RunError: the run's own tables or maps are damaged.
    """
    folder = run.path / layout.REPORT / layout.SHEETS
    for old in folder.glob("*.jpg"):
        old.unlink()
    claims = [claim for claim in Findings(run).standing_claims() if kind_of(claim).examples(claim)]
    sheets = (_draw(run, claim, folder, reach) for claim in tracked(progress, "drawing", claims))
    return [sheet for sheet in sheets if sheet is not None]


def _draw(run: Run, claim: Claim, folder: Location, reach: Reach) -> Location | None:
    targets = (kind_of(claim).examples(claim) or [])[:SHEET]
    pictures = [picture for target in targets if (picture := _picture(run, *target, reach)) is not None]
    if not pictures:
        return None
    path = folder / f"{file_stem(claim.claim_id)}.jpg"
    write_atomically(path, partial(_save, contact_sheet(pictures)))
    return path


def _save(sheet: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(sheet).save(path, "JPEG", quality=88)


def _picture(run: Run, sample: int, slot: int, reach: Reach) -> NDArray[np.uint8] | None:
    """A target's thumbnail, or None where its image has changed since the run."""
    picture, _ = read_target(run, sample, slot, 2 * max(THUMBNAIL), reach)
    if picture.image is None or CHANGED in picture.notices:
        return None
    return thumbnail(picture.image, picture.heat, picture.view, picture.target, THUMBNAIL)
