"""Contact sheets of claims, drawn from a run on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import claimed_run
import numpy as np
import pytest
from PIL import Image
from rewritten import put_findings
from small_run import HOSTILE, make_run

from audit.drawing.pixels import contact_sheet
from audit.findings import Claim
from audit.report.sheets import THUMBNAIL, draw_sheets
from audit.store import Run, layout
from audit.store.tables.records import columns_of


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(make_run(tmp_path))


def claim(subject: str, found: bool = True, **details: Any) -> Claim:
    row = claimed_run.claim("cluster", subject, claim_id=f"cluster:{HOSTILE}:{subject}", found=found, details=details)
    return Claim.from_row(row)


def drawn_sheets(run: Run, *claims: Claim) -> list[Path]:
    put_findings(run, layout.CLAIMS, columns_of(Claim, claims), Claim.schema())
    return draw_sheets(run)


def sheet_size(pictures: int) -> tuple[int, int]:
    """Width and height of a sheet of one row."""
    height, width = THUMBNAIL
    return pictures * (width + 4) + 4, height + 8


def test_thumbnails_lie_row_by_row_with_gaps_between() -> None:
    pictures = [np.dstack([np.full((2, 3, 3), place, np.uint8), np.full((2, 3), 255, np.uint8)]) for place in range(5)]
    sheet = contact_sheet(pictures, columns=2, gap=1)
    assert sheet.shape == (3 * 3 + 1, 2 * 4 + 1, 3)
    for place, picture in enumerate(pictures):
        top, left = 1 + place // 2 * 3, 1 + place % 2 * 4
        np.testing.assert_array_equal(sheet[top : top + 2, left : left + 3], picture[..., :3])
    assert (sheet[[0, 3, 6, 9]] == sheet[0, 0]).all()
    assert (sheet[7:9, 5:8] == sheet[0, 0]).all()


def test_a_contact_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected at least one thumbnail"):
        contact_sheet([])


def test_a_found_claim_gets_a_sheet_of_the_targets_it_names(run: Run) -> None:
    drawn = drawn_sheets(run, claim("0", sheet=[[0, 0], [4, 0], [2, 0]]))
    (path,) = drawn
    assert path.parent == run.path / "report" / "sheets"
    with Image.open(path) as sheet:
        assert sheet.size == sheet_size(3)


def test_claims_that_were_not_found_or_have_nothing_to_show_get_no_sheet(run: Run) -> None:
    assert drawn_sheets(run, claim("0", found=False, sheet=[[0, 0]]), claim("1")) == []


def test_images_that_have_changed_are_left_out_and_maps_of_lost_ones_are_drawn_on_grey(run: Run) -> None:
    images = [Path(sample.image) for sample in run.manifest()]
    images[0].write_bytes(b"not an image")
    images[2].unlink()
    Image.new("RGB", (64, 48)).save(images[4])
    (path,) = drawn_sheets(run, claim("0", sheet=[[0, 0], [1, 0], [2, 0], [4, 0]]))
    with Image.open(path) as sheet:
        assert sheet.size == sheet_size(3)
        lost = np.asarray(sheet)[4 : 4 + THUMBNAIL[0], 2 * (THUMBNAIL[1] + 4) + 4 :]
    seen = lost[75:90, 22:60].astype(int)  # where the map is cold, half of grey and half of its darkest colour
    assert np.ptp(seen.reshape(-1, 3), axis=0).max() < 12


def test_a_damaged_mask_leaves_the_picture_without_a_contour(run: Run) -> None:
    (whole,) = drawn_sheets(run, claim("0", sheet=[[0, 0]]))
    before = whole.read_bytes()
    mask = next(iter(run.manifest())).mask
    assert mask is not None
    Path(mask).write_bytes(b"")
    (bare,) = drawn_sheets(run, claim("0", sheet=[[0, 0]]))
    assert bare.read_bytes() != before


def test_drawing_again_leaves_no_sheet_of_claims_that_are_gone(run: Run) -> None:
    drawn_sheets(run, claim("0", sheet=[[0, 0]]), claim("1", sheet=[[1, 0]]))
    drawn = drawn_sheets(run, claim("1", sheet=[[1, 0]]))
    assert list((run.path / "report" / "sheets").iterdir()) == drawn
