"""Patches and sheets: what is cut out of an image, what may not be read, and what is told of a class's channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rewritten import put_part
from small_run import CLASSES, OFF, ON, TARGETS, make_run

from audit.concepts.carrying import carrying_channels
from audit.concepts.channels import claims_asked, class_asked, strip_of_class, write_sheet
from audit.concepts.patches import Box, PatchReader, patch_box
from audit.concepts.sheets import Strip, draw_sheet
from audit.datasets.reach import Reach
from audit.errors import RunError
from audit.findings import Findings
from audit.images import View
from audit.store import Run
from audit.store.tables.parts import read_table

GRID = (6, 8)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(make_run(tmp_path))


def cell(place: tuple[int, int]) -> int:
    return place[0] * GRID[1] + place[1]


@pytest.mark.parametrize("view", [View(0.0, 0.0, 64.0, 48.0), View(8.0, 0.0, 56.0, 48.0), View(0.0, -8.0, 64.0, 56.0)])
def test_a_patch_lies_about_the_middle_of_its_cell_as_far_as_the_image_and_the_view_reach(view: View) -> None:
    for number in range(GRID[0] * GRID[1]):
        box = patch_box(number, GRID, view, 0.25, (48, 64))
        wide, high = 0.25 * (view.x1 - view.x0), 0.25 * (view.y1 - view.y0)
        x = view.x0 + (number % GRID[1] + 0.5) * (view.x1 - view.x0) / GRID[1]
        y = view.y0 + (number // GRID[1] + 0.5) * (view.y1 - view.y0) / GRID[0]
        left, top = max(view.x0, 0), max(view.y0, 0)
        right, bottom = min(view.x1, 64), min(view.y1, 48)
        x0 = min(max(x - wide / 2, left), right - wide)
        y0 = min(max(y - high / 2, top), bottom - high)
        np.testing.assert_allclose((box.x0, box.y0, box.x1, box.y1), (x0, y0, x0 + wide, y0 + high))


def test_a_patch_wider_than_what_was_seen_is_all_of_it() -> None:
    assert patch_box(3, GRID, View(0.0, 0.0, 64.0, 48.0), 1.0, (48, 64)) == Box(0.0, 0.0, 64.0, 48.0)


def test_a_patch_shows_the_pixels_of_its_box(run: Run) -> None:
    reader = PatchReader(run)
    target = (3, 0, cell(ON))
    box, patch = reader.box(target), reader.patch(target, 24)
    assert patch is not None
    image = np.asarray(Image.open(Path(run.manifest().root) / "3.png"))
    part = image[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)]
    assert abs(patch.mean() - part.mean()) < 4
    assert patch.shape == (24, 24, 3)


def test_images_that_have_changed_or_may_not_be_read_have_no_patch(run: Run, tmp_path: Path) -> None:
    folder = Path(run.manifest().root)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "0.png")
    (folder / "1.png").rename(tmp_path / "elsewhere.png")
    (folder / "1.png").symlink_to(tmp_path / "elsewhere.png")
    reader = PatchReader(run)
    targets = [(row, 0, cell(OFF)) for row in range(3)]
    assert [reader.patch(target) is None for target in targets] == [True, True, False]
    assert len(reader.patches(targets)) == 1
    assert PatchReader(run, Reach(outside=True)).patch(targets[1]) is not None


def test_a_class_is_told_its_channels_by_their_mean_share_and_where_they_carry_most(run: Run) -> None:
    first, second = carrying_channels(run, 0)
    of_class = [row for row, (_, class_id, *_) in enumerate(TARGETS) if class_id == 0]
    assert (first.channel, second.channel) == (3, 5)
    assert first.carries == first.images == len(of_class)
    assert first.share == pytest.approx(153 / 255)
    assert second.share == pytest.approx(70 / 255)
    assert {sample for sample, *_ in first.patches} <= set(of_class)
    assert all(place == cell(TARGETS[sample][3]) for sample, _, place in first.patches)


def test_near_copies_are_one_image_of_a_class(run: Run) -> None:
    samples = run.read("samples", run.shards[1]).to_pydict()
    copies = {name: list(values) for name, values in samples.items()}
    copies["look"] = [0b1111 << 40] * 2
    put_part(run, "samples", 1, copies)
    samples = run.read("samples", run.shards[2]).to_pydict() | {"look": [0b1111 << 40, None]}
    put_part(run, "samples", 2, samples)
    (first, *_) = carrying_channels(run, 0)
    assert (first.images, len(first.patches)) == (2, 2)


def test_a_run_without_channels_says_what_it_takes(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path, scored=False))
    with pytest.raises(RunError, match="keeps no channels: only methods whose maps are a sum"):
        carrying_channels(run, 0)


def test_a_class_or_claim_that_is_not_there_is_refused_in_a_line(run: Run) -> None:
    with pytest.raises(RunError, match=r"Expected a class of .*square.*; got 'circle'"):
        class_asked(run, "circle")
    with pytest.raises(RunError, match=r"Expected a claim of .* that stands, as none at all; got 'zone:square:border'"):
        claims_asked(Findings(run), "zone:square:border")
    assert class_asked(run, CLASSES[1]) == 1


def test_a_sheet_has_a_row_a_channel_and_is_written_under_the_report(run: Run) -> None:
    reader = PatchReader(run)
    strips = [strip_of_class(row, reader) for row in carrying_channels(run, 0)]
    path = write_sheet(run, f"class:{CLASSES[1]}", strips)
    assert path is not None
    assert path.parent == run.path / "report" / "channels"
    assert Image.open(path).size[1] == draw_sheet(strips).shape[0]
    assert write_sheet(run, "none", [Strip("nothing to see")]) is None


def test_tiles_stand_in_their_row_in_order() -> None:
    tiles = [np.full((8, 8, 3), 10 * k, np.uint8) for k in range(3)]
    sheet = draw_sheet([Strip("a", (), tiles), Strip("b", (), tiles[::-1])], tile=8)
    reds = [[int(sheet[4 + 12 * row, 190 + 12 * place, 0]) for place in range(3)] for row in range(2)]
    assert reds == [[0, 10, 20], [20, 10, 0]]


def test_flagging_writes_what_claims_come_from_beside_the_claims(run: Run) -> None:
    table = read_table(run.path / "findings" / "claim_channels.parquet")
    assert table.num_rows == len(Findings(run).channels())
